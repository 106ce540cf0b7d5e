"""Signing a pipeline file outside of any build: text in, the same text with signatures out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple

from pipeseal.errors import MalformedInput
from pipeseal.pipeline.interpolate import find_identifiers
from pipeseal.pipeline.parse import parse_all
from pipeseal.pipeline.steps import CommandStep, Pipeline
from pipeseal.pipeline.yaml import DEFAULT_LIMITS, Limits, collector_paused
from pipeseal.signing.keys.signing_key import SigningKey
from pipeseal.signing.merge import merge_pipeline_secrets
from pipeseal.signing.sign import sign_pipeline, walk_steps
from pipeseal.signing.splice import CannotSplice, Splicer, find_sites

if TYPE_CHECKING:
    from pipeseal.signing.seal.make import Sealing

_BOM = "\ufeff"


class SignedText(NamedTuple):
    """A signed pipeline file.

    Parameters:
        text: the file's text with signatures.
        pipelines: what it says, one for each document.
        kept: whether everything else in the text is as it was; False when it had to be written anew, without
            comments.
    """

    text: str
    pipelines: list[Pipeline]
    kept: bool

    @property
    def signed_steps(self) -> int:
        """How many steps are signed."""
        return sum(
            isinstance(step, CommandStep) for pipeline in self.pipelines for _, step in walk_steps(pipeline.steps)
        )


@collector_paused()
def sign_text(
    data: bytes | str,
    *,
    source: str,
    key: SigningKey,
    repository_url: str,
    bindings: Mapping[str, str] | None = None,
    sealing: Sealing | None = None,
    limits: Limits = DEFAULT_LIMITS,
) -> SignedText:
    """The pipeline file `data` with every command step signed. Secrets of the pipeline are merged into its steps
    first.

    Parameters:
        data: YAML or JSON, every document a pipeline; bytes are UTF-8, or UTF-16 with a byte order mark.
        source: its name, for positions.
        key: signs.
        repository_url: the repository's URL, as jobs will have it in `BUILDKITE_REPO`.
        bindings: variables that the steps are bound to, from `bindings.py`.
        sealing: what the seals of the steps say alike; None not to seal them.
        limits: what is refused for its size.

    Raises:
        MalformedInput: no pipeline (`yaml.*`, `pipeline.malformed`, ...), variables to expand
            (`signing.interpolation`), and what `sign_pipeline` refuses.
        ConfigurationError: `binding.conflict`, `binding.unusable`; `seal.key`.
        Unavailable: the key's home did not answer.
    """
    before: list[Pipeline] = []
    for outcome in parse_all(data, source=source, limits=limits):
        if isinstance(outcome, MalformedInput):
            raise outcome
        before.append(outcome)
    if not before:
        raise MalformedInput("yaml.empty", f"{source} has no YAML document in it")
    text = _decode(data)
    _refuse_interpolation(text, source)
    after = [
        sign_pipeline(
            merge_pipeline_secrets(pipeline),
            key=key,
            repository_url=repository_url,
            bindings=bindings,
            sealing=sealing,
        )
        for pipeline in before
    ]
    try:
        signed = _splice(text, before, after)
        # Whatever the text looks like: only what reads back as exactly what was signed is handed out.
        # Signatures and seals make it longer than what they were made for.
        larger = replace(limits, max_bytes=limits.max_bytes + 8 * len(signed), max_values=4 * limits.max_values)
        if list(parse_all(signed, source=source, limits=larger)) == after:
            return SignedText(signed, after, kept=True)
    except (CannotSplice, MalformedInput):
        pass
    from pipeseal.pipeline.render import pipeline_value, render_yaml

    anew = "---\n".join(render_yaml(pipeline_value(pipeline)) for pipeline in after)
    return SignedText(anew, after, kept=False)


def _splice(text: str, before: list[Pipeline], after: list[Pipeline]) -> str:
    mark = _BOM if text.startswith(_BOM) else ""
    text = text.removeprefix(_BOM)
    documents = find_sites(text)
    if len(documents) != len(before):
        raise CannotSplice
    splicer = Splicer(text)
    for old, new, sites in zip(before, after, documents, strict=True):
        splicer.sign(old.steps, new.steps, sites)
    return mark + splicer.render()


def _decode(data: bytes | str) -> str:
    if isinstance(data, str):
        return data
    is_utf_16 = data[:2] in (b"\xff\xfe", b"\xfe\xff")
    return data.decode("utf-16") if is_utf_16 else data.decode()


def _refuse_interpolation(text: str, source: str) -> None:
    """Whoever uploads the file may expand variables, after it was signed; so there must be none, escaped or not."""
    if "$" not in text:
        return
    try:
        names = find_identifiers(text)
    except MalformedInput as error:
        raise MalformedInput(
            "signing.interpolation", f"{source} has something like a variable in it: {error.message}", help=error.help
        ) from None
    if names:
        shown = ", ".join(f"${name}" for name in dict.fromkeys(names))
        raise MalformedInput(
            "signing.interpolation",
            f"{source} has variables to expand, which a signature made outside a build cannot cover: {shown}",
            help="sign this pipeline with `pipeline upload`, or take the variables out (escaped ones count)",
        )

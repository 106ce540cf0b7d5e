"""Looking for secrets in a pipeline before it is uploaded: values of secret variables, variables named like one."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

from pipeseal.agent.redaction import MIN_BYTES, find_secrets, spellings
from pipeseal.errors import MalformedInput
from pipeseal.pipeline.interpolate import interpolate_text
from pipeseal.pipeline.render import pipeline_value, render_json
from pipeseal.pipeline.secret_names import is_secret_name
from pipeseal.pipeline.steps import CommandStep, GroupStep, Pipeline, Step

if TYPE_CHECKING:
    from pipeseal.agent.upload_options import UploadOptions


def find_leaks(pipeline: Pipeline, variables: Mapping[str, str], patterns: Sequence[str]) -> list[str]:
    """Names of secrets whose values the pipeline holds.

    Parameters:
        pipeline: variables expanded, not signed.
        variables: the uploader's variables, without those of the pipeline.
        patterns: what secret variables are called.
    """
    pairs = _all_env(pipeline)
    # Thousands of steps have the same few names.
    secret = {name for name in dict(pairs) if is_secret_name(name, patterns)}
    names = {
        name
        for name, value in pairs
        if name in secret and len(value.encode()) >= MIN_BYTES and not _is_reference(value)
    }
    hidden, _ = find_secrets(variables, patterns)
    if hidden:
        # Escapes of HTML are not how a value would be read, so they are taken back.
        text = render_json(pipeline_value(pipeline)).encode("utf-8", "surrogatepass")
        for escaped, plain in ((b"\\u003c", b"<"), (b"\\u003e", b">"), (b"\\u0026", b"&")):
            text = text.replace(escaped, plain)
        names |= {name for name, value in hidden.items() if any(needle in text for needle in spellings(value))}
    return sorted(names)


def scan(
    pipeline: Pipeline,
    source: str,
    variables: Mapping[str, str],
    options: UploadOptions,
    say: Callable[[str], None],
) -> None:
    """Warn of secrets in a pipeline, or refuse it.

    Raises:
        MalformedInput: there are some, and the caller rejects them (code `upload.secret`).
    """
    names = find_leaks(pipeline, variables, options.redacted_vars)
    if not names:
        return
    what = f"{source} holds the value of {', '.join(names)}; whoever sees the build sees it"
    advice = 'write "$$NAME" to expand it in the job instead'
    if options.reject_secrets:
        raise MalformedInput("upload.secret", what, help=advice)
    say(f"warning: {what}. {advice[0].upper()}{advice[1:]}; --reject-secrets refuses such a pipeline.")


def _all_env(pipeline: Pipeline) -> list[tuple[str, str]]:
    pairs = list(pipeline.env.items())

    def add(steps: Sequence[Step]) -> None:
        for step in steps:
            if isinstance(step, CommandStep):
                pairs.extend(step.env.items())
            elif isinstance(step, GroupStep):
                add(step.steps)

    add(pipeline.steps)
    return pairs


def _is_reference(value: str) -> bool:
    """Whether a value is a variable of the job to come and nothing else, such as `$TOKEN`."""
    if not value.startswith("$"):
        return False
    try:
        return not interpolate_text(value, {})
    except MalformedInput:
        return False

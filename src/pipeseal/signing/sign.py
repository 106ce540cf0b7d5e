"""Signing steps: one, or all of a pipeline. What no verifier could accept afterwards is refused instead of signed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

from pipeseal.errors import ConfigurationError, MalformedInput, PipesealError, VerificationError
from pipeseal.pipeline.plugins import full_source
from pipeseal.pipeline.steps import CommandStep, GroupStep, Pipeline, Signature, Step, UnknownStep
from pipeseal.pipeline.values import Value
from pipeseal.signing.bindings import SEAL, STEP_KEY, check_bindings
from pipeseal.signing.fields import values_to_sign
from pipeseal.signing.jws import DetachedSigner
from pipeseal.signing.keys.signing_key import SigningKey
from pipeseal.signing.payload import render_payload

if TYPE_CHECKING:
    from pipeseal.signing.seal.make import Sealer, Sealing

_BUILD = "BUILDKITE_BUILD_ID"


def sign_step(
    step: CommandStep,
    *,
    key: SigningKey,
    repository_url: str,
    pipeline_env: Mapping[str, str] | None = None,
    bindings: Mapping[str, str] | None = None,
) -> CommandStep:
    """A copy of `step` with a signature by `key`; an older signature or seal goes.

    Parameters:
        step: the step, variables already expanded, matrix tokens not.
        key: signs.
        repository_url: the repository's URL, as the job will have it in `BUILDKITE_REPO`.
        pipeline_env: variables of the pipeline.
        bindings: variables that the step is bound to, from `bindings.py`. A step bound to a build is bound to its own
            key too, when it has one.

    Raises:
        ConfigurationError: `binding.conflict`, `binding.unusable`.
        MalformedInput: `signing.unverifiable`, `number.unsafe`, `payload.value`: no verifier could accept the result.
        Unavailable: the key's home did not answer.
    """
    return _Signer(key, repository_url, pipeline_env or {}, bindings or {}).sign(step)


def sign_pipeline(
    pipeline: Pipeline,
    *,
    key: SigningKey,
    repository_url: str,
    pipeline_env: Mapping[str, str] | None = None,
    bindings: Mapping[str, str] | None = None,
    sealing: Sealing | None = None,
) -> Pipeline:
    """A copy of `pipeline` in which every command step is signed, those in groups too.

    Parameters:
        pipeline: variables already expanded; it stays as it is, whatever happens.
        key: signs.
        repository_url: the repository's URL, as jobs will have it in `BUILDKITE_REPO`.
        pipeline_env: variables of the pipeline; its own when None.
        bindings: variables that the steps are bound to, from `bindings.py`.
        sealing: what the seals of the steps say alike; None not to seal them. Signatures cover the seals.

    Raises:
        ConfigurationError: `binding.conflict`, `binding.unusable`; `seal.key`.
        MalformedInput: `signing.unknown_step`, and what `sign_step` raises; `seal.unsealable`, `seal.too_large`; the
            message says which step.
        Unavailable: the key's home did not answer.
    """
    environment = pipeline.env if pipeline_env is None else pipeline_env
    sealer: Sealer | None = None
    if sealing is not None:
        from pipeseal.signing.seal.envelope import Inherited
        from pipeseal.signing.seal.make import Sealer

        inherited = Inherited(env=environment, checkout=pipeline.checkout)
        sealer = Sealer(key, sealing, inherited=inherited, agents=pipeline.rest.get("agents"))
    signer = _Signer(key, repository_url, environment, bindings or {}, sealer)
    # Refuse before anything is signed, so that the first error is about the first step that has one.
    for path, step in walk_steps(pipeline.steps):
        if isinstance(step, UnknownStep):
            reason = f": {step.reason}" if step.reason else ""
            raise MalformedInput(
                "signing.unknown_step",
                f"{path} is of no known kind, so nothing is signed{reason}",
                help="mend the step; a pipeline that is only partly understood could mean something else to others",
            )
    return replace(pipeline, steps=_sign_steps(pipeline.steps, signer, "step"))


def _sign_steps(steps: list[Step], signer: _Signer, path: str) -> list[Step]:
    signed: list[Step] = []
    for number, step in enumerate(steps, 1):
        if isinstance(step, CommandStep):
            try:
                signed.append(signer.sign(step))
            except (MalformedInput, ConfigurationError) as error:
                raise _at_step(error, f"{path} {number}", step) from None
        elif isinstance(step, GroupStep):
            signed.append(replace(step, steps=_sign_steps(step.steps, signer, f"{path} {number}, step")))
        else:
            signed.append(step)
    return signed


def walk_steps(steps: list[Step], path: str = "step") -> Iterator[tuple[str, Step]]:
    """Every step with its place in words (`step 3, step 1`), groups before the steps inside them.

    Parameters:
        steps: steps of a pipeline or a group.
        path: words before the number.
    """
    for number, step in enumerate(steps, 1):
        yield f"{path} {number}", step
        if isinstance(step, GroupStep):
            yield from walk_steps(step.steps, f"{path} {number}, step")


def _at_step(error: PipesealError, path: str, step: CommandStep) -> PipesealError:
    name = step.label or step.key or step.command.partition("\n")[0][:60]
    message = f"{path} ({name!r}): {error.message}" if name else f"{path}: {error.message}"
    kind = ConfigurationError if isinstance(error, ConfigurationError) else MalformedInput
    return kind(error.code, message, help=error.help, evidence=error.evidence)


class _Signer:
    """Signs steps of one pipeline: what is the same for all of them is prepared once."""

    __slots__ = ("_bindings", "_environment", "_jws", "_key", "_repository_url", "_sealer")

    def __init__(
        self,
        key: SigningKey,
        repository_url: str,
        pipeline_env: Mapping[str, str],
        bindings: Mapping[str, str],
        sealer: Sealer | None = None,
    ) -> None:
        check_bindings(bindings)
        conflict = next((name for name in bindings if name in pipeline_env), None)
        if conflict:
            raise _conflict(conflict, "the pipeline")
        if _BUILD in bindings and STEP_KEY in pipeline_env:
            raise _conflict(STEP_KEY, "the pipeline")
        self._key = key
        self._jws = DetachedSigner(key)
        self._repository_url = repository_url
        self._bindings = bindings
        self._sealer = sealer
        self._environment = {**pipeline_env, **bindings}

    def sign(self, step: CommandStep) -> CommandStep:
        environment: Mapping[str, str] = self._environment
        if self._bindings:
            conflict = next((name for name in self._bindings if name in step.env), None)
            if conflict:
                raise _conflict(conflict, "the step")
            if step.key and _BUILD in self._bindings:
                if STEP_KEY in step.env:
                    raise _conflict(STEP_KEY, "the step")
                environment = {**environment, STEP_KEY: step.key}
        check_verifiable(step)
        if SEAL in step.env:
            step = replace(step, env={name: value for name, value in step.env.items() if name != SEAL})
        if self._sealer is not None:
            step = replace(step, env={**step.env, SEAL: self._sealer.seal(step)})
        values = values_to_sign(step, repository_url=self._repository_url, environment=environment)
        try:
            payload = render_payload(self._key.alg, values)
        except VerificationError as error:
            raise MalformedInput(error.code, error.message, help=error.help) from None
        # Text order is the order of UTF-8 bytes, which is how signers of this format list fields.
        return replace(step, signature=Signature(self._key.alg, sorted(values), self._jws.sign(payload)))


def _conflict(name: str, who: str) -> ConfigurationError:
    return ConfigurationError(
        "binding.conflict",
        f"{who} sets {name}, which the signature is to be bound to",
        help=f"take {name} out of `env`, or sign without bindings",
    )


def check_verifiable(step: CommandStep) -> None:
    """Refuse a step whose signature would not survive being sent as JSON and read again.

    Parameters:
        step: the step, before it is signed.

    Raises:
        MalformedInput: `signing.unverifiable`.
    """
    if step.matrix is not None:
        if step.matrix.setup is None:
            raise _unverifiable("its matrix has no `setup`")
        _refuse_empty_lists(step.matrix.rest, "its matrix")
        for adjustment in step.matrix.adjustments:
            if adjustment is None or adjustment.combination is None:
                raise _unverifiable("an adjustment of its matrix has no `with`")
            _refuse_empty_lists(adjustment.rest, "an adjustment of its matrix")
            if adjustment.skip:  # an empty `skip` is not written at all
                _refuse_empty_lists(adjustment.skip, "`skip` in an adjustment of its matrix")
    if step.checkout is not None:
        _refuse_empty_lists(step.checkout.rest, "its checkout")
    for secret in step.secrets:
        if not secret.key:
            raise _unverifiable("one of its secrets has no name")
    for plugin in step.plugins:
        full = full_source(plugin.source)
        if full_source(full) != full:
            raise _unverifiable(f"the source of its plugin {plugin.source!r} expands to something that expands again")


def _refuse_empty_lists(value: Value, place: str) -> None:
    if isinstance(value, dict):
        for member in value.values():
            _refuse_empty_lists(member, place)
    elif isinstance(value, list):
        if not value:
            # JSON readers of this format take an empty list for none, and would verify null where [] was signed.
            raise _unverifiable(f"{place} has an empty list in it")
        for item in value:
            _refuse_empty_lists(item, place)


def _unverifiable(why: str) -> MalformedInput:
    return MalformedInput(
        "signing.unverifiable",
        f"no verifier could accept a signature of this step: {why}",
        help="remove or rewrite that part",
    )

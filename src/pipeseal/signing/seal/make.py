"""Making seals: one for each step of an upload or of a file."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from itertools import count
from types import MappingProxyType
from typing import Final, NamedTuple

import orjson

from pipeseal.errors import MalformedInput, VerificationError
from pipeseal.pipeline.render import checkout_value
from pipeseal.pipeline.steps import CommandStep
from pipeseal.pipeline.values import Value
from pipeseal.signing.keys.signing_key import SigningKey
from pipeseal.signing.payload import render_canonical
from pipeseal.signing.seal.envelope import (
    TYPE,
    VARIABLE,
    VERSION,
    Audience,
    BuildFacts,
    Execution,
    Inherited,
    Parent,
    ResolvedPlugin,
)
from pipeseal.signing.seal.jws import JwsSigner
from pipeseal.signing.seal.members import agent_rules, most_attempts, normal_value, seal_step

_NOTHING_INHERITED: Final = Inherited()


class Sealing(NamedTuple):
    """What all seals of one upload, or of one file, say alike.

    Parameters:
        repository: as in `Audience`; so are `organization` and `pipeline`.
        not_before, expires: seconds since 1970; `expires` may be None only outside a build.
        positions: numbers for the steps from 0 on, shared by all pipelines of the upload or file.
        build: the build they belong to; None outside of one.
        parent: digest of the uploading step's own seal; None when it has none.
        upload: id of the upload, another one each time; None outside a build.
        is_script: whether a command names a file of the repository, which is then run as one.
        resolved: what plugins resolved to, by source in full form.
    """

    repository: str
    not_before: int
    expires: int | None
    positions: Iterator[int]
    organization: str | None = None
    pipeline: str | None = None
    build: BuildFacts | None = None
    parent: str | None = None
    upload: str | None = None
    is_script: Callable[[str], bool] = lambda _command: False
    resolved: Mapping[str, ResolvedPlugin] = MappingProxyType({})


def static_sealing(
    *,
    repository_url: str,
    bindings: Mapping[str, str],
    not_before: int = 0,
    expires: int | None = None,
    is_script: Callable[[str], bool] = lambda _command: False,
) -> Sealing:
    """What seals say alike that are made outside any build, for steps in a pipeline's settings.

    Without a time they are the same each time they are made, for the same steps and key.

    Parameters:
        repository_url: the repository's URL.
        bindings: from `static_bindings`.
        not_before, expires: seconds since 1970; None for no end.
        is_script: whether a command names a file of the repository.
    """
    return Sealing(
        repository=repository_url,
        not_before=not_before,
        expires=expires,
        positions=count(),
        organization=bindings.get("BUILDKITE_ORGANIZATION_SLUG"),
        pipeline=bindings.get("BUILDKITE_PIPELINE_SLUG"),
        build=BuildFacts(tag=bindings.get("BUILDKITE_TAG"), pull_request=bindings.get("BUILDKITE_PULL_REQUEST")),
        is_script=is_script,
    )


class Sealer:
    """Seals the steps of one pipeline: what is the same for several of them is rendered once.

    Parameters:
        key: signs.
        sealing: what the seals say alike.
        inherited: what steps get from the pipeline.
        agents: the pipeline's `agents`, for steps that have none.

    Raises:
        ConfigurationError: `seal.key`: a key without an id.
        MalformedInput: `seal.unsealable`: the pipeline's own settings cannot be sealed.
    """

    __slots__ = ("_agents", "_audiences", "_build", "_inherited", "_jws", "_sealing")

    def __init__(
        self, key: SigningKey, sealing: Sealing, *, inherited: Inherited = _NOTHING_INHERITED, agents: Value = None
    ) -> None:
        self._jws = JwsSigner(key)
        self._sealing = sealing
        self._agents = agents
        self._audiences: dict[tuple[str, ...], bytes] = {}
        self._build = _render_build(sealing.build)
        self._inherited = _render_inherited(inherited)

    def seal(self, step: CommandStep) -> str:
        """The seal of a step: a compact JWS.

        Parameters:
            step: variables expanded, matrix tokens not.

        Raises:
            MalformedInput: `seal.unsealable`, `seal.too_large`, `number.unsafe`, `payload.value`.
            Unavailable: the key's home did not answer.
        """
        sealing, rest = self._sealing, step.rest
        agents = rest.get("agents")
        rules = agent_rules(self._agents if agents is None else agents)
        audience = self._audiences.get(rules)
        if audience is None:
            audience = self._audiences[rules] = _render_audience(
                Audience(
                    organization=sealing.organization,
                    pipeline=sealing.pipeline,
                    repository=sealing.repository,
                    agents=rules,
                )
            )
        payload = _render_payload(
            step,
            audience=audience,
            build=self._build,
            inherited=self._inherited,
            parent=Parent(seal=sealing.parent, upload=sealing.upload, position=next(sealing.positions)),
            not_before=sealing.not_before,
            expires=sealing.expires,
            execution="script" if sealing.is_script(step.command) else "shell",
            resolved=sealing.resolved,
            attempts=most_attempts(rest.get("retry")),
            # Whoever lets only one run at a time does not want it started twice either.
            exclusive=rest.get("concurrency") in (1, "1"),
        )
        return self._jws.sign(payload)


def make_seal(
    step: CommandStep,
    *,
    key: SigningKey,
    audience: Audience,
    build: BuildFacts | None,
    parent: Parent,
    not_before: int,
    expires: int | None,
    inherited: Inherited = _NOTHING_INHERITED,
    execution: Execution = "shell",
    resolved: Mapping[str, ResolvedPlugin] | None = None,
    attempts: int = 1,
    exclusive: bool = False,
) -> str:
    """One seal, with every member given.

    Parameters:
        step: variables expanded, matrix tokens not; an older seal in it does not count.
        key: signs; needs an id.
        audience, build, parent, inherited: see `envelope.py`.
        not_before, expires: seconds since 1970; `expires` may be None only for a seal of no build.
        execution: how the command is run.
        resolved: what plugins resolved to, by source in full form.
        attempts: how often each of the step's jobs may be started.
        exclusive: no attempt may be started twice.

    Returns:
        A compact JWS.

    Raises:
        ConfigurationError: `seal.key`.
        MalformedInput: `seal.unsealable`, `seal.too_large`, `number.unsafe`, `payload.value`.
        Unavailable: the key's home did not answer.
    """
    payload = _render_payload(
        step,
        audience=_render_audience(audience),
        build=_render_build(build),
        inherited=_render_inherited(inherited),
        parent=parent,
        not_before=not_before,
        expires=expires,
        execution=execution,
        resolved=resolved or {},
        attempts=attempts,
        exclusive=exclusive,
    )
    return JwsSigner(key).sign(payload)


def _render_payload(
    step: CommandStep,
    *,
    audience: bytes,
    build: bytes,
    inherited: bytes,
    parent: Parent,
    not_before: int,
    expires: int | None,
    execution: Execution,
    resolved: Mapping[str, ResolvedPlugin],
    attempts: int,
    exclusive: bool,
) -> bytes:
    """The canonical payload; `audience`, `build` and `inherited` are canonical JSON already."""
    try:
        members = render_canonical(seal_step(step, execution=execution, resolved=resolved))
    except VerificationError as error:
        raise MalformedInput(error.code, error.message, help=error.help) from None
    # RFC 8785 3.2.3: names in order; they are written here in the order in which they have to come.
    return orjson.dumps(
        {
            "attempts": attempts,
            "audience": orjson.Fragment(audience),
            "build": orjson.Fragment(build),
            "exclusive": exclusive,
            "expires": expires,
            "gates": [],
            "inherited": orjson.Fragment(inherited),
            "not_before": not_before,
            "parent": {"position": parent.position, "seal": parent.seal, "upload": parent.upload},
            "step": orjson.Fragment(members),
            "type": TYPE,
            "version": VERSION,
        }
    )


def _render_audience(audience: Audience) -> bytes:
    return render_canonical(
        {
            "agents": sorted(set(audience.agents)),
            "organization": audience.organization,
            "pipeline": audience.pipeline,
            "repository": audience.repository,
        }
    )


def _render_build(build: BuildFacts | None) -> bytes:
    if build is None or build == BuildFacts():
        return b"null"
    return render_canonical(
        {
            "branch": build.branch,
            "commit": build.commit,
            "id": build.id,
            "pull_request": build.pull_request,
            "tag": build.tag,
            "tree": build.tree,
        }
    )


def _render_inherited(inherited: Inherited) -> bytes:
    if VARIABLE in inherited.env:
        raise MalformedInput(
            "seal.unsealable",
            f"the pipeline sets {VARIABLE}, which is the name of each step's own seal",
            help="take it out of the pipeline's `env`",
        )
    checkout = inherited.checkout
    settings = None if checkout is None or checkout.is_empty else normal_value(checkout_value(checkout), "checkout")
    return render_canonical({"checkout": settings, "env": dict(inherited.env)})

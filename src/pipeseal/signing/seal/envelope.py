"""What a seal says: its types, and the numbers and names that are part of the format."""

from __future__ import annotations

from collections.abc import Mapping
from hashlib import sha256
from types import MappingProxyType
from typing import Any, Final, Literal, NamedTuple, TypeAlias

from pipeseal.pipeline.steps import Checkout, CommandStep
from pipeseal.signing.bindings import SEAL
from pipeseal.signing.payload import render_canonical

VERSION: Final = 1
# The payload's own name for what it is; the header's `typ` says the same before the payload is looked at.
TYPE: Final = "pipeseal-seal"

# The step variable that carries a seal.
VARIABLE: Final = SEAL

# Linux starts no program with a variable above 128 KiB (MAX_ARG_STRLEN): a seal has to stay well below that, so that
# a stock agent, to which it is a variable like any other, can still start the job.
MAX_SEAL_CHARACTERS: Final = 98_304

Execution: TypeAlias = Literal["shell", "script"]


class Audience(NamedTuple):
    """Who may run the step.

    Parameters:
        repository: the repository's URL, exactly as the job has it.
        organization: organisation slug; None: any.
        pipeline: pipeline slug; None: any.
        agents: rules `tag=value` that an agent's own tags must satisfy, sorted.
    """

    repository: str
    organization: str | None = None
    pipeline: str | None = None
    agents: tuple[str, ...] = ()


class BuildFacts(NamedTuple):
    """The build that the step belongs to. None: the seal does not say.

    Parameters:
        id: the build's id.
        commit: full object id.
        tree: full object id of the commit's tree.
        branch: its branch, may be empty.
        tag: its tag; empty for a build of no tag.
        pull_request: its number as text, or `false`.
    """

    id: str | None = None
    commit: str | None = None
    tree: str | None = None
    branch: str | None = None
    tag: str | None = None
    pull_request: str | None = None


class Parent(NamedTuple):
    """Where the step comes from; together with the key this makes every seal another one.

    Parameters:
        seal: digest of the seal of the step that uploaded this one; None when that had none, or nobody uploaded it.
        upload: id of the upload; None for a step that was signed outside a build.
        position: from 0, among the command steps of that upload or file.
    """

    seal: str | None = None
    upload: str | None = None
    position: int = 0


class Inherited(NamedTuple):
    """What the step gets from its pipeline.

    Parameters:
        env: the pipeline's variables; the step's own win.
        checkout: the pipeline's checkout settings; the step's own win, one by one.
    """

    env: Mapping[str, str] = MappingProxyType({})
    checkout: Checkout | None = None


class ResolvedPlugin(NamedTuple):
    """What a plugin's version stood for when the step was sealed.

    Parameters:
        commit: full object id.
        tree: full object id of that commit's tree; None when not known.
    """

    commit: str
    tree: str | None = None


class Seal(NamedTuple):
    """A seal as it was read: well formed, and a claim until `verify_seal` has proved it.

    Parameters:
        text: the compact JWS.
        digest: SHA-256 of the payload in lower-case hex: the seal's name in ledgers, receipts and other seals.
        alg, kid: what the header says.
        audience, build, parent, inherited: see there. `build` is None when the seal says nothing of one.
        step: the whole step, matrix tokens not replaced, without the seal's own variable and without a signature.
        execution: `shell`: the command is text for a shell. `script`: it names a file of the repository.
        plugins: for each of the step's plugins what it resolved to; None where that is not known.
        gates: what must have been proved before; none in this version.
        not_before, expires: seconds since 1970, both included; `expires` may be None only without a build id.
        attempts: how often each of the step's jobs may be started, the first time included.
        exclusive: no attempt may be started twice, on whatever agents: it needs a ledger that they share.
        members: the payload as it was read.
    """

    text: str
    digest: str
    alg: str
    kid: str
    audience: Audience
    build: BuildFacts | None
    parent: Parent
    inherited: Inherited
    step: CommandStep
    execution: Execution
    plugins: tuple[ResolvedPlugin | None, ...]
    gates: tuple[()]
    not_before: int
    expires: int | None
    attempts: int
    exclusive: bool
    members: Mapping[str, Any]

    def __repr__(self) -> str:
        return f"<Seal {self.digest[:12]}… by {self.kid!r}>"

    @property
    def is_static(self) -> bool:
        """Whether it is bound to no build: it then says what may run, never that it should run now."""
        return self.build is None or self.build.id is None

    @property
    def env(self) -> dict[str, str]:
        """The variables it gives the job, matrix tokens not replaced: the pipeline's, and over them its own."""
        return {**self.inherited.env, **self.step.env}

    def digests(self) -> dict[str, str]:
        """The digest of each member by its name, those of the step as `step.NAME`; see `member_digest`."""
        named = {name: value for name, value in self.members.items() if name != "step"}
        named |= {f"step.{name}": value for name, value in self.members["step"].items()}
        return {name: member_digest(value) for name, value in named.items()}


def payload_digest(payload: bytes) -> str:
    """A seal's digest. It is the payload's and not the text's, so that two signatures of one seal are one seal.

    Parameters:
        payload: the canonical payload.
    """
    return sha256(payload).hexdigest()


def member_digest(value: Any) -> str:
    """A member's digest: SHA-256 of its canonical JSON in lower-case hex. Tells values apart without showing them."""
    return sha256(render_canonical(value)).hexdigest()

"""Rules: small objects, each of which judges one thing about a job, and which combine: all of them must agree.

A rule says nothing (None) when it is content, and a `Finding` when it is not. What only a checkout can show is not
judged here but passed on to the runner as `Limits`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import zip_longest
from types import MappingProxyType
from typing import ClassVar, Literal, Protocol, TypeAlias

from pipeseal.errors import escape_control
from pipeseal.policy.commit_signers import CommitSigners
from pipeseal.policy.facts import Facts, Finding, Proof
from pipeseal.policy.patterns import NONE, Patterns
from pipeseal.policy.values import OBJECT_ID
from pipeseal.signing.jws import signer_evidence


class Rule(Protocol):
    """One rule. `name` is its key in a policy file; as text it says what it asks for."""

    @property
    def name(self) -> str: ...

    def judge(self, facts: Facts) -> Finding | None:
        """Why the job must not run, as far as this rule looks; None when it may."""
        ...


@dataclass(frozen=True, slots=True)
class Limits:
    """What the runner has to see to, since only the checked-out files show it.

    Parameters:
        scripts_only: a command must be a script of the repository.
        repository_hooks: hooks of the repository may run.
        on_branch: the commit must be part of the job's branch, as the remote has it.
        commit_signers: by one of each of these the commit must be signed.
        submodules: each of these must match where a submodule comes from.
        own_host: submodules may come from the repository's own host alone.
    """

    scripts_only: bool = False
    repository_hooks: bool = True
    on_branch: bool = False
    commit_signers: tuple[CommitSigners, ...] = ()
    submodules: tuple[Patterns, ...] = ()
    own_host: bool = False


NO_LIMITS = Limits()


@dataclass(frozen=True, slots=True)
class Repositories:
    """Only these repositories."""

    name: ClassVar[str] = "repositories"
    allowed: Patterns

    def judge(self, facts: Facts) -> Finding | None:
        if self.allowed.match(facts.repository):
            return None
        return Finding(
            code="repository.not_allowed",
            message=f"this agent may not build the repository {_quoted(facts.repository)}",
            evidence={"repository": facts.repository, "allowed": str(self.allowed)},
            fields=("repository_url",),
        )

    def __str__(self) -> str:
        return f"only these repositories: {self.allowed}"


@dataclass(frozen=True, slots=True)
class Submodules:
    """Only submodules from these repositories; none at all without patterns."""

    name: ClassVar[str] = "submodules"
    allowed: Patterns

    def judge(self, facts: Facts) -> Finding | None:
        """Nothing: only the checkout shows which submodules there are. See `Limits.submodules`."""
        return None

    def __str__(self) -> str:
        return f"only these submodules: {self.allowed}" if self.allowed else "no submodules"


@dataclass(frozen=True, slots=True)
class Plugins:
    """Only plugins from these sources (location and version, in full form); none at all without patterns."""

    name: ClassVar[str] = "plugins"
    allowed: Patterns

    def judge(self, facts: Facts) -> Finding | None:
        refused = [plugin.source for plugin in facts.plugins if not self.allowed.match(plugin.source)]
        if not refused:
            return None
        sources = ", ".join(_quoted(source) for source in refused)
        how = "may not use the plugin" if self.allowed else "runs no plugins, and the step has"
        return Finding(
            code="plugin.not_allowed",
            message=f"this agent {how} {sources}",
            evidence={"plugin": ", ".join(refused), "allowed": str(self.allowed)},
            fields=("plugins",),
        )

    def __str__(self) -> str:
        return f"only these plugins: {self.allowed}"


@dataclass(frozen=True, slots=True)
class PinnedPlugins:
    """Only plugins that were sealed at a commit; those of the repository itself are part of its tree."""

    name: ClassVar[str] = "pinned-plugins"

    def judge(self, facts: Facts) -> Finding | None:
        loose = [
            plugin.source
            for plugin, resolved in zip_longest(facts.plugins, facts.resolved)
            if resolved is None and not plugin.source.startswith(".")
        ]
        if not loose:
            return None
        return Finding(
            code="plugin.not_pinned",
            message=f"the step was sealed without saying which commit {', '.join(map(_quoted, loose))} stands for",
            evidence={"plugin": ", ".join(loose)},
            fields=("plugins",),
        )

    def __str__(self) -> str:
        return "only plugins that were sealed at a commit"


@dataclass(frozen=True, slots=True)
class Scripts:
    """Only scripts of the repository: a command that cannot be the path of one is refused before anything happens."""

    name: ClassVar[str] = "commands"

    def judge(self, facts: Facts) -> Finding | None:
        path = facts.command.strip()
        parts = path.split("/")
        if not path or (
            not path.startswith(("/", "-", "~"))
            and ".." not in parts
            and not any(character.isspace() or character in _SHELL for character in path)
        ):
            return None
        return Finding(
            code="command.not_script",
            message="this agent runs only scripts of the repository, and the command is not the path of one",
            fields=("command",),
        )

    def __str__(self) -> str:
        return "only scripts of the repository, no inline commands"


_SHELL = frozenset("\"'`$;&|<>(){}[]*?!#\\\0")


@dataclass(frozen=True, slots=True)
class Branches:
    """Only these branches. A pull request may call its branch what it likes, so none is believed unless allowed."""

    name: ClassVar[str] = "branches"
    allowed: Patterns
    pull_requests: bool = False

    def judge(self, facts: Facts) -> Finding | None:
        if facts.is_pull_request and not self.pull_requests:
            why = f"the job is of pull request {escape_control(facts.pull_request)}, whose branch can have any name"
        elif facts.tag:
            why = f"the job is of the tag {_quoted(facts.tag)}, and only branches are allowed"
        elif not self.allowed.match(facts.branch):
            why = f"this agent may not build the branch {_quoted(facts.branch)}"
        else:
            return None
        return Finding(
            code="branch.not_allowed",
            message=why,
            evidence={"branch": facts.branch, "allowed": str(self.allowed)},
            fields=("BUILDKITE_BRANCH",),
        )

    def __str__(self) -> str:
        return f"only these branches: {self.allowed}"


@dataclass(frozen=True, slots=True)
class NoPullRequests:
    """No pull requests."""

    name: ClassVar[str] = "pull-requests"

    def judge(self, facts: Facts) -> Finding | None:
        if not facts.is_pull_request:
            return None
        return Finding(
            code="pull_request.not_allowed",
            message=f"this agent builds no pull requests, and the job is of {escape_control(facts.pull_request)}",
            fields=("BUILDKITE_PULL_REQUEST",),
        )

    def __str__(self) -> str:
        return "no pull requests"


@dataclass(frozen=True, slots=True)
class FullCommits:
    """Only commits that are named by their full object id."""

    name: ClassVar[str] = "head-commits"

    def judge(self, facts: Facts) -> Finding | None:
        if OBJECT_ID.admits(facts.commit):
            return None
        return Finding(
            code="commit.not_full",
            message=f"the job's commit is {_quoted(facts.commit)}, which can be another one tomorrow",
            fields=("BUILDKITE_COMMIT",),
        )

    def __str__(self) -> str:
        return "only commits with a full object id, no HEAD"


@dataclass(frozen=True, slots=True)
class SignedBy:
    """Only steps that these keys signed."""

    name: ClassVar[str] = "keys"
    allowed: Patterns

    def judge(self, facts: Facts) -> Finding | None:
        if facts.key is None:
            return _unsigned()
        if self.allowed.match(facts.key.kid):
            return None
        return Finding(
            code="key.not_allowed",
            message=f"the key {_quoted(facts.key.kid)} may not sign for {_quoted(facts.repository)} here",
            evidence={**signer_evidence(facts.key), "allowed": str(self.allowed)},
        )

    def __str__(self) -> str:
        return f"only signed by: {self.allowed}"


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyRecord:
    """What the policy says of one key.

    Parameters:
        not_before, not_after: seconds since the epoch; None for no limit.
        revoked: why it is; empty when it is not.
        repositories, organizations, pipelines, branches: what it may sign; None for anything. A tag is no branch, and
            neither is a pull request, which calls its own what it likes.
        roles: of `ROLES`, what kinds of step it may sign; None for all.
    """

    not_before: float | None = None
    not_after: float | None = None
    revoked: str = ""
    repositories: Patterns | None = None
    organizations: Patterns | None = None
    pipelines: Patterns | None = None
    branches: Patterns | None = None
    roles: frozenset[str] | None = None


# What a key can be for: steps of a build, signed where they are uploaded, or steps signed outside of any.
ROLES = ("uploads", "static")


@dataclass(frozen=True, slots=True)
class KeyRecords:
    """Keys in their time and for their purpose; none that is revoked."""

    name: ClassVar[str] = "key"
    records: Mapping[str, KeyRecord] = field(default_factory=lambda: MappingProxyType({}))

    def judge(self, facts: Facts) -> Finding | None:
        if facts.key is None:
            return None
        record = self.records.get(facts.key.kid)
        if record is None:
            return None
        name, evidence = _quoted(facts.key.kid), signer_evidence(facts.key)
        if record.revoked:
            return Finding(
                code="key.revoked",
                message=f"the key {name} signed the step, and it is revoked: {escape_control(record.revoked)}",
                evidence=evidence,
            )
        if record.not_before is not None and facts.now < record.not_before:
            message = f"the key {name} is not valid before {_date(record.not_before)}"
            return Finding(code="key.not_yet_valid", message=message, evidence=evidence)
        if record.not_after is not None and facts.now > record.not_after:
            message = f"the key {name} was valid until {_date(record.not_after)}"
            return Finding(code="key.expired", message=message, evidence=evidence)
        role = "uploads" if "BUILDKITE_BUILD_ID" in facts.proven else "static"
        if record.roles is not None and role not in record.roles:
            what = "steps of builds" if role == "uploads" else "steps outside of builds"
            return Finding(
                code="key.scope",
                message=f"the key {name} may not sign {what}",
                evidence={**evidence, "allowed": ", ".join(sorted(record.roles))},
            )
        if record.branches is not None:
            for variable in ("BUILDKITE_PULL_REQUEST", "BUILDKITE_TAG"):
                if variable not in facts.proven:
                    return unproven(variable, f"the key {name} may sign only some branches")
            if facts.is_pull_request or facts.tag:
                return Finding(
                    code="key.scope",
                    message=f"the key {name} may sign only some branches, and no pull requests or tags",
                    evidence={**evidence, "allowed": str(record.branches)},
                )
        for patterns, value, variable in (
            (record.branches, facts.branch, "BUILDKITE_BRANCH"),
            (record.repositories, facts.repository, ""),
            (record.organizations, facts.organization, "BUILDKITE_ORGANIZATION_SLUG"),
            (record.pipelines, facts.pipeline, "BUILDKITE_PIPELINE_SLUG"),
        ):
            if patterns is None:
                continue
            if variable and variable not in facts.proven:
                return unproven(variable, f"the key {name} may sign only some")
            if not patterns.match(value):
                return Finding(
                    code="key.scope",
                    message=f"the key {name} may not sign for {_quoted(value)}",
                    evidence={**evidence, "allowed": str(patterns)},
                )
        return None

    def __str__(self) -> str:
        return "keys in their time and for their purpose: " + (", ".join(self.records) or "no records")


@dataclass(frozen=True, slots=True)
class RequiredProof:
    """At least this proof."""

    name: ClassVar[str] = "proof"
    wanted: Proof

    def judge(self, facts: Facts) -> Finding | None:
        if facts.proof is None:
            return _unsigned()
        if self.wanted is Proof.SIGNATURE or facts.proof is Proof.SEAL:
            return None
        return Finding(
            code="proof.not_enough",
            message="the step is signed and not sealed, and the policy asks for a seal",
            evidence={} if facts.key is None else signer_evidence(facts.key),
        )

    def __str__(self) -> str:
        return f"proof: {self.wanted.value}"


@dataclass(frozen=True, slots=True)
class Attempts:
    """Not more attempts than this. Judged here is what the server admits; the agent's ledger counts for itself."""

    name: ClassVar[str] = "max-attempts"
    most: int

    def judge(self, facts: Facts) -> Finding | None:
        if facts.attempt <= self.most:
            return None
        return Finding(
            code="attempt.too_many",
            message=f"this is attempt {facts.attempt} of the job, and the policy allows {self.most}",
            fields=("BUILDKITE_RETRY_COUNT",),
        )

    def __str__(self) -> str:
        return f"at most {self.most} attempts"


StaticChoice: TypeAlias = Literal["branches", "any", "never"]


@dataclass(frozen=True, slots=True)
class StaticSteps:
    """Steps sealed outside a build: they are an authorisation, and need a fact that the agent finds out by itself.

    Parameters:
        allowed: `branches`: only where the commit is held to an allowed branch; `any`: without such a fact too;
            `never`: not at all.
        starts: how often one may start for one commit; None without such a limit.
        on_branch: whether this job's commit is held to an allowed branch.
    """

    name: ClassVar[str] = "static-steps"
    allowed: StaticChoice
    starts: int | None = None
    on_branch: bool = False

    def judge(self, facts: Facts) -> Finding | None:
        if not facts.is_static:
            return None
        if self.allowed == "never":
            why = "and this agent runs only what was sealed for its build"
        elif self.allowed == "branches" and not self.on_branch:
            why = "and no `branches` of the policy hold its commit to a branch: nothing says that it should run now"
        elif self.starts is not None and not (self.on_branch and OBJECT_ID.admits(facts.commit)):
            why = (
                "and the policy limits its starts for one commit: that needs `branches`, and a commit that the job "
                f"names in full, not {_quoted(facts.commit)}"
            )
        else:
            return None
        return Finding(
            code="proof.static",
            message=f"the step was sealed outside a build, {why}",
            evidence={"commit": facts.commit},
            fields=("build",),
        )

    def __str__(self) -> str:
        words = {"branches": "only for commits of allowed branches", "any": "for any commit", "never": "none"}
        limit = "" if self.starts is None else f", at most {self.starts} starts for one commit"
        return f"steps sealed outside a build: {words[self.allowed]}{limit}"


NO_PLUGINS = Plugins(NONE)


def unproven(variable: str, why: str) -> Finding:
    """The finding that a rule needs a fact that the proof does not cover.

    Parameters:
        variable: the fact.
        why: what asks for it, to begin the sentence.
    """
    return Finding(
        code="policy.unproven",
        message=f"{why}, and {variable} is only the server's word: the step is not bound to it",
        fields=(variable,),
    )


def _unsigned() -> Finding:
    return Finding(code="signature.missing", message="the job is not verified")


def _quoted(text: str) -> str:
    return repr(escape_control(text if len(text) <= 200 else f"{text[:200]}…"))


def _date(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")

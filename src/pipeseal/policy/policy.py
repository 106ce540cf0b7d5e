"""A whole policy: what holds for every job, sections for some of them, and which section a job belongs to.

Sections may only make things stricter, apart from choices that the more specific one decides: the mode, the proof,
how often jobs and static steps may start, and which further variables the server may set. A job belongs to the first
section that matches it; where there are sections, a job that none matches is refused. Matching uses proven facts
alone: where a section asks for an organisation or pipeline that the job's proof does not cover, the job is refused
rather than believed.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import Enum
from types import MappingProxyType

from pipeseal.policy.commit_signers import SignedCommits
from pipeseal.policy.facts import Facts, Finding
from pipeseal.policy.patterns import NONE, Patterns
from pipeseal.policy.rules import (
    NO_LIMITS,
    Attempts,
    KeyRecord,
    KeyRecords,
    Limits,
    Rule,
    StaticChoice,
    StaticSteps,
    Submodules,
    unproven,
)


class Mode(Enum):
    """What happens to a job that is not proven, or that a rule does not agree with: it is refused, or it runs and is
    reported; with a warning where people look at the job, or to the operator and folded away in the job's log."""

    ENFORCE = "enforce"
    WARN = "warn"
    OBSERVE = "observe"


@dataclass(frozen=True, slots=True, kw_only=True)
class Section:
    """Part of a policy.

    Parameters:
        title: how it is called in messages.
        organizations, pipelines, repositories: which jobs it is for; None for all.
        rules: all must agree.
        mode: None to leave it to what holds for every job.
        server_variables: further names that the server may set.
        informational: whether jobs get informational variables; None to leave it.
        scripts_only, repository_hooks: see `Limits`.
        on_branch: see `Limits`.
        static_steps, static_starts: see `StaticSteps`; None to leave it.
    """

    title: str
    organizations: Patterns | None = None
    pipelines: Patterns | None = None
    repositories: Patterns | None = None
    rules: tuple[Rule, ...] = ()
    mode: Mode | None = None
    server_variables: Patterns = NONE
    informational: bool | None = None
    scripts_only: bool = False
    repository_hooks: bool = True
    on_branch: bool = False
    static_steps: StaticChoice | None = None
    static_starts: int | None = None


@dataclass(frozen=True, slots=True)
class Applied:
    """What holds for one job.

    Parameters:
        title: the section it belongs to.
        rules: all must agree.
        mode: what happens when one does not.
        server_variables: what else the server may set.
        informational: whether the job gets informational variables.
        limits: for the runner.
        static_starts: how often a static step may start for one commit; None without such a limit.
        findings: why no section could be applied; empty when one could.
    """

    title: str
    rules: tuple[Rule, ...]
    mode: Mode
    server_variables: Patterns
    informational: bool
    limits: Limits
    static_starts: int | None = None
    findings: tuple[Finding, ...] = ()

    @property
    def max_attempts(self) -> int | None:
        """How often a job may start, as the policy has it; None when it does not say."""
        return next((rule.most for rule in self.rules if isinstance(rule, Attempts)), None)


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """A policy.

    Parameters:
        everywhere: what holds for every job.
        sections: for some jobs, in order; none means that every job is allowed as far as `everywhere` agrees.
        keys: what it says of single keys, by key id.
        switches: rules from the agent's own switches (`--allowed-repositories` and the like): never only observed,
            and in force for unverified jobs too.
        switch_limits: limits from the same switches.
        shared_secrets: whether keys may be secrets that signer and agent share.
        source: the file it came from; empty when there is none.
        warnings: what its author should know, one sentence each.
    """

    everywhere: Section = Section(title="every job")
    sections: tuple[Section, ...] = ()
    keys: Mapping[str, KeyRecord] = field(default_factory=lambda: MappingProxyType({}))
    switches: tuple[Rule, ...] = ()
    switch_limits: Limits = NO_LIMITS
    shared_secrets: bool = False
    source: str = ""
    warnings: tuple[str, ...] = ()

    @property
    def mode(self) -> Mode:
        """What happens to jobs that prove nothing: they can claim any section, so sections have no say."""
        return self.everywhere.mode or Mode.ENFORCE

    def with_switches(
        self,
        rules: tuple[Rule, ...],
        limits: Limits,
        server_variables: Patterns = NONE,
        *,
        shared_secrets: bool = False,
    ) -> Policy:
        """This policy with the agent's own switches on top."""
        everywhere = self.everywhere
        if server_variables:
            everywhere = replace(everywhere, server_variables=everywhere.server_variables + server_variables)
        return replace(
            self,
            everywhere=everywhere,
            switches=rules,
            switch_limits=limits,
            shared_secrets=self.shared_secrets or shared_secrets,
        )

    def apply(self, facts: Facts) -> Applied:
        """What holds for a proven job."""
        section, findings = self._choose(facts)
        parts = [self.everywhere, *([section] if section is not None else [])]
        rules: list[Rule] = [KeyRecords(self.keys)] if self.keys else []
        rules += [rule for part in parts for rule in part.rules]
        modes = [part.mode for part in parts if part.mode is not None]
        informational = [part.informational for part in parts if part.informational is not None]
        mode = modes[-1] if modes else Mode.ENFORCE
        limits = self._limits(parts, facts, mode)
        choices = [part.static_steps for part in parts if part.static_steps is not None]
        starts = next((part.static_starts for part in reversed(parts) if part.static_starts is not None), None)
        if facts.is_static and (choices or starts is not None):
            rules.append(StaticSteps(choices[-1] if choices else "branches", starts, limits.on_branch))
        return Applied(
            title=parts[-1].title,
            rules=(*self.switches, *_last_of_each(rules)),
            mode=mode,
            server_variables=sum((part.server_variables for part in parts), NONE),
            informational=informational[-1] if informational else True,
            limits=limits,
            static_starts=starts,
            findings=findings,
        )

    def _choose(self, facts: Facts) -> tuple[Section | None, tuple[Finding, ...]]:
        for section in self.sections:
            if section.repositories is not None and not section.repositories.match(facts.repository):
                continue
            wanted = (
                (section.organizations, facts.organization, "BUILDKITE_ORGANIZATION_SLUG"),
                (section.pipelines, facts.pipeline, "BUILDKITE_PIPELINE_SLUG"),
            )
            for patterns, _, variable in wanted:
                if patterns is not None and variable not in facts.proven:
                    return None, (unproven(variable, f"the policy's section {section.title} is for some only"),)
            if all(patterns is None or patterns.match(value) for patterns, value, _ in wanted):
                return section, ()
        if not self.sections:
            return None, ()
        place = "/".join(part for part in (facts.organization, facts.pipeline) if part) or "an unnamed pipeline"
        return None, (
            Finding(
                code="policy.no_section",
                message=f"no section of the policy allows {place} with the repository {facts.repository!r}",
                evidence={"repository": facts.repository},
                fields=("repository_url",),
            ),
        )

    def _limits(self, parts: list[Section], facts: Facts, mode: Mode) -> Limits:
        submodules = tuple(rule.allowed for part in parts for rule in part.rules if isinstance(rule, Submodules))
        return Limits(
            scripts_only=self.switch_limits.scripts_only or any(part.scripts_only for part in parts),
            repository_hooks=self.switch_limits.repository_hooks and all(part.repository_hooks for part in parts),
            # Where pull requests are allowed beside branches, theirs is a branch of somebody else's.
            on_branch=any(part.on_branch for part in parts) and not facts.is_pull_request,
            commit_signers=tuple(
                rule.signers for part in parts for rule in part.rules if isinstance(rule, SignedCommits)
            ),
            submodules=submodules,
            # Other hosts are sent requests, and maybe credentials, at the word of whoever wrote the commit.
            own_host=not submodules and mode is Mode.ENFORCE,
        )


# Of these the more specific one decides; of all others every one must agree.
_CHOICES = frozenset({"proof", "max-attempts"})


def _last_of_each(rules: list[Rule]) -> list[Rule]:
    last = {rule.name: rule for rule in rules if rule.name in _CHOICES}
    return [rule for rule in rules if rule.name not in _CHOICES or last[rule.name] is rule]

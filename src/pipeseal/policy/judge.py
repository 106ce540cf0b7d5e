"""Judging a proven job by the policy: its facts, what each rule says of them, and its variables by the table."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from pipeseal.agentapi.job import Job
from pipeseal.pipeline.steps import Plugin
from pipeseal.policy.environment import JudgedVariables, judge_variables
from pipeseal.policy.facts import Facts, Finding, LocalFacts
from pipeseal.policy.policy import Applied, Policy
from pipeseal.policy.proof import ProvenJob
from pipeseal.policy.starts import StartRequest, request_start

ORGANIZATION, PIPELINE = "BUILDKITE_ORGANIZATION_SLUG", "BUILDKITE_PIPELINE_SLUG"


class Verdict(NamedTuple):
    """What one rule says of a job.

    Parameters:
        rule: what it asks for.
        name: its key in a policy file.
        finding: why it does not agree; None when it does.
    """

    rule: str
    name: str
    finding: Finding | None


class Judgement(NamedTuple):
    """What the policy says of a job.

    Parameters:
        facts: what was judged.
        applied: the part of the policy that holds.
        verdicts: one for each rule, in order.
        variables: the job's variables, judged.
    """

    facts: Facts
    applied: Applied
    verdicts: tuple[Verdict, ...]
    variables: JudgedVariables

    @property
    def findings(self) -> tuple[Finding, ...]:
        """Why the job must not run, all of it: who signed and where, then the rules, then the variables."""
        rules = [verdict.finding for verdict in self.verdicts if verdict.finding is not None]
        return (*self.applied.findings, *rules, *self.variables.findings)


def judge_job(job: Job, proven: ProvenJob, policy: Policy, local: LocalFacts) -> Judgement:
    """What `policy` says of a proven job.

    Parameters:
        job: what the server sent.
        proven: what is proven of it.
        policy: the operator's.
        local: what the agent knows.
    """
    facts = facts_of(job.env, proven, local)
    applied = policy.apply(facts)
    verdicts = tuple(Verdict(str(rule), rule.name, rule.judge(facts)) for rule in applied.rules)
    variables = judge_variables(
        job.env,
        proven=proven.environment,
        local=local,
        allowed=applied.server_variables,
        informational=applied.informational,
    )
    return Judgement(facts, applied, verdicts, variables)


def start_of(job: Job, proven: ProvenJob, applied: Applied, *, now: float, observed: bool = False) -> StartRequest:
    """What the ledger has to be asked before a job that was judged starts.

    Parameters:
        job, proven: as for `judge_job`.
        applied: the part of the policy that holds.
        now: seconds since 1970.
        observed: see `StartRequest`.
    """
    return request_start(
        job,
        proven,
        now=now,
        max_attempts=applied.max_attempts,
        static_starts=applied.static_starts,
        on_branch=applied.limits.on_branch,
        observed=observed,
    )


def facts_of(env: Mapping[str, str], proven: ProvenJob, local: LocalFacts) -> Facts:
    """The facts of a proven job."""

    def known(name: str) -> str:
        return proven.environment.get(name, env.get(name, ""))

    count = env.get("BUILDKITE_RETRY_COUNT", "")
    return Facts(
        organization=known(ORGANIZATION),
        pipeline=known(PIPELINE),
        repository=proven.repository,
        commit=known("BUILDKITE_COMMIT") or "HEAD",
        branch=known("BUILDKITE_BRANCH"),
        tag=known("BUILDKITE_TAG"),
        pull_request=known("BUILDKITE_PULL_REQUEST"),
        command=proven.command,
        plugins=proven.plugins,
        key=proven.key,
        proof=proven.proof,
        now=local.now,
        attempt=int(count) + 1 if count.isascii() and count.isdigit() and len(count) < 10 else 1,
        proven=frozenset(proven.environment),
        is_static=proven.seal is not None and proven.seal.is_static and not proven.commit,
        resolved=proven.resolved,
    )


def claimed_facts(env: Mapping[str, str], command: str, plugins: tuple[Plugin, ...]) -> Facts:
    """The facts of a job that nothing is proven of: all of it is the server's word."""
    return Facts(
        organization=env.get(ORGANIZATION, ""),
        pipeline=env.get(PIPELINE, ""),
        repository=env.get("BUILDKITE_REPO", ""),
        commit=env.get("BUILDKITE_COMMIT", "") or "HEAD",
        branch=env.get("BUILDKITE_BRANCH", ""),
        tag=env.get("BUILDKITE_TAG", ""),
        pull_request=env.get("BUILDKITE_PULL_REQUEST", ""),
        command=command,
        plugins=plugins,
        key=None,
        proof=None,
        now=0.0,
    )

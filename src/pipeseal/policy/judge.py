"""Judging a proven job by the policy: its facts, what each rule says of them, and its variables by the table."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

from pipeseal.agentapi.job import Job
from pipeseal.pipeline.steps import Plugin
from pipeseal.policy.environment import JudgedVariables, judge_variables
from pipeseal.policy.facts import Facts, Finding, LocalFacts, Proof
from pipeseal.policy.policy import Applied, Policy
from pipeseal.signing.keys.verification_keys import TrustedKey

ORGANIZATION, PIPELINE = "BUILDKITE_ORGANIZATION_SLUG", "BUILDKITE_PIPELINE_SLUG"


@dataclass(frozen=True, slots=True, kw_only=True)
class ProvenParts:
    """What a proof says, whichever kind of proof it is.

    Parameters:
        command: command text, matrix values in it.
        plugins: in order, sources in full form.
        environment: all proven variables.
        repository: URL.
        key: who signed.
        proof: what kind of proof.
    """

    command: str
    plugins: tuple[Plugin, ...]
    environment: Mapping[str, str]
    repository: str
    key: TrustedKey
    proof: Proof


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


def judge_job(job: Job, parts: ProvenParts, policy: Policy, local: LocalFacts) -> Judgement:
    """What `policy` says of a proven job.

    Parameters:
        job: what the server sent.
        parts: what is proven of it.
        policy: the operator's.
        local: what the agent knows.
    """
    facts = facts_of(job.env, parts, local)
    applied = policy.apply(facts)
    verdicts = tuple(Verdict(str(rule), rule.name, rule.judge(facts)) for rule in applied.rules)
    variables = judge_variables(
        job.env,
        proven=parts.environment,
        local=local,
        allowed=applied.server_variables,
        informational=applied.informational,
    )
    return Judgement(facts, applied, verdicts, variables)


def facts_of(env: Mapping[str, str], parts: ProvenParts, local: LocalFacts) -> Facts:
    """The facts of a proven job."""

    def known(name: str) -> str:
        return parts.environment.get(name, env.get(name, ""))

    count = env.get("BUILDKITE_RETRY_COUNT", "")
    return Facts(
        organization=known(ORGANIZATION),
        pipeline=known(PIPELINE),
        repository=parts.repository,
        commit=known("BUILDKITE_COMMIT") or "HEAD",
        branch=known("BUILDKITE_BRANCH"),
        tag=known("BUILDKITE_TAG"),
        pull_request=known("BUILDKITE_PULL_REQUEST"),
        command=parts.command,
        plugins=parts.plugins,
        key=parts.key,
        proof=parts.proof,
        now=local.now,
        attempt=int(count) + 1 if count.isascii() and count.isdigit() and len(count) < 10 else 1,
        proven=frozenset(parts.environment),
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

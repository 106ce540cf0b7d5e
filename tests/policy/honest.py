"""The honest twin: a job as our control plane sends it, signed (and sealed) as our uploader signs, and its agent."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from itertools import count
from typing import Any, Literal

from pipeseal.agentapi.job import Job, parse_job
from pipeseal.controlplane.domain.environment import JobFacts, artifact_paths, job_environment
from pipeseal.pipeline.render import plugins_value, render_json, step_value
from pipeseal.pipeline.steps import CommandStep, Pipeline, Plugin
from pipeseal.policy import ApprovedJob, Refused, VerificationSettings, evaluate
from pipeseal.policy.facts import LocalFacts
from pipeseal.policy.policy import Policy
from pipeseal.signing.bindings import static_bindings, uploader_bindings
from pipeseal.signing.seal.envelope import BuildFacts
from pipeseal.signing.seal.make import Sealing
from pipeseal.signing.sign import sign_pipeline, sign_step
from tests.signing.material import REPOSITORY, signing_key, verification_keys

COMMIT = "83a20ec058e2fb00e7fa4558c4c6e81e2dcf253d"
TREE = "4b825dc642cb6eb9a060e54bf8d69288fbee4904"
JOB_ID = "0193d0a1-0000-7000-8000-000000000001"
BUILD_ID = "0193d0a1-0000-7000-8000-0000000000b1"
AGENT_ID = "0193d0a1-0000-7000-8000-0000000000a1"
NOW = 1_790_000_000.0

STEP = CommandStep(
    command="scripts/test",
    key="test",
    label="Test",
    env={"SAFETY": "on"},
    plugins=[Plugin("docker#v5.9.0", {"image": "alpine"})],
    rest={"artifact_paths": ["out/*.xml"]},
)

_STATIC_BINDINGS = static_bindings(organization="acme", pipeline="widgets", tag="", pull_request="false")

How = Literal["reference", "bound", "static", "sealed"]

LOCAL = LocalFacts(
    job_id=JOB_ID, agent_id=AGENT_ID, agent_name="runner 1", now=NOW, tags=("queue=default", "os=linux")
)
SETTINGS = VerificationSettings(keys=verification_keys(), policy=Policy())


def environment(step: CommandStep = STEP, **changes: Any) -> dict[str, str]:
    """The variables of an honest job."""
    facts = JobFacts(
        job_id=JOB_ID,
        build_id=BUILD_ID,
        build_number=7,
        build_url="http://127.0.0.1:8080/acme/widgets/builds/7",
        organization_slug="acme",
        organization_id="0193d0a1-0000-7000-8000-0000000000f1",
        pipeline_slug="widgets",
        pipeline_id="0193d0a1-0000-7000-8000-0000000000f2",
        pipeline_name="Widgets & more",
        default_branch="main",
        repository=REPOSITORY,
        commit=COMMIT,
        branch="main",
        tag="",
        pull_request="false",
        message='Fix "the" thing\n\n$(reboot) `x`',
        author="O'Brien <o@example.test>",
        source="webhook",
        rebuilt_from_id="",
        rebuilt_from_number="",
        step_id="0193d0a1-0000-7000-8000-0000000000d1",
        step_key=step.key,
        label=step.label,
        command=step.command,
        plugins=render_json(plugins_value(step.plugins)) if step.plugins else "",
        artifact_paths=artifact_paths(step.rest.get("artifact_paths")),
        timeout_minutes=None,
        retry_count=0,
        retry_kind="",
        parallel_index=None,
        parallel_count=None,
        agent_id=AGENT_ID,
        agent_name="runner 1",
        agent_variables={"BUILDKITE_AGENT_META_DATA_QUEUE": "default", "BUILDKITE_AGENT_META_DATA_OS": "linux"},
        pipeline_env={"TIER": "gold"},
        step_env=step.env,
    )
    return job_environment(replace(facts, **changes))


def document(
    how: How = "bound", step: CommandStep = STEP, *, seal: Mapping[str, Any] | None = None, **changes: Any
) -> dict[str, Any]:
    """An honest job as a server's JSON has it.

    Parameters:
        how: `reference`: signed as the ecosystem does. `bound`: to its build too. `static`: outside of any build.
            `sealed`: bound and sealed.
        seal: what the seal says otherwise, see `Sealing`.
        changes: facts of the job.
    """
    told = environment(step, **changes)
    env = {"TIER": "gold"}
    if how == "sealed":
        sealing = Sealing(
            organization="acme",
            pipeline="widgets",
            repository=REPOSITORY,
            build=BuildFacts(id=BUILD_ID, commit=COMMIT, tree=TREE, branch="main", tag="", pull_request="false"),
            upload="0193d0a1-0000-7000-8000-0000000000e1",
            positions=count(),
            not_before=int(NOW) - 60,
            expires=int(NOW) + 3600,
        )._replace(**(seal or {}))
        bindings: Mapping[str, str] | None = uploader_bindings(told)
        if sealing.build is None or not sealing.build.id:
            bindings = _STATIC_BINDINGS if sealing.organization else {}
        pipeline = sign_pipeline(
            Pipeline(steps=[step], env=env),
            key=signing_key(),
            repository_url=REPOSITORY,
            bindings=bindings,
            sealing=sealing,
        )
        signed = pipeline.steps[0]
        assert isinstance(signed, CommandStep)
        told |= signed.env
    else:
        bindings = {
            "reference": None,
            "bound": uploader_bindings(told),
            "static": _STATIC_BINDINGS,
        }[how]
        signed = sign_step(step, key=signing_key(), repository_url=REPOSITORY, pipeline_env=env, bindings=bindings)
    return {"id": JOB_ID, "token": "t", "env": told, "step": step_value(signed)}


def with_env(job: dict[str, Any], **env: str | None) -> dict[str, Any]:
    """The job with other variables; None takes one away."""
    changed = {name: value for name, value in {**job["env"], **env}.items() if value is not None}
    return {**job, "env": changed}


def read(job: dict[str, Any]) -> Job:
    return parse_job(json.dumps(job).encode())


def decide(
    job: dict[str, Any], settings: VerificationSettings = SETTINGS, local: LocalFacts = LOCAL
) -> ApprovedJob | Refused:
    return evaluate(read(job), settings, local)


def approved(
    job: dict[str, Any], settings: VerificationSettings = SETTINGS, local: LocalFacts = LOCAL
) -> ApprovedJob:
    """The approval; fails with the refusal when there is none."""
    decision = decide(job, settings, local)
    assert isinstance(decision, ApprovedJob), (decision.code, decision.reason, dict(decision.evidence))
    return decision


def refused(job: dict[str, Any], settings: VerificationSettings = SETTINGS, local: LocalFacts = LOCAL) -> Refused:
    """The refusal; fails when there is none."""
    decision = decide(job, settings, local)
    assert isinstance(decision, Refused), "the job was approved"
    return decision


def policy(text: str) -> VerificationSettings:
    """Settings with a policy file of this text (after `version = 1`)."""
    from pipeseal.policy.file import parse_policy

    return replace(SETTINGS, policy=parse_policy(f"version = 1\n{text}".encode()))

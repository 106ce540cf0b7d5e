"""Honest jobs: as our control plane sends them, signed and sealed as our uploader does. Attacks begin with one.

Each is made anew, with ids of its own, so that no two look like the same job twice.
"""

from __future__ import annotations

import copy
import time
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from itertools import count
from typing import Any, Literal, TypeAlias

from pipeseal.controlplane.domain.environment import (
    JobFacts,
    artifact_paths,
    checkout_variables,
    job_environment,
)
from pipeseal.lab.ground import NAMED_LIKE_A_COMMAND, Ground
from pipeseal.pipeline.matrix import interpolate_matrix
from pipeseal.pipeline.parse import parse_command_step
from pipeseal.pipeline.render import plugins_value, render_json, step_value
from pipeseal.pipeline.steps import Checkout, CommandStep, Matrix, Pipeline, Plugin, Secret, Signature
from pipeseal.signing.bindings import static_bindings, uploader_bindings
from pipeseal.signing.fields import values_to_sign
from pipeseal.signing.jws import sign_jws
from pipeseal.signing.keys.signing_key import FileSigningKey
from pipeseal.signing.payload import render_payload
from pipeseal.signing.seal.envelope import BuildFacts, ResolvedPlugin
from pipeseal.signing.seal.make import Sealing, static_sealing
from pipeseal.signing.sign import sign_pipeline, sign_step

# A job as the server's JSON has it.
JobDocument: TypeAlias = dict[str, Any]
Proof: TypeAlias = Literal["sealed", "static-seal", "bound", "static", "reference"]
HOUR = 3600


@dataclass(frozen=True, kw_only=True)
class Kind:
    """A sort of honest job.

    Parameters:
        proof: how its step is proven. `bound`: signed, to its build. `static`: signed outside of any build.
            `reference`: signed as a stock uploader does, bound to nothing. `sealed`, `static-seal`: in a seal too.
        step: its step.
        key: role of the key that signs.
        pipeline: slug; the ground's own when empty.
        gadgets: of the other repository.
        permutation: values of its matrix.
        parallel: index of the job among those of its step.
        facts: other facts of the job.
        sealing: other members of `Sealing`.
        tree: what the seal says that the commit's tree is; the truth when empty.
        commit: another commit than the head of the main branch.
    """

    proof: Proof = "sealed"
    step: Callable[[Ground], CommandStep]
    key: str = "signer"
    pipeline: str = ""
    gadgets: bool = False
    permutation: Mapping[str, str] | None = None
    parallel: int | None = None
    facts: Mapping[str, Any] = field(default_factory=dict)
    sealing: Mapping[str, Any] = field(default_factory=dict)
    tree: str = ""
    commit: str = ""


def _plain(ground: Ground) -> CommandStep:
    return CommandStep(
        command="scripts/test",
        key="test",
        label="Test",
        env={"SAFETY": "on"},
        plugins=[Plugin(ground.plugin, {"text": "checked", "account": 9007199254740991})] if ground.plugin else [],
        rest={"artifact_paths": ["out/*.txt"], "agents": {"queue": ground.queue}},
    )


def _other(**changes: Any) -> Callable[[Ground], CommandStep]:
    return lambda ground: replace(_plain(ground), **changes)


def _rest(**members: Any) -> Callable[[Ground], CommandStep]:
    def step(ground: Ground) -> CommandStep:
        plain = _plain(ground)
        return replace(plain, rest={**plain.rest, **members})

    return step


# The honest jobs that attacks begin with. `second` stands beside `sealed`: for taking parts of one into the other.
KINDS: dict[str, Kind] = {
    "sealed": Kind(step=_plain),
    "second": Kind(step=_other(key="second", label="Second", env={"SAFETY": "off"}, plugins=[])),
    "shell": Kind(step=_other(command=NAMED_LIKE_A_COMMAND, key="shell")),
    "checkout": Kind(step=_other(key="checkout", checkout=Checkout(depth=1, rest={"flags": {"clean": "-ffdx"}}))),
    "matrix": Kind(
        step=_other(key="matrix", command="scripts/test {{matrix}}", matrix=Matrix({"": ["alpine", "debian"]})),
        permutation={"": "alpine"},
    ),
    "parallel": Kind(step=_rest(parallelism=2), parallel=0),
    # By how often they may start: once on whatever agent; twice; once for each index.
    "exclusive": Kind(step=_rest(concurrency=1, concurrency_group="deploy")),
    "retried": Kind(step=_rest(retry={"automatic": {"limit": 1}, "manual": False})),
    "once-each": Kind(step=_rest(parallelism=2, retry={"manual": False}), parallel=0),
    "static-seal": Kind(proof="static-seal", step=_plain),
    "secrets": Kind(step=_other(key="secrets", secrets=[Secret("deploy-key", "DEPLOY_KEY")])),
    "variable": Kind(step=_other(key="deploy", command='scripts/test "$TARGET"')),
    "bound": Kind(proof="bound", step=_plain, pipeline="legacy"),
    "bound-secrets": Kind(
        proof="bound",
        step=_other(key="secrets", secrets=[Secret("deploy-key", "DEPLOY_KEY")]),
        pipeline="legacy",
    ),
    "bound-matrix": Kind(
        proof="bound",
        step=_other(key="matrix", command="scripts/test {{matrix}}", matrix=Matrix({"": ["alpine", "debian"]})),
        permutation={"": "alpine"},
        pipeline="legacy",
    ),
    "static": Kind(proof="static", step=_plain, pipeline="legacy"),
    "reference": Kind(proof="reference", step=_plain, gadgets=True),
    "elsewhere": Kind(step=_plain, key="elsewhere", gadgets=True),
    "second-key": Kind(step=_plain, key="second"),
    "leaking": Kind(
        step=_other(key="leak", command="scripts/leak", secrets=[Secret("deploy-key", "DEPLOY_KEY")], plugins=[])
    ),
    "forging": Kind(step=_other(key="forge", command="scripts/forge", plugins=[])),
}


def make_job(ground: Ground, kind: Kind, agent: tuple[str, str]) -> JobDocument:
    """A new honest job.

    Parameters:
        ground: where repositories and keys are.
        kind: what sort of job.
        agent: name and id of the agent that it is for.
    """
    step = kind.step(ground)
    facts = _facts(ground, kind, step, agent)
    told = job_environment(facts)
    pipeline_env = dict(facts.pipeline_env)
    key = FileSigningKey(ground.pairs[kind.key].key)
    if kind.proof in ("sealed", "static-seal"):
        pipeline = sign_pipeline(
            Pipeline(steps=[step], env=pipeline_env),
            key=key,
            repository_url=facts.repository,
            bindings=uploader_bindings(told) if kind.proof == "sealed" else _static(facts),
            sealing=_sealing(ground, kind, facts),
        )
        signed = pipeline.steps[0]
        assert isinstance(signed, CommandStep)
        told |= signed.env
    else:
        bindings = {"bound": uploader_bindings(told), "static": _static(facts)}.get(kind.proof)
        signed = sign_step(
            step, key=key, repository_url=facts.repository, pipeline_env=pipeline_env, bindings=bindings
        )
    document = {
        "id": facts.job_id,
        "state": "accepted",
        "token": f"job-{uuid.uuid4().hex}",
        "env": told,
        "step": copy.deepcopy(step_value(signed)),
        "chunks_max_size_bytes": 102_400,
        "chunks_interval_seconds": 1,
        "log_max_size_bytes": 1_073_741_824,
        "runnable_at": "2026-01-01T00:00:00Z",
        "priority": 0,
    }
    if kind.permutation is not None:
        document["matrix_permutation"] = dict(kind.permutation)
    return document


def sign_again(ground: Ground, job: JobDocument, role: str = "signer") -> JobDocument:
    """The job with its step signed as it stands, whatever seal is in it: as somebody who has the key could.

    Parameters:
        ground: where the keys are.
        job: the job.
        role: of the key.
    """
    step = parse_command_step(job["step"])
    key = FileSigningKey(ground.pairs[role].key)
    environment = {"TIER": "gold", "BUILDKITE_COMMIT": job["env"]["BUILDKITE_COMMIT"]}
    values = values_to_sign(step, repository_url=job["env"]["BUILDKITE_REPO"], environment=environment)
    signature = Signature(key.alg, sorted(values), sign_jws(render_payload(key.alg, values), key))
    return {**job, "step": step_value(replace(step, signature=signature))}


def _static(facts: JobFacts) -> Mapping[str, str]:
    return static_bindings(
        organization=facts.organization_slug, pipeline=facts.pipeline_slug, tag="", pull_request="false"
    )


def _sealing(ground: Ground, kind: Kind, facts: JobFacts) -> Sealing:
    now = int(time.time())
    resolved = {}
    if ground.plugin:
        resolved[ground.plugin] = ResolvedPlugin(ground.plugin_commit, ground.plugin_tree)
    if kind.proof == "static-seal":
        sealing = static_sealing(repository_url=facts.repository, bindings=_static(facts))
    else:
        sealing = Sealing(
            organization=facts.organization_slug,
            pipeline=facts.pipeline_slug,
            repository=facts.repository,
            build=BuildFacts(
                id=facts.build_id,
                commit=facts.commit,
                tree=kind.tree or (ground.tree if facts.commit == ground.commit else None),
                branch=facts.branch,
                tag=facts.tag,
                pull_request=facts.pull_request,
            ),
            upload=str(uuid.uuid4()),
            positions=count(),
            not_before=now - 60,
            expires=now + HOUR,
            resolved=resolved,
        )
    return sealing._replace(**kind.sealing)


def _facts(ground: Ground, kind: Kind, step: CommandStep, agent: tuple[str, str]) -> JobFacts:
    seen = step if kind.permutation is None else interpolate_matrix(step, kind.permutation)
    pipeline = ground.pipeline if ground.names.repository else kind.pipeline or ground.pipeline
    pipeline_env = {"TIER": "gold"}
    facts = JobFacts(
        job_id=str(uuid.uuid4()),
        build_id=str(uuid.uuid4()),
        build_number=7,
        build_url=f"http://127.0.0.1/{ground.organization}/{pipeline}/builds/7",
        organization_slug=ground.organization,
        organization_id=str(uuid.uuid5(uuid.NAMESPACE_URL, "organization")),
        pipeline_slug=pipeline,
        pipeline_id=str(uuid.uuid5(uuid.NAMESPACE_URL, f"pipeline:{pipeline}")),
        pipeline_name="Widgets & more",
        default_branch=ground.branch,
        repository=ground.other_repository if kind.gadgets else ground.repository,
        commit=kind.commit or ground.commit,
        branch=ground.branch,
        tag="",
        pull_request="false",
        message='Fix "the" thing\n\n$(reboot) `x`',
        author="O'Brien <o@example.test>",
        source="webhook",
        rebuilt_from_id="",
        rebuilt_from_number="",
        step_id=str(uuid.uuid4()),
        step_key=step.key,
        label=seen.label,
        command=seen.command,
        plugins=render_json(plugins_value(seen.plugins)) if seen.plugins else "",
        artifact_paths=artifact_paths(seen.rest.get("artifact_paths")),
        timeout_minutes=None,
        retry_count=0,
        retry_kind="",
        parallel_index=kind.parallel,
        parallel_count=_parallelism(step),
        agent_id=agent[1],
        agent_name=agent[0],
        agent_variables={f"BUILDKITE_AGENT_META_DATA_{name.upper()}": value for name, value in ground.tags.items()},
        pipeline_env=pipeline_env,
        step_env=seen.env,
        checkout_env=checkout_variables((None, step.checkout), {**pipeline_env, **seen.env}),
    )
    return replace(facts, **kind.facts)


def _parallelism(step: CommandStep) -> int | None:
    value = step.rest.get("parallelism")
    return value if isinstance(value, int) else None

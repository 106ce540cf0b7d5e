"""The variables of a job, as the Agent API reference lists them (5.2).

Precedence, weakest first: pipeline env, build env, step env, checkout settings, standard variables. An agent believes
none of this: it compares what was signed and builds the process environment itself.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from pipeseal.controlplane.domain.build_origin import TRIGGERED_FROM
from pipeseal.controlplane.domain.unblocker import Unblocker
from pipeseal.pipeline.steps import Checkout

NO_PULL_REQUEST = "false"


@dataclass(frozen=True, slots=True)
class JobFacts:
    """What the standard variables are made of; `name` is the variable without its `BUILDKITE_`.

    Parameters:
        build_url: page of the build.
        tag: empty when the build is of no tag.
        pull_request: its number as text, or `false`.
        plugins: canonical JSON text of the step's plugins; empty when it has none.
        agent_variables: `BUILDKITE_AGENT_META_DATA_*` of the agent that took the job.
        origin_env: what is known of how the build came to be (`BuildOrigin`).
        unblocker: who let the latest block or input step of the build pass.
        group: `(id, key, label)` of the innermost group around the step.
    """

    job_id: str
    build_id: str
    build_number: int
    build_url: str
    organization_slug: str
    organization_id: str
    pipeline_slug: str
    pipeline_id: str
    pipeline_name: str
    default_branch: str
    repository: str
    commit: str
    branch: str
    tag: str
    pull_request: str
    message: str
    author: str
    source: str
    rebuilt_from_id: str
    rebuilt_from_number: str
    step_id: str
    step_key: str
    label: str
    command: str
    plugins: str
    artifact_paths: str
    timeout_minutes: int | None
    retry_count: int
    retry_kind: str
    parallel_index: int | None
    parallel_count: int | None
    agent_id: str
    agent_name: str
    agent_variables: Mapping[str, str]
    unblocker: Unblocker = field(default_factory=Unblocker)
    group: tuple[str, str, str] | None = None
    origin_env: Mapping[str, str] = field(default_factory=dict)
    pipeline_env: Mapping[str, str] = field(default_factory=dict)
    build_env: Mapping[str, str] = field(default_factory=dict)
    step_env: Mapping[str, str] = field(default_factory=dict)
    checkout_env: Mapping[str, str] = field(default_factory=dict)


def job_environment(facts: JobFacts) -> dict[str, str]:
    """All variables of a job.

    Parameters:
        facts: about the job.

    Returns:
        Name to value. The eight that a bootstrap insists on are always there and never empty.
    """
    env = {**facts.pipeline_env, **facts.build_env, **facts.step_env, **facts.checkout_env}
    env |= {
        "BUILDKITE": "true",
        "CI": "true",
        "BUILDKITE_JOB_ID": facts.job_id,
        "BUILDKITE_BUILD_ID": facts.build_id,
        "BUILDKITE_BUILD_NUMBER": str(facts.build_number),
        "BUILDKITE_BUILD_URL": facts.build_url,
        "BUILDKITE_BUILD_AUTHOR": facts.author,
        "BUILDKITE_BUILD_CREATOR": facts.author,
        "BUILDKITE_ORGANIZATION_SLUG": facts.organization_slug,
        "BUILDKITE_ORGANIZATION_ID": facts.organization_id,
        "BUILDKITE_PIPELINE_SLUG": facts.pipeline_slug,
        "BUILDKITE_PIPELINE_ID": facts.pipeline_id,
        "BUILDKITE_PIPELINE_NAME": facts.pipeline_name,
        "BUILDKITE_PIPELINE_DEFAULT_BRANCH": facts.default_branch,
        "BUILDKITE_PIPELINE_PROVIDER": "git",
        "BUILDKITE_REPO": facts.repository,
        "BUILDKITE_COMMIT": facts.commit,
        "BUILDKITE_BRANCH": facts.branch,
        "BUILDKITE_TAG": facts.tag,
        "BUILDKITE_PULL_REQUEST": facts.pull_request,
        "BUILDKITE_MESSAGE": facts.message,
        "BUILDKITE_SOURCE": facts.source,
        "BUILDKITE_STEP_ID": facts.step_id,
        "BUILDKITE_LABEL": facts.label,
        "BUILDKITE_COMMAND": facts.command,
        "BUILDKITE_ARTIFACT_PATHS": facts.artifact_paths,
        "BUILDKITE_TIMEOUT": "false" if facts.timeout_minutes is None else str(facts.timeout_minutes),
        "BUILDKITE_RETRY_COUNT": str(facts.retry_count),
        "BUILDKITE_AGENT_ID": facts.agent_id,
        "BUILDKITE_AGENT_NAME": facts.agent_name,
        "BUILDKITE_COMPUTE_TYPE": "self-hosted",
        **facts.agent_variables,
        **facts.origin_env,
    }
    # Present only when they say something; otherwise not even a user variable of that name gets through.
    optional: dict[str, str] = {
        "BUILDKITE_PLUGINS": facts.plugins,
        "BUILDKITE_STEP_KEY": facts.step_key,
        "BUILDKITE_RETRY_TYPE": facts.retry_kind,
        "BUILDKITE_REBUILT_FROM_BUILD_ID": facts.rebuilt_from_id,
        "BUILDKITE_REBUILT_FROM_BUILD_NUMBER": facts.rebuilt_from_number,
        "BUILDKITE_PARALLEL_JOB": "" if facts.parallel_index is None else str(facts.parallel_index),
        "BUILDKITE_PARALLEL_JOB_COUNT": "" if facts.parallel_count is None else str(facts.parallel_count),
        "BUILDKITE_GROUP_ID": facts.group[0] if facts.group else "",
        "BUILDKITE_GROUP_KEY": facts.group[1] if facts.group else "",
        "BUILDKITE_GROUP_LABEL": facts.group[2] if facts.group else "",
        **facts.unblocker.variables,
        **{name: facts.origin_env.get(name, "") for name in TRIGGERED_FROM},
    }
    for name, value in optional.items():
        if value:
            env[name] = value
        else:
            env.pop(name, None)
    return env


def variable_origins(facts: JobFacts) -> dict[str, tuple[str, str]]:
    """All variables of a job with who set each, sorted by name.

    Returns:
        Name to value and `pipeline`, `build`, `step`, `checkout`, `agent` (by its tags) or `server`.
    """
    # What stands there when nobody else says anything is the server's, whatever was said under its name.
    own = job_environment(replace(facts, pipeline_env={}, build_env={}, step_env={}, checkout_env={}))
    layers: tuple[tuple[str, Mapping[str, object]], ...] = (
        ("agent", facts.agent_variables),
        ("server", own),
        ("checkout", facts.checkout_env),
        ("step", facts.step_env),
        ("build", facts.build_env),
        ("pipeline", facts.pipeline_env),
    )
    return {
        name: (value, next(speaker for speaker, names in layers if name in names))
        for name, value in sorted(job_environment(facts).items())
    }


def artifact_paths(value: Any) -> str:
    """A step's `artifact_paths` as `BUILDKITE_ARTIFACT_PATHS` carries them: joined with `;`."""
    match value:
        case str():
            return value
        case list():
            return ";".join(str(item) for item in value if isinstance(item, str))
        case _:
            return ""


def checkout_variables(layers: Sequence[Checkout | None], existing: Mapping[str, str]) -> dict[str, str]:
    """Checkout settings as the variables that agents read; later layers win.

    Parameters:
        layers: the pipeline's settings, then the step's.
        existing: variables so far, for flags that are added to rather than replaced.
    """
    env: dict[str, str] = {}
    for checkout in layers:
        if checkout is None:
            continue
        if checkout.skip is not None:
            env["BUILDKITE_SKIP_CHECKOUT"] = _bool(checkout.skip)
        if checkout.submodules is not None:
            env["BUILDKITE_GIT_SUBMODULES"] = _bool(checkout.submodules)
        rest = checkout.rest
        if isinstance(rest.get("lfs"), bool):
            env["BUILDKITE_GIT_LFS_ENABLED"] = _bool(rest["lfs"])
        flags = rest.get("flags")
        for name in ("clone", "fetch", "checkout", "clean"):
            if isinstance(flags, dict) and isinstance(flags.get(name), str):
                env[f"BUILDKITE_GIT_{name.upper()}_FLAGS"] = flags[name]
        sparse = rest.get("sparse")
        if isinstance(sparse, dict):
            if isinstance(sparse.get("paths"), list):
                env["BUILDKITE_GIT_SPARSE_CHECKOUT_PATHS"] = ",".join(str(path) for path in sparse["paths"])
            if isinstance(sparse.get("mode"), str):
                env["BUILDKITE_GIT_SPARSE_CHECKOUT_MODE"] = sparse["mode"]
        if isinstance(rest.get("commit_verification"), str):
            env["BUILDKITE_GIT_COMMIT_VERIFICATION"] = rest["commit_verification"]
    depths = [checkout.depth for checkout in layers if checkout is not None and checkout.depth is not None]
    for name in ("BUILDKITE_GIT_CLONE_FLAGS", "BUILDKITE_GIT_FETCH_FLAGS") if depths else ():
        env[name] = f"{env.get(name, existing.get(name, ''))} --depth={depths[-1]}".strip()
    return env


def _bool(value: bool) -> str:
    return "true" if value else "false"

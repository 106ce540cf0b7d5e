"""What the step and the agent put into one job's variables; `environment` puts it together with the server's."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from pipeseal.agent.environment import JobEnvironment, build_environment
from pipeseal.agent.settings import AgentSettings
from pipeseal.pipeline.render import plugins_value, render_json
from pipeseal.pipeline.steps import Checkout
from pipeseal.policy.decision import ApprovedJob

_SLUGS = ("BUILDKITE_ORGANIZATION_SLUG", "BUILDKITE_PIPELINE_SLUG")


class AgentFacts(NamedTuple):
    """The agent, as its jobs see it.

    Parameters:
        id, name: its identity.
        job_id: the job it accepted.
        endpoint: URL of the Agent API.
        token: the job's own token.
        launcher: folder that comes first in PATH.
    """

    id: str
    name: str
    job_id: str
    endpoint: str
    token: str
    launcher: Path


def compose_environment(
    approved: ApprovedJob, settings: AgentSettings, agent: AgentFacts, base: Mapping[str, str]
) -> JobEnvironment:
    """All variables of a job.

    Parameters:
        approved: the job.
        base: variables of the agent that every job gets.

    Raises:
        VerificationError: as `build_environment`.
    """
    covered = approved.proven_variables if approved.verified is not None else None
    step = {
        **approved.step.env,
        "BUILDKITE_COMMAND": approved.command,
        "BUILDKITE_REPO": approved.repository_url,
    }
    if approved.plugins:
        step["BUILDKITE_PLUGINS"] = render_json(plugins_value(list(approved.plugins)))
    checkout = approved.step.checkout
    if checkout is not None:
        step |= _step_checkout(checkout)
    own = _own_variables(settings, agent)
    decided = set(step) | set(covered or ())
    checkout_variables = _checkout_variables(settings, agent, approved.env)
    own |= {name: value for name, value in checkout_variables.items() if name not in decided}
    own["PATH"] = os.pathsep.join(part for part in (str(agent.launcher), _path(approved, covered, base)) if part)
    return build_environment(base=base, server=approved.env, covered=covered, step=step, own=own)


def path_segment(name: str) -> str:
    """`name` as one part of a path; never `..`, never empty."""
    return re.sub(r"[^A-Za-z0-9_-]", "-", name)[:100] or "none"


def _step_checkout(checkout: Checkout) -> dict[str, str]:
    """A step's `checkout` settings as the variables that hooks know; its depth is not among them."""
    values: dict[str, str] = {}
    if checkout.skip is not None:
        values["BUILDKITE_SKIP_CHECKOUT"] = _boolean(checkout.skip)
    if checkout.submodules is not None:
        values["BUILDKITE_GIT_SUBMODULES"] = _boolean(checkout.submodules)
    rest = checkout.rest
    if isinstance(lfs := rest.get("lfs"), bool):
        values["BUILDKITE_GIT_LFS_ENABLED"] = _boolean(lfs)
    if isinstance(flags := rest.get("flags"), dict):
        for name in ("clone", "fetch", "checkout", "clean"):
            if isinstance(text := flags.get(name), str):
                values[f"BUILDKITE_GIT_{name.upper()}_FLAGS"] = text
    if isinstance(sparse := rest.get("sparse"), dict):
        if isinstance(paths := sparse.get("paths"), list):
            values["BUILDKITE_GIT_SPARSE_CHECKOUT_PATHS"] = ",".join(str(path) for path in paths)
        if isinstance(mode := sparse.get("mode"), str):
            values["BUILDKITE_GIT_SPARSE_CHECKOUT_MODE"] = mode
    if isinstance(verification := rest.get("commit_verification"), str):
        values["BUILDKITE_GIT_COMMIT_VERIFICATION"] = verification
    return values


def _own_variables(settings: AgentSettings, agent: AgentFacts) -> dict[str, str]:
    own = {
        "BUILDKITE": "true",
        "CI": "true",
        "BUILDKITE_JOB_ID": agent.job_id,
        "BUILDKITE_AGENT_ID": agent.id,
        "BUILDKITE_AGENT_NAME": agent.name,
        "BUILDKITE_AGENT_PID": str(os.getpid()),
        "BUILDKITE_AGENT_ENDPOINT": agent.endpoint,
        "BUILDKITE_AGENT_ACCESS_TOKEN": agent.token,
        "BUILDKITE_BIN_PATH": str(agent.launcher),
        "BUILDKITE_BUILD_PATH": str(settings.build_path),
        "BUILDKITE_HOOKS_PATH": str(settings.hooks_path or ""),
        "BUILDKITE_ADDITIONAL_HOOKS_PATHS": ",".join(map(str, settings.additional_hooks_paths)),
        "BUILDKITE_PLUGINS_PATH": str(settings.plugins_path),
        "BUILDKITE_SOCKETS_PATH": str(settings.sockets_path),
        "BUILDKITE_COMMAND_EVAL": _boolean(not settings.no_command_eval),
        "BUILDKITE_PLUGINS_ENABLED": _boolean(not settings.no_plugins),
        "BUILDKITE_LOCAL_HOOKS_ENABLED": _boolean(not settings.no_local_hooks),
        "BUILDKITE_STRICT_SINGLE_HOOKS": _boolean(settings.strict_single_hooks),
        "BUILDKITE_SHELL": settings.shell,
        "BUILDKITE_REDACTED_VARS": ",".join(settings.redacted_vars),
        "BUILDKITE_CANCEL_GRACE_PERIOD": f"{settings.cancel_grace_period:g}",
        "BUILDKITE_CANCEL_SIGNAL": settings.cancel_signal,
    }
    if settings.hooks_shell:
        own["BUILDKITE_HOOKS_SHELL"] = settings.hooks_shell
    if settings.git_mirrors_path is not None:
        own["BUILDKITE_GIT_MIRRORS_PATH"] = str(settings.git_mirrors_path)
    if settings.no_multipart_artifact_upload:
        own["BUILDKITE_NO_MULTIPART_ARTIFACT_UPLOAD"] = "true"
    if settings.artifact_upload_concurrency is not None:
        own["BUILDKITE_ARTIFACT_UPLOAD_CONCURRENCY"] = str(settings.artifact_upload_concurrency)
    if settings.artifact_stores:
        own["PIPESEAL_ARTIFACT_STORES"] = ",".join(settings.artifact_stores)
    # A path, not the key: whoever runs on an agent that uploads may sign, which is what such an agent is for.
    if settings.signing_jwks_file is not None:
        own["BUILDKITE_AGENT_JWKS_FILE"] = str(settings.signing_jwks_file)
        if settings.signing_jwks_key_id:
            own["BUILDKITE_AGENT_JWKS_KEY_ID"] = settings.signing_jwks_key_id
    return own


def _checkout_variables(settings: AgentSettings, agent: AgentFacts, server: Mapping[str, str]) -> dict[str, str]:
    """The operator's checkout settings; they hold where the step has not decided."""
    values = {
        "BUILDKITE_GIT_CLONE_FLAGS": settings.git_clone_flags,
        "BUILDKITE_GIT_FETCH_FLAGS": settings.git_fetch_flags,
        "BUILDKITE_GIT_CHECKOUT_FLAGS": settings.git_checkout_flags,
        "BUILDKITE_GIT_CLEAN_FLAGS": settings.git_clean_flags,
    }
    if settings.skip_checkout:
        values["BUILDKITE_SKIP_CHECKOUT"] = "true"
    if settings.no_git_submodules:
        values["BUILDKITE_GIT_SUBMODULES"] = "false"
    if settings.git_commit_verification:
        values["BUILDKITE_GIT_COMMIT_VERIFICATION"] = settings.git_commit_verification
    if settings.git_sparse_checkout_paths:
        values["BUILDKITE_GIT_SPARSE_CHECKOUT_PATHS"] = ",".join(settings.git_sparse_checkout_paths)
        values["BUILDKITE_GIT_SPARSE_CHECKOUT_MODE"] = settings.git_sparse_checkout_mode
    if settings.git_checkout_timeout:
        values["BUILDKITE_GIT_CHECKOUT_TIMEOUT"] = f"{settings.git_checkout_timeout:g}"
    if settings.git_skip_fetch_existing_commits:
        values["BUILDKITE_GIT_SKIP_FETCH_EXISTING_COMMITS"] = "true"
    folder = settings.build_path / path_segment(agent.name)
    for name in _SLUGS:
        folder /= path_segment(server.get(name, ""))
    values["BUILDKITE_BUILD_CHECKOUT_PATH"] = str(folder)
    return values


def _path(approved: ApprovedJob, covered: frozenset[str] | None, base: Mapping[str, str]) -> str:
    decided = covered is None or "PATH" in covered
    return (approved.env.get("PATH") if decided else None) or base.get("PATH", os.defpath)


def _boolean(value: bool) -> str:
    return "true" if value else "false"

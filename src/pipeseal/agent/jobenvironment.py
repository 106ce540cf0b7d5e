"""What the step and the agent put into one job's variables, and the folder it works in.

Pure functions of the approved job and of what is configured here: the server has no say but through the approval.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from hashlib import sha256
from pathlib import Path
from typing import NamedTuple

from pipeseal.agent.connection import CONTROL_PLANE_VARIABLE
from pipeseal.agent.environment import JobEnvironment, build_environment
from pipeseal.agent.settings import AgentSettings
from pipeseal.pipeline.render import plugins_value, render_json
from pipeseal.pipeline.steps import Checkout
from pipeseal.policy.decision import ApprovedJob
from pipeseal.policy.environment import tag_variables
from pipeseal.policy.rules import Limits

_SLUGS = ("BUILDKITE_ORGANIZATION_SLUG", "BUILDKITE_PIPELINE_SLUG")
# Beside the folders of organisations, whose names never begin with a line.
_CHECKOUT_PATH = "BUILDKITE_BUILD_CHECKOUT_PATH"
_UNNAMED = "_repositories"


class JobAccess(NamedTuple):
    """How a job's commands reach the Agent API: its URL, and the token to show there."""

    endpoint: str
    token: str


class AgentFacts(NamedTuple):
    """The agent, as its jobs see it.

    Parameters:
        id, name: its identity, as the server has it.
        folder: its own name, which folders are called by.
        job_id: the job it accepted.
        access: how the job's commands reach the Agent API.
        launcher: folder that comes first in PATH.
    """

    id: str
    name: str
    folder: str
    job_id: str
    access: JobAccess
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
    step = {
        **approved.step.env,
        "BUILDKITE_COMMAND": approved.command,
        "BUILDKITE_REPO": approved.repository_url,
    }
    if approved.plugins:
        step["BUILDKITE_PLUGINS"] = render_json(plugins_value(list(approved.plugins)))
    if approved.checkout is not None:
        step |= _step_checkout(approved.checkout)
    own = _own_variables(settings, agent, approved.limits)
    decided = set(step) | approved.proven_variables
    own |= {name: value for name, value in _checkout_variables(settings).items() if name not in decided}
    if not decided >= {_CHECKOUT_PATH}:
        own[_CHECKOUT_PATH] = str(checkout_folder(approved, settings, agent))
    own["PATH"] = os.pathsep.join(part for part in (str(agent.launcher), _path(approved, base)) if part)
    return build_environment(base=base, approved=approved.env, step=step, own=own)


def checkout_folder(approved: ApprovedJob, settings: AgentSettings, agent: AgentFacts) -> Path:
    """The folder a job is checked out in: below `build-path` and the agent's own name, by what is proven of the job.

    A job that proves its organisation and pipeline has a folder of that name. Another verified job has one named
    after its repository, which every proof covers. Where jobs are not verified, on purpose, they say it themselves.
    """
    folder = settings.build_path / path_segment(agent.folder)
    if approved.verified is None:
        for name in _SLUGS:
            folder /= path_segment(approved.env.get(name, ""))
        return folder
    if approved.place is not None:
        organization, pipeline = approved.place
        return folder / path_segment(organization) / path_segment(pipeline)
    url = approved.repository_url
    name = path_segment(re.split(r"[/:]", url.removesuffix(".git"))[-1])[:40]
    return folder / _UNNAMED / f"{name}-{sha256(url.encode('utf-8', 'surrogatepass')).hexdigest()[:12]}"


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


def _own_variables(settings: AgentSettings, agent: AgentFacts, limits: Limits) -> dict[str, str]:
    own = {
        **tag_variables(settings.own_tags),
        "BUILDKITE": "true",
        "CI": "true",
        "BUILDKITE_JOB_ID": agent.job_id,
        "BUILDKITE_AGENT_ID": agent.id,
        "BUILDKITE_AGENT_NAME": agent.name,
        "BUILDKITE_AGENT_PID": str(os.getpid()),
        "BUILDKITE_AGENT_ENDPOINT": agent.access.endpoint,
        "BUILDKITE_AGENT_ACCESS_TOKEN": agent.access.token,
        CONTROL_PLANE_VARIABLE: settings.endpoint,
        "BUILDKITE_BIN_PATH": str(agent.launcher),
        "BUILDKITE_BUILD_PATH": str(settings.build_path),
        "BUILDKITE_HOOKS_PATH": str(settings.hooks_path or ""),
        "BUILDKITE_ADDITIONAL_HOOKS_PATHS": ",".join(map(str, settings.additional_hooks_paths)),
        "BUILDKITE_PLUGINS_PATH": str(settings.plugins_path),
        "BUILDKITE_SOCKETS_PATH": str(settings.sockets_path),
        "BUILDKITE_COMMAND_EVAL": _boolean(not limits.scripts_only),
        "BUILDKITE_PLUGINS_ENABLED": _boolean(not settings.no_plugins),
        "BUILDKITE_LOCAL_HOOKS_ENABLED": _boolean(limits.repository_hooks),
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
    # Where it is, not the key: whoever runs on an agent that uploads may sign, which is what such an agent is for.
    if settings.signing_key:
        own["BUILDKITE_AGENT_JWKS_FILE"] = settings.signing_key
        if settings.signing_jwks_key_id:
            own["BUILDKITE_AGENT_JWKS_KEY_ID"] = settings.signing_jwks_key_id
    return own


def _checkout_variables(settings: AgentSettings) -> dict[str, str]:
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
    return values


def _path(approved: ApprovedJob, base: Mapping[str, str]) -> str:
    # In an approved job's variables only where it is proven, or where nothing is verified.
    return approved.env.get("PATH") or base.get("PATH", os.defpath)


def _boolean(value: bool) -> str:
    return "true" if value else "false"

"""What a malicious control plane may try with a job: each lie rewrites the job an agent has just accepted.

Lies are consistent: whatever the job says twice, they say twice, as somebody who owns the server would.
"""

from __future__ import annotations

import copy
import json
import uuid
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pipeseal.lab.lying_server import Job, Lie


def edit_command(command: str) -> Lie:
    """The command is another one, in the step and in the job's environment."""

    def lie(job: Job) -> Job:
        return {
            **job,
            "step": {**job["step"], "command": command},
            "env": {**job["env"], "BUILDKITE_COMMAND": command},
        }

    return lie


def add_plugin(source: str) -> Lie:
    """One more plugin, in the step and in the variable that names the plugins."""

    def lie(job: Job) -> Job:
        plugins = [*job["step"].get("plugins", []), {source: None}]
        return {
            **job,
            "step": {**job["step"], "plugins": plugins},
            "env": {**job["env"], "BUILDKITE_PLUGINS": json.dumps(plugins)},
        }

    return lie


def swap_repository(url: str) -> Lie:
    """The same step, to be run in a repository of the attacker's."""

    def lie(job: Job) -> Job:
        return {**job, "env": {**job["env"], "BUILDKITE_REPO": url}}

    return lie


def strip_signature(command: str) -> Lie:
    """The signature is gone and the command another: an unsigned job like any other."""
    edit = edit_command(command)

    def lie(job: Job) -> Job:
        edited = edit(job)
        return {**edited, "step": {name: value for name, value in edited["step"].items() if name != "signature"}}

    return lie


def another_try(**variables: str | None) -> Lie:
    """The same job once more, under an id of its own, as a retry has; with other variables."""

    def lie(job: Job) -> Job:
        job_id = str(uuid.uuid4())
        return {**set_env(BUILDKITE_JOB_ID=job_id, **variables)(job), "id": job_id}

    return lie


# --- parts of lies -------------------------------------------------------------------------------------------------


def set_env(**variables: str | None) -> Lie:
    """Other variables of the job; None takes one away."""
    return set_variables(variables)


def set_variables(variables: dict[str, str | None]) -> Lie:
    """As `set_env`, for names that are none in Python."""

    def lie(job: Job) -> Job:
        env = {name: value for name, value in {**job["env"], **variables}.items() if value is not None}
        return {**job, "env": env}

    return lie


def set_step(**members: Any) -> Lie:
    """Other members of the step; None takes one away."""

    def lie(job: Job) -> Job:
        step = {name: value for name, value in {**job["step"], **members}.items() if value is not None}
        return {**job, "step": step}

    return lie


def set_job(**members: Any) -> Lie:
    """Other members of the job itself."""
    return lambda job: {**job, **members}


def set_signature(**members: Any) -> Lie:
    """Other members of the signature; None takes one away."""

    def lie(job: Job) -> Job:
        signature = {**job["step"]["signature"], **members}
        kept = {name: value for name, value in signature.items() if value is not None}
        return {**job, "step": {**job["step"], "signature": kept}}

    return lie


def without_signed_field(*names: str) -> Lie:
    """Fewer fields that the signature says it covers."""

    def lie(job: Job) -> Job:
        fields = [name for name in job["step"]["signature"]["signed_fields"] if name not in names]
        return set_signature(signed_fields=fields)(job)

    return lie


def all_of(*lies: Lie) -> Lie:
    """Several lies about one job, one after the other; each gets a copy it may keep."""

    def lie(job: Job) -> Job:
        for each in lies:
            job = each(copy.deepcopy(job))
        return job

    return lie

"""What a malicious control plane may try with a job: each lie rewrites the job an agent has just accepted.

Lies are consistent: whatever the job says twice, they say twice, as somebody who owns the server would.
"""

from __future__ import annotations

import json

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

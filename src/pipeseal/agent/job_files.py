"""The small files of a job that its variables name, and the few variables with which a hook can ask about it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from pipeseal.agent.environment import render_environment_file
from pipeseal.agent.plan import JobPlan


def write_job_files(plan: JobPlan, folder: Path) -> dict[str, str]:
    """Write the files that a job's variables name: the variables as they were sent, and free text of the server.

    Parameters:
        plan: the job's.
        folder: the job's own, for small files.

    Returns:
        Variable to path.
    """
    server = plan.environment.server
    lines, members = folder / "environment", folder / "environment.json"
    lines.write_text(render_environment_file(server), encoding="utf-8", errors="surrogateescape")
    members.write_text(json.dumps(server), encoding="utf-8")
    files = {"BUILDKITE_ENV_FILE": str(lines), "BUILDKITE_ENV_JSON_FILE": str(members)}
    for name, text in plan.texts.items():
        path = folder / f"text-{name}"
        path.write_text(text, encoding="utf-8", errors="surrogateescape", newline="")
        files[name] = str(path)
    return files


def access_variables(values: Mapping[str, str]) -> dict[str, str]:
    """Who the job is, and how to ask the server about it.

    Parameters:
        values: the job's variables.
    """
    names = ("BUILDKITE_JOB_ID", "BUILDKITE_AGENT_ENDPOINT", "BUILDKITE_AGENT_ACCESS_TOKEN")
    return {name: values[name] for name in names}

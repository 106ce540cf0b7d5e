"""Hooks of the agent itself, outside of any job's phases: `agent-startup`, `agent-shutdown`, and `pre-bootstrap`.

They are the operator's own programs in `hooks-path`, run with the agent's small environment and not with a job's.
What they print goes to the agent's log. `pre-bootstrap` is asked about every approved job before its first phase, and
refuses the job by failing.
"""

from __future__ import annotations

import subprocess
from collections.abc import Mapping
from pathlib import Path

from pipeseal.agent.agentlog import AgentLog
from pipeseal.agent.hooks import find_hook, shell_of
from pipeseal.agent.settings import AgentSettings
from pipeseal.errors import ConfigurationError, VerificationError

TIMEOUT_SECONDS = 300.0
MAX_OUTPUT = 16_384


def run_agent_hook(
    name: str, settings: AgentSettings, environment: Mapping[str, str], log: AgentLog, *, job: str = ""
) -> str:
    """Run the agent's hook of that name, if there is one.

    Parameters:
        environment: all of its variables.
        job: id of the job it is about, for the log.

    Returns:
        What is wrong; empty when there is no such hook or it ended well.
    """
    folders = [settings.hooks_path, *settings.additional_hooks_paths]
    for folder in folders:
        hook = find_hook(folder, name, "agent") if folder is not None else None
        if hook is not None:
            problem = _run(hook.path, environment, log, job)
            if problem:
                return problem
    return ""


def start_hook(settings: AgentSettings, environment: Mapping[str, str], log: AgentLog) -> None:
    """Run `agent-startup`.

    Raises:
        ConfigurationError: it failed, so the agent does not start (code `hook.startup`).
    """
    problem = run_agent_hook("agent-startup", settings, environment, log)
    if problem:
        raise ConfigurationError("hook.startup", f"the agent does not start: {problem}")


def ask_pre_bootstrap(settings: AgentSettings, environment: Mapping[str, str], log: AgentLog, *, job: str) -> None:
    """Ask `pre-bootstrap` about a job.

    Raises:
        VerificationError: it says no (code `hook.refused`).
    """
    problem = run_agent_hook("pre-bootstrap", settings, environment, log, job=job)
    if problem:
        raise VerificationError("hook.refused", f"this agent's own hook does not want the job: {problem}")


def _run(path: Path, environment: Mapping[str, str], log: AgentLog, job: str) -> str:
    interpreter = shell_of(path)
    try:
        done = subprocess.run(
            [*(interpreter or ()), str(path)],
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=TIMEOUT_SECONDS,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return f"{path} could not be run: {error}"
    for line in done.stdout[:MAX_OUTPUT].decode("utf-8", "replace").splitlines():
        log.info(f"{path.name}: {line}", job=job)
    return f"{path} ended with status {done.returncode}" if done.returncode else ""

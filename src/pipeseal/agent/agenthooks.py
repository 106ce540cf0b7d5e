"""Hooks of the agent itself, outside of any job's phases: `agent-startup`, `agent-shutdown`, and `pre-bootstrap`.

They are the operator's own programs in `hooks-path`, run with the agent's small environment and not with a job's.
What they print goes to the agent's log. `pre-bootstrap` is asked about every approved job before its first phase, and
refuses the job by failing.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from pipeseal.agent.agentlog import AgentLog
from pipeseal.agent.hooks import find_hook, shell_of
from pipeseal.agent.processes import Cancellation, run_process
from pipeseal.agent.settings import AgentSettings
from pipeseal.errors import ConfigurationError, VerificationError

TIMEOUT_SECONDS = 300.0
MAX_OUTPUT = 16_384


def run_agent_hook(
    name: str,
    settings: AgentSettings,
    environment: Mapping[str, str],
    log: AgentLog,
    *,
    job: str = "",
    cancellation: Cancellation | None = None,
) -> str:
    """Run the agent's hook of that name, if there is one.

    Parameters:
        environment: all of its variables.
        job: id of the job it is about, for the log.
        cancellation: ends it before its time.

    Returns:
        What is wrong; empty when there is no such hook or it ended well.
    """
    folders = [settings.hooks_path, *settings.additional_hooks_paths]
    for folder in folders:
        hook = find_hook(folder, name, "agent") if folder is not None else None
        if hook is not None:
            problem = _run(hook.path, environment, log, job, cancellation or Cancellation(0))
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


def ask_pre_bootstrap(
    settings: AgentSettings,
    environment: Mapping[str, str],
    log: AgentLog,
    *,
    job: str,
    cancellation: Cancellation,
) -> None:
    """Ask `pre-bootstrap` about a job.

    Raises:
        VerificationError: it says no (code `hook.refused`).
    """
    problem = run_agent_hook("pre-bootstrap", settings, environment, log, job=job, cancellation=cancellation)
    if problem:
        raise VerificationError("hook.refused", f"this agent's own hook does not want the job: {problem}")


def _run(path: Path, environment: Mapping[str, str], log: AgentLog, job: str, cancellation: Cancellation) -> str:
    printed = bytearray()

    def keep(data: bytes) -> None:
        printed.extend(data[: MAX_OUTPUT - len(printed)])

    try:
        interpreter = shell_of(path)
        ended = run_process(
            [*(interpreter or ()), str(path)],
            environment=environment,
            directory=Path.cwd(),
            output=keep,
            cancellation=cancellation,
            terminal=False,
            timeout_seconds=TIMEOUT_SECONDS,
        )
    except OSError as error:
        return f"{path} could not be run: {error}"
    for line in printed.decode("utf-8", "replace").splitlines():
        log.info(f"{path.name}: {line}", job=job)
    if ended.is_overdue:
        return f"{path} took longer than {TIMEOUT_SECONDS:g} s"
    how = f"was killed by {ended.signal_name}" if ended.signal else f"ended with status {ended.status}"
    return f"{path} {how}" if ended.status else ""

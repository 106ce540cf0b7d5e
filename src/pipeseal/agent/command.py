"""How a step's command is run: as a script of the repository, or as text for the shell."""

from __future__ import annotations

import os
import shlex
import stat
from pathlib import Path

from pipeseal.agent.session import JobSession, PhaseFailed
from pipeseal.agent.settings import AgentSettings
from pipeseal.policy.proof import Execution


def prepare_command(
    session: JobSession,
    command: str,
    settings: AgentSettings,
    checkout_path: Path,
    *,
    execution: Execution = "either",
    scripts_only: bool = False,
) -> list[str]:
    """The command line that runs `command`; says in the log what it is.

    Parameters:
        command: the step's text.
        checkout_path: the folder that scripts must be in when commands are off.
        execution: `shell`: never as a script, also where a file has that name; `script`: as nothing else.
        scripts_only: commands are off.

    Raises:
        PhaseFailed: there is none, or this agent does not run such a one.
    """
    if not command.strip():
        raise PhaseFailed(
            "there is no command to run: give the step a command, or let a plugin, the repository or this agent "
            "have a command hook"
        )
    shell = shlex.split(settings.shell)
    if not shell:
        raise PhaseFailed("this agent's shell setting is empty")
    script = None if execution == "shell" else _script_of(command, session.directory)
    if script is None and execution == "script":
        raise PhaseFailed(
            f"the step was sealed to run a script of the repository, and there is none: {command.strip()}"
        )
    if scripts_only:
        if script is None:
            raise PhaseFailed(
                "this agent runs no commands, only scripts of the repository (no-command-eval, commands = scripts), "
                f"and there is no such file: {command.strip()}"
            )
        if not script.resolve().is_relative_to(checkout_path.resolve()):
            raise PhaseFailed("this agent runs only scripts inside the repository (no-command-eval)")
    if script is None:
        session.log.header("Running commands")
        for line in command.splitlines():
            session.log.prompt(line)
        return [*shell, command]
    if not scripts_only:
        mode = script.stat().st_mode
        script.chmod(mode | stat.S_IXUSR | stat.S_IXGRP | stat.S_IXOTH)
    session.log.header("Running script")
    relative = f".{os.sep}{os.path.relpath(script, session.directory)}"
    session.log.prompt(relative)
    return [*shell, relative]


def _script_of(command: str, directory: Path) -> Path | None:
    """The file that a command names, if it names one."""
    name = command.replace("\n", "")
    try:
        path = Path(os.path.normpath(directory / name.lstrip("/")))
        return path if path.is_file() else None
    except (OSError, ValueError):  # too long for a file name, or with a NUL byte: then it names no file
        return None

"""Hooks: finding them, running them, and taking over the variables and the folder that they changed.

A hook written for a shell is sourced by a wrapper that afterwards writes its environment to a file; what differs from
the environment it was started with is kept for the rest of the job. A hook that calls `exit` changes nothing. A hook
of another kind (a binary, or a script whose `#!` line is not a shell's) is run as it is.
"""

from __future__ import annotations

import os
import shlex
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from pipeseal.agent.environment import is_protected
from pipeseal.agent.session import JobSession, PhaseFailed
from pipeseal.agent.tracing import hook_facts, span_of, trace_variables

_SHELLS = {"sh", "bash", "dash", "ksh", "zsh", "ash"}
# Variables that a shell changes by itself: never a hook's doing.
_OWN_VARIABLES = {"_", "SHLVL", "PWD", "OLDPWD", "BUILDKITE_HOOK_EXIT_STATUS", "BUILDKITE_HOOK_WORKING_DIR"}
_WORKING_DIRECTORY = "BUILDKITE_HOOK_WORKING_DIR"
_ENV = next((path for path in ("/usr/bin/env", "/bin/env") if os.access(path, os.X_OK)), "env")

_WRAPPER = """\
. {hook}
export BUILDKITE_HOOK_EXIT_STATUS=$?
export BUILDKITE_HOOK_WORKING_DIR="$PWD"
{env} -0 > {after}
exit $BUILDKITE_HOOK_EXIT_STATUS
"""


class Hook(NamedTuple):
    """A hook that exists.

    Parameters:
        name: such as `pre-command`.
        scope: `agent`, `repository` or `plugin`.
        path: the file.
        plugin: the plugin's name, for plugin hooks.
    """

    name: str
    scope: str
    path: Path
    plugin: str = ""

    @property
    def title(self) -> str:
        """As the log calls it, such as `plugin docker pre-command`."""
        return " ".join(word for word in (self.scope, self.plugin, self.name) if word)


def find_hook(folder: Path, name: str, scope: str, *, inside: Path | None = None, plugin: str = "") -> Hook | None:
    """The hook `name` in a folder of hooks, or None.

    Parameters:
        inside: a folder that the hook's real file must be in: a repository or plugin cannot name a file elsewhere.

    Raises:
        PhaseFailed: there is one, and its real file is elsewhere.
    """
    path = folder / name
    try:
        mode = path.stat().st_mode
    except OSError:
        return None
    if not stat.S_ISREG(mode):
        return None
    if inside is not None and not path.resolve().is_relative_to(inside.resolve()):
        raise PhaseFailed(f"the {scope} hook {path} leads out of {inside}")
    return Hook(name, scope, path, plugin)


def run_hook(session: JobSession, hook: Hook, extra: Mapping[str, str] | None = None) -> None:
    """Run a hook and keep what it changed.

    Parameters:
        extra: variables for this hook alone (a plugin's configuration).

    Raises:
        PhaseFailed: it ended with another status than 0, which becomes the job's.
    """
    with span_of(session.trace, f"hook {hook.name}", hook_facts(hook.scope, hook.plugin)):
        _run(session, hook, extra or {})


def _run(session: JobSession, hook: Hook, extra: Mapping[str, str]) -> None:
    session.log.header(f"Running {hook.title} hook")
    shown = hook.path
    if shown.is_relative_to(session.directory):
        shown = shown.relative_to(session.directory)
    session.prompt([str(shown)])
    interpreter = shell_of(hook.path)
    if interpreter is not None and session.hooks_shell:
        interpreter = shlex.split(session.hooks_shell)
    before = {**session.environment, **extra, **trace_variables(session.trace)}
    if interpreter is None:
        facts = {
            "BUILDKITE_HOOK_PHASE": hook.name,
            "BUILDKITE_HOOK_PATH": str(hook.path),
            "BUILDKITE_HOOK_SCOPE": hook.scope,
        }
        ended = session.run([str(hook.path)], extra={**extra, **facts})
        after = None
    else:
        after = session.scratch / "hook-environment"
        after.unlink(missing_ok=True)
        script = _WRAPPER.format(hook=shlex.quote(str(hook.path)), env=_ENV, after=shlex.quote(str(after)))
        ended = session.run([*interpreter, "-c", script], extra=extra)
    session.change({"BUILDKITE_LAST_HOOK_EXIT_STATUS": str(ended.status)})
    if ended.status != 0:
        how = f"was killed by {ended.signal_name}" if ended.signal else f"exited with status {ended.status}"
        raise PhaseFailed(f"the {hook.title} hook {how}", status=ended.status, ended=ended)
    if after is not None and after.exists():
        _apply(session, before, after.read_bytes())


def shell_of(path: Path) -> list[str] | None:
    """The command line of the shell a hook is written for; None when it is written for something else."""
    with path.open("rb") as file:
        beginning = file.read(1024)
    if beginning.startswith(b"\x7fELF") or b"\0" in beginning.partition(b"\n")[0]:
        return None
    if not beginning.startswith(b"#!"):
        return ["/bin/bash"] if os.access("/bin/bash", os.X_OK) else ["bash"]
    words = beginning[2:].partition(b"\n")[0].decode("utf-8", "replace").split()
    if not words:
        return ["bash"]
    program = Path(words[0]).name
    if program == "env":
        rest = [word for word in words[1:] if word != "-S" and "=" not in word]
        program = Path(rest[0]).name if rest else ""
        words = [words[0], *(word for word in words[1:] if word != "-S")]
    return words if program in _SHELLS else None


def _apply(session: JobSession, before: Mapping[str, str], dumped: bytes) -> None:
    after: dict[str, str] = {}
    for entry in dumped.split(b"\0"):
        name, equals, value = entry.decode("utf-8", "surrogateescape").partition("=")
        if equals:
            after[name] = value
    folder = after.get(_WORKING_DIRECTORY, "")
    changed = {name: value for name, value in after.items() if before.get(name) != value}
    removed = {name for name in before if name not in after}
    blocked = sorted(name for name in {*changed, *removed} - _OWN_VARIABLES if is_protected(name))
    if blocked:
        session.log.comment(f"Changes to some env vars were blocked; the affected vars are: {', '.join(blocked)}")
    kept = {name: value for name, value in changed.items() if name not in _OWN_VARIABLES and name not in blocked}
    gone = {name for name in removed - _OWN_VARIABLES - set(blocked) if name in session.environment}
    for name in sorted(kept):
        session.log.comment(f"{name} {'changed' if name in before else 'added'}")
    for name in sorted(gone):
        session.log.comment(f"{name} removed")
    session.change(kept, gone)
    if folder and Path(folder) != session.directory and Path(folder).is_dir():
        session.directory = Path(folder)
    session.refresh_redaction()

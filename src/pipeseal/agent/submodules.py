"""Submodules: checked out with the repository, and only from where the policy says, or else the repository's host."""

from __future__ import annotations

import re
import time
from pathlib import Path

from pipeseal.agent.checkout_plan import CheckoutPlan
from pipeseal.agent.git import Git
from pipeseal.agent.session import JobSession, PhaseFailed
from pipeseal.errors import escape_control
from pipeseal.repository.names import repository_host

MAX_DEPTH = 10


class SubmoduleNotAllowed(PhaseFailed):
    """A submodule comes from where none may: no other attempt would find it elsewhere."""


def update_submodules(
    session: JobSession, git: Git, directory: Path, plan: CheckoutPlan, deadline: float | None
) -> None:
    """Check out the submodules of what is checked out, and theirs.

    Parameters:
        git: in `directory`.
        directory: the job's folder.
        deadline: when git has to be done, on the monotonic clock; None for no limit.

    Raises:
        SubmoduleNotAllowed: `submodule.not_allowed`, and `submodule.host` where the policy names none: one of them
            comes from elsewhere; nothing of it was fetched.
        PhaseFailed: they cannot be had.
    """
    config = [word for pair in plan.submodule_config for word in ("-c", pair)]
    if not plan.submodule_sources and not plan.own_host:
        git.must("submodule", "sync", "--recursive")
        git.must(*config, "submodule", "update", "--init", "--recursive", "--force")
    else:
        # Level by level: the addresses of a submodule's own are known only when it is there.
        _update_level(session, git, directory, plan, config, deadline, MAX_DEPTH)
    git.must("submodule", "foreach", "--quiet", "--recursive", "git reset --quiet --hard")


def _update_level(
    session: JobSession,
    git: Git,
    directory: Path,
    plan: CheckoutPlan,
    config: list[str],
    deadline: float | None,
    levels: int,
) -> None:
    if not (directory / ".gitmodules").exists():
        return
    if levels == 0:
        raise PhaseFailed(f"there are submodules in submodules more than {MAX_DEPTH} levels deep")
    if deadline is not None and time.monotonic() > deadline:
        raise PhaseFailed("no time is left for submodules")
    git.must("submodule", "sync", "--quiet")
    git.must("submodule", "init", "--quiet")
    for name in _names(git):
        url = git.ask("config", "--get", f"submodule.{name}.url")
        if url is not None:
            _check_place(name, url, plan)
    git.must(*config, "submodule", "update", "--force")
    listed = git.ask("ls-files", "--stage", "-z") or ""
    for entry in listed.split("\0"):
        about, _, path = entry.partition("\t")
        if about.startswith("160000 ") and (directory / path / ".git").exists():
            inner = directory / path
            _update_level(session, Git(session, inner, deadline=deadline), inner, plan, config, deadline, levels - 1)


def _check_place(name: str, url: str, plan: CheckoutPlan) -> None:
    what = f"the submodule {escape_control(name)} comes from {escape_control(url)}, which"
    if not all(allowed.match(url) for allowed in plan.submodule_sources):
        raise SubmoduleNotAllowed(
            f"{what} the policy's `submodules` do not allow",
            code="submodule.not_allowed",
        )
    if plan.own_host:
        own, host = repository_host(plan.repository), repository_host(url)
        if host is None or host != own:
            where = f"on {own}" if own else "where the repository itself is"
            raise SubmoduleNotAllowed(
                f"{what} is not {where}; other places have to be in the policy's `submodules`",
                code="submodule.host",
            )


def _names(git: Git) -> list[str]:
    listed = git.ask("config", "--file", ".gitmodules", "--no-includes", "--null", "--list") or ""
    keys = [entry.partition("\n")[0] for entry in listed.split("\0")]
    return [
        key[len("submodule.") : -len(".url")] for key in keys if re.fullmatch(r"submodule\..+\.url", key, re.DOTALL)
    ]

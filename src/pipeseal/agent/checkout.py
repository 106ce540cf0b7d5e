"""The default checkout: the job's commit in the job's folder, cloned once and fetched after that."""

from __future__ import annotations

import random
import shlex
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from pipeseal.agent.git import Git, check_refspec, check_revision, is_full_object_id
from pipeseal.agent.session import JobSession, PhaseFailed
from pipeseal.errors import PipesealError

COMMIT_META_DATA = "buildkite:git:commit"
_COMMIT_FORMAT = "--format=commit %H%nabbrev-commit %h%nAuthor: %an <%ae>%n%n%w(0,4,4)%B"


class CheckoutPlan(NamedTuple):
    """What to check out and how.

    Parameters:
        repository: URL or path of the remote.
        commit: object id, another name of a commit, or `HEAD` (of the branch).
        branch, tag, refspec: what to fetch, each may be empty.
        pull_request: number of a pull request; empty or `false` when there is none.
        provider: where the repository is hosted, such as `github`.
        merge_refspec: check out a pull request as merged.
        depth: history to fetch, None for all of it.
        submodules: check out submodules too.
        clone_flags, fetch_flags, checkout_flags, clean_flags: the operator's, split like a shell does.
        skip_fetch_existing: do not fetch a commit that is there already.
        attempts: how often to try.
    """

    repository: str
    commit: str = "HEAD"
    branch: str = ""
    tag: str = ""
    refspec: str = ""
    pull_request: str = ""
    provider: str = ""
    merge_refspec: bool = False
    depth: int | None = None
    submodules: bool = True
    clone_flags: str = "-v"
    fetch_flags: str = "-v --prune"
    checkout_flags: str = "-f"
    clean_flags: str = "-ffxdq"
    skip_fetch_existing: bool = False
    attempts: int = 6


def check_out(session: JobSession, plan: CheckoutPlan, directory: Path, *, wait: Callable[[float], bool]) -> str:
    """Make `directory` hold the commit of `plan`, trying again from nothing when that fails.

    Parameters:
        directory: the job's folder; exists.
        wait: sleeps between attempts; True means stop.

    Returns:
        The full object id that was checked out.

    Raises:
        PhaseFailed: the last attempt failed, or the plan names something git cannot be given.
    """
    if not plan.repository:
        raise PhaseFailed("the job names no repository to check out (BUILDKITE_REPO is empty)")
    if plan.commit != "HEAD":
        check_revision(plan.commit, "commit")
    for attempt in range(max(1, plan.attempts)):
        try:
            return _check_out_once(session, plan, directory)
        except PhaseFailed as error:
            last = attempt + 1 >= plan.attempts
            if last or session.cancellation.requested.is_set():
                raise
            delay = min(2.0**attempt, 16.0) + random.uniform(0, 1)  # noqa: S311  (spreads load, hides nothing)
            session.log.warning(f"Checkout failed ({error}), trying again in {delay:.0f} s from an empty folder")
            empty_directory(directory)
            if wait(delay):
                raise
    raise AssertionError("there is at least one attempt")


def empty_directory(directory: Path) -> None:
    """Remove everything in a folder, and keep the folder."""
    for entry in directory.iterdir():
        if entry.is_dir() and not entry.is_symlink():
            shutil.rmtree(entry)
        else:
            entry.unlink()


def _check_out_once(session: JobSession, plan: CheckoutPlan, directory: Path) -> str:
    git = Git(session, directory)
    if (directory / ".git").exists():
        if git.ask("config", "--get", "remote.origin.url") != plan.repository:
            git.must("remote", "set-url", "--", "origin", plan.repository)
    else:
        empty_directory(directory)
        depth = [f"--depth={plan.depth}"] if plan.depth else []
        git.must("clone", *shlex.split(plan.clone_flags), *depth, "--", plan.repository, ".")
    _clean(git, plan, directory)
    _fetch(git, plan)
    wanted = "FETCH_HEAD" if plan.commit == "HEAD" else plan.commit
    git.must("checkout", *shlex.split(plan.checkout_flags), wanted, "--")
    if plan.submodules and (directory / ".gitmodules").exists():
        git.must("submodule", "sync", "--recursive")
        git.must("submodule", "update", "--init", "--recursive", "--force")
        git.must("submodule", "foreach", "--quiet", "--recursive", "git reset --quiet --hard")
        _clean(git, plan, directory)
    head = git.ask("rev-parse", "HEAD")
    if head is None:
        raise PhaseFailed("git cannot say which commit is checked out")
    if is_full_object_id(plan.commit) and head != plan.commit.lower():
        raise PhaseFailed(f"checked out {head}, but the job is for {plan.commit}")
    return head


def _clean(git: Git, plan: CheckoutPlan, directory: Path) -> None:
    git.must("clean", *shlex.split(plan.clean_flags))
    if plan.submodules and (directory / ".gitmodules").exists():
        git.run("submodule", "foreach", "--quiet", "--recursive", f"git clean {plan.clean_flags}")


def _fetch(git: Git, plan: CheckoutPlan) -> None:
    if (
        plan.skip_fetch_existing
        and plan.commit != "HEAD"
        and git.ask("cat-file", "-e", f"{plan.commit}^{{commit}}") is not None
    ):
        return
    flags = shlex.split(plan.fetch_flags) + ([f"--depth={plan.depth}"] if plan.depth else [])
    pulled = "github" in plan.provider and plan.pull_request not in {"", "false"}
    if plan.refspec:
        wanted = [check_refspec(word) for word in shlex.split(plan.refspec)]
    elif pulled:
        kind = "merge" if plan.merge_refspec else "head"
        wanted = [check_refspec(f"refs/pull/{plan.pull_request}/{kind}")]
        wanted += [plan.commit] if plan.commit != "HEAD" else []
    elif plan.commit == "HEAD":
        wanted = [check_refspec(plan.branch or "HEAD")]
    else:
        wanted = [plan.commit]
    if git.run("fetch", *flags, "--", "origin", *wanted).status == 0:
        return
    if plan.commit == "HEAD":
        raise PhaseFailed(f"git fetch failed: the remote has no {wanted[0]}")
    # Not every server hands out single commits: fetch all branches and tags, and the commit with them.
    everything = git.ask("config", "--get", "remote.origin.fetch") or "+refs/heads/*:refs/remotes/origin/*"
    git.must("fetch", *flags, "--", "origin", everything, "+refs/tags/*:refs/tags/*")


class MetaData(NamedTuple):
    """The two calls that reporting a commit takes."""

    has: Callable[[str], bool]
    set: Callable[[str, str], None]


def report_commit(session: JobSession, directory: Path, commit: str, meta_data: MetaData) -> None:
    """Tell the server which commit this is, once in a build; failing to is a warning.

    Parameters:
        commit: full object id.
        meta_data: the calls.
    """
    try:
        if meta_data.has(COMMIT_META_DATA):
            return
        text = Git(session, directory).ask(
            "--no-pager", "log", "-1", commit, "-s", "--no-color", _COMMIT_FORMAT, "--end-of-options"
        )
        if text is not None:
            meta_data.set(COMMIT_META_DATA, text)
    except PipesealError as error:
        session.log.warning(f"The commit could not be reported: {error}")

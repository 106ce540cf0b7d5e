"""The default checkout: the job's commit in the job's folder, cloned once and fetched after that."""

from __future__ import annotations

import random
import shlex
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from pipeseal.agent.checkout_plan import CheckoutPlan
from pipeseal.agent.clone_state import tidy_clone
from pipeseal.agent.commit_check import CommitElsewhere, CommitNotSigned, check_commit, check_signers
from pipeseal.agent.git import Git, check_refspec, check_revision
from pipeseal.agent.host_keys import trust_on_first_sight
from pipeseal.agent.mirrors import MirrorBusy, check_objects, link_to_mirror, update_mirror
from pipeseal.agent.session import JobSession, PhaseFailed
from pipeseal.agent.submodules import SubmoduleNotAllowed, update_submodules
from pipeseal.errors import PipesealError
from pipeseal.repository.names import is_full_object_id

COMMIT_META_DATA = "buildkite:git:commit"
# Files of git LFS are fetched all at once after the checkout, not one by one during it.
_LFS_VARIABLES = {"GIT_LFS_SKIP_SMUDGE": "1"}
_COMMIT_FORMAT = "--format=commit %H%nabbrev-commit %h%nAuthor: %an <%ae>%n%n%w(0,4,4)%B"


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
    if plan.keyscan:
        trust_on_first_sight(session, plan.repository)
    if plan.lfs:
        session.change(_LFS_VARIABLES)
    for attempt in range(max(1, plan.attempts)):
        try:
            return _check_out_once(session, plan, directory)
        except PhaseFailed as error:
            final = attempt + 1 >= plan.attempts or isinstance(
                error, MirrorBusy | CommitElsewhere | CommitNotSigned | SubmoduleNotAllowed
            )
            if final or session.cancellation.requested.is_set():
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
    deadline = time.monotonic() + plan.timeout_seconds if plan.timeout_seconds else None
    mirror = None
    if plan.mirror is not None:
        mirror = update_mirror(session, plan, plan.mirror, deadline=deadline)
        session.change({"BUILDKITE_REPO_MIRROR": str(mirror)})
    git = Git(session, directory, deadline=deadline, variables=_LFS_VARIABLES if plan.lfs else None)
    used = tidy_clone(git, directory)
    if used is not None:
        if used.url != plan.repository:
            git.must("remote", "set-url", "--", "origin", plan.repository)
        if mirror is not None and plan.mirror is not None and not plan.mirror.dissociate:
            link_to_mirror(directory, mirror)
    else:
        empty_directory(directory)
        git.must("clone", *_clone_flags(plan, mirror), "--", plan.repository, ".")
    _clean(git, plan, directory)
    if plan.lfs:
        # Without a clone's hooks, which are off anyway.
        git.must("lfs", "install", "--local", "--skip-repo")
    _fetch(git, plan)
    check_commit(session, git, plan)
    # An operator's file may say something of it too; then git knows.
    is_sparse = used.is_sparse if used is not None and session.git.file is None else None
    _choose_paths(git, plan, is_sparse)
    wanted = "FETCH_HEAD" if plan.commit == "HEAD" else plan.commit
    if is_full_object_id(plan.commit):
        # git prefers a branch of that name to the commit; with this behind it, it is the commit.
        wanted = f"{plan.commit}^{{commit}}"
    git.must("checkout", *shlex.split(plan.checkout_flags), wanted, "--")
    head = _check_head(git, plan)
    if plan.check_objects and (used is not None or mirror is not None):
        check_objects(session, git, directory, head, mirror, is_sparse=bool(plan.sparse_paths))
    check_signers(session, directory, head, plan)
    has_submodules = plan.submodules and not plan.sparse_paths and (directory / ".gitmodules").exists()
    if has_submodules:
        update_submodules(session, git, directory, plan, deadline)
    if plan.lfs:
        git.must("lfs", "fetch", "origin", head)
        git.must("lfs", "checkout")
    if has_submodules or plan.lfs:
        _clean(git, plan, directory)
    return head


def _check_head(git: Git, plan: CheckoutPlan) -> str:
    """The commit that is checked out, compared with what the job is for."""
    # Two questions to one git; neither can be taken for an option.
    answer = git.ask("rev-parse", "HEAD^{commit}", "HEAD^{tree}")
    ids = (answer or "").split("\n")
    if len(ids) != 2 or not all(map(is_full_object_id, ids)):
        raise PhaseFailed("git cannot say which commit is checked out")
    head, tree = ids
    if is_full_object_id(plan.commit) and head != plan.commit.lower():
        raise PhaseFailed(f"checked out {head}, but the job is for {plan.commit}", code="checkout.differs")
    if plan.tree and tree != plan.tree:
        raise PhaseFailed(
            f"commit {head} has the tree {tree}, and the step was sealed for {plan.tree}", code="checkout.differs"
        )
    return head


def _clone_flags(plan: CheckoutPlan, mirror: Path | None) -> list[str]:
    flags = shlex.split(plan.clone_flags)
    if plan.depth:
        flags.append(f"--depth={plan.depth}")
    if mirror is not None and plan.mirror is not None:
        flags += ["--reference", str(mirror), *(["--dissociate"] if plan.mirror.dissociate else [])]
    if plan.sparse_paths:
        # Trees come at once, and files when they are checked out.
        flags += ["--sparse", "--filter=blob:none"]
    return flags


def _choose_paths(git: Git, plan: CheckoutPlan, is_sparse: bool | None) -> None:
    """Let the checkout hold the paths of the plan; `is_sparse`: whether it left some out before, None to ask."""
    if plan.sparse_paths:
        git.must("sparse-checkout", "set", f"--{plan.sparse_mode}", "--end-of-options", *plan.sparse_paths)
        return
    if is_sparse is None:
        is_sparse = git.ask("config", "--type=bool", "--get", "core.sparseCheckout") == "true"
    if is_sparse:
        git.must("sparse-checkout", "disable")


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
    if plan.refspec:
        wanted = [check_refspec(word) for word in shlex.split(plan.refspec)]
    elif plan.pull_refspec:
        wanted = [check_refspec(plan.pull_refspec)]
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
            "--no-pager", "log", "-1", "-s", "--no-color", _COMMIT_FORMAT, "--end-of-options", commit
        )
        if text is not None:
            meta_data.set(COMMIT_META_DATA, text)
    except PipesealError as error:
        session.log.warning(f"The commit could not be reported: {error}")

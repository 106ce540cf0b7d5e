"""Mirrors: one bare copy of each repository for all jobs of a machine, so that a checkout copies little or nothing.

A mirror's folder has the repository's address in its name, and a digest of it, so that two addresses never share one.
Whoever makes or updates a mirror holds a lock on a file beside it. Everything in a mirror can be changed by every job
of the same user, so nothing in it is believed: references are asked of the repository itself, and all objects of the
commit are hashed after the checkout. A mirror in which one is not what its id says is made again.
"""

from __future__ import annotations

import fcntl
import hashlib
import re
import shlex
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pipeseal.agent.checkout_plan import CheckoutPlan, MirrorPlan
from pipeseal.agent.clone_state import tidy_mirror
from pipeseal.agent.git import Git, check_refspec
from pipeseal.agent.session import JobSession, PhaseFailed
from pipeseal.errors import Unavailable, VerificationError
from pipeseal.repository.names import is_full_object_id
from pipeseal.repository.objects import verify_commit_objects

# What the stock agent ends with when it waited in vain.
LOCK_STATUS = 94
LOOK_SECONDS = 0.2


class MirrorBusy(PhaseFailed):
    """Another job works on the mirror for too long: trying again from an empty folder would change nothing."""


def mirror_folder(folder: Path, repository: str) -> Path:
    """Where the mirror of a repository is."""
    digest = hashlib.sha256(repository.encode("utf-8", "surrogateescape")).hexdigest()[:12]
    return folder / f"{re.sub(r'[^A-Za-z0-9]+', '-', repository).strip('-')[:80]}-{digest}"


def update_mirror(session: JobSession, plan: CheckoutPlan, mirror: MirrorPlan, *, deadline: float | None) -> Path:
    """Make the mirror be there, and hold what the job is about.

    Parameters:
        deadline: when git has to be done, on the monotonic clock; None for no limit.

    Returns:
        Its folder.

    Raises:
        MirrorBusy: another job works on it.
        PhaseFailed: it cannot be made.
    """
    target = mirror_folder(mirror.folder, plan.repository)
    mirror.folder.mkdir(parents=True, exist_ok=True)
    if not (target / "HEAD").exists():
        with _locked(session, target.with_name(f"{target.name}.clonelockf"), mirror.lock_seconds):
            if not (target / "HEAD").exists():
                _make(session, plan, mirror, target, deadline)
                return target
    git = Git(session, target, deadline=deadline)
    if not tidy_mirror(git, target, plan.repository):
        raise PhaseFailed(f"the mirror {target} is not a repository any more; remove it, and it is made again")
    if mirror.skip_update or _has_commit(git, plan):
        return target
    with _locked(session, target.with_name(f"{target.name}.updatelockf"), mirror.lock_seconds):
        if not _has_commit(git, plan):
            _update(git, plan)
    return target


def _make(session: JobSession, plan: CheckoutPlan, mirror: MirrorPlan, target: Path, deadline: float | None) -> None:
    # Beside its place and then moved: half a mirror never stands where a whole one should.
    part = Path(tempfile.mkdtemp(prefix=".new-", dir=mirror.folder))
    try:
        git = Git(session, part, deadline=deadline)
        git.must("clone", "--mirror", *shlex.split(mirror.clone_flags), "--", plan.repository, ".")
        part.rename(target)
    finally:
        shutil.rmtree(part, ignore_errors=True)


def _has_commit(git: Git, plan: CheckoutPlan) -> bool:
    return is_full_object_id(plan.commit) and git.ask("cat-file", "-e", f"{plan.commit}^{{commit}}") is not None


def _update(git: Git, plan: CheckoutPlan) -> None:
    wanted: list[str] = []
    if plan.refspec:
        wanted = [check_refspec(word) for word in shlex.split(plan.refspec)]
    elif plan.pull_refspec:
        wanted = [check_refspec(plan.pull_refspec)]
    elif plan.branch:
        wanted = [check_refspec(plan.branch)]
    done = git.run("fetch", "--", "origin", *wanted).status == 0 if wanted else False
    # A commit that is not on its branch any more, or no branch at all: everything there is.
    if not done or (plan.commit != "HEAD" and not _has_commit(git, plan)):
        git.must("fetch", "--prune", "--", "origin")


def check_objects(
    session: JobSession, git: Git, directory: Path, commit: str, mirror: Path | None, *, is_sparse: bool
) -> None:
    """Hash what was checked out from objects that other jobs could write to; a mirror that is wrong goes.

    Parameters:
        git: in `directory`.
        directory: the checkout.
        commit: full object id of what is checked out.
        mirror: the mirror that the checkout used; None when it used a clone of before alone.
        is_sparse: the checkout leaves files out, and they are not looked at.

    Raises:
        PhaseFailed: `checkout.damaged`: an object is not what its id says; the next attempt begins anew.
    """
    files = None
    if is_sparse:
        # git-ls-files(1): `S` before what a sparse checkout leaves out, and would fetch if it were looked at.
        listed = (git.ask("ls-files", "-t", "--stage", "-z") or "").split("\0")
        files = frozenset(words[2] for words in map(str.split, listed) if len(words) > 3 and words[0] != "S")
    try:
        verify_commit_objects(directory, commit, files=files, config=session.git)
    except VerificationError as error:
        if mirror is not None:
            session.log.warning(f"{error.message}: the mirror {mirror.name} is removed, and made again")
            _remove_mirror(mirror)
        raise PhaseFailed(error.message, code=error.code) from None
    except Unavailable as error:
        raise PhaseFailed(error.message) from None


def _remove_mirror(mirror: Path) -> None:
    # Away under another name first: who finds no mirror makes one, and nobody finds half of this.
    gone = Path(tempfile.mkdtemp(prefix=".bad-", dir=mirror.parent))
    try:
        mirror.rename(gone / "mirror")
    except OSError:
        pass  # somebody else was faster
    shutil.rmtree(gone, ignore_errors=True)


def link_to_mirror(directory: Path, mirror: Path) -> None:
    """Let an existing clone use a mirror's objects."""
    alternates = directory / ".git" / "objects" / "info" / "alternates"
    wanted = f"{mirror / 'objects'}\n"
    if not alternates.exists() or alternates.read_text("utf-8", "surrogateescape") != wanted:
        alternates.parent.mkdir(parents=True, exist_ok=True)
        alternates.write_text(wanted, "utf-8", "surrogateescape")


@contextmanager
def _locked(session: JobSession, path: Path, seconds: float) -> Iterator[None]:
    deadline = time.monotonic() + seconds
    with path.open("a") as file:
        told = False
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if not told:
                    session.log.comment(f"Waiting for another job that works on {path.stem}")
                    told = True
            if time.monotonic() >= deadline:
                raise MirrorBusy(
                    f"the mirror {path.stem} was not free within {seconds:g} s (git-mirrors-lock-timeout)",
                    status=LOCK_STATUS,
                )
            if session.cancellation.requested.wait(LOOK_SECONDS):
                raise PhaseFailed("the job was cancelled while it waited for a mirror")
        yield

"""Whether a job's commit is on the branch that it names (`git-commit-verification`, or a policy's `branches`), and
signed by whom a policy names (`commit-signers`, `commit-keyring`)."""

from __future__ import annotations

from pathlib import Path

from pipeseal.agent.checkout_plan import CheckoutPlan
from pipeseal.agent.git import Git, check_revision
from pipeseal.agent.session import JobSession, PhaseFailed
from pipeseal.errors import PipesealError, escape_control
from pipeseal.repository.commit_signature import verify_commit_signature


class CommitElsewhere(PhaseFailed):
    """The commit is not on the branch: no other attempt would find it there."""


class CommitNotSigned(PhaseFailed):
    """The commit is not signed by whom the policy names: no other attempt would find it signed."""


def check_signers(session: JobSession, directory: Path, commit: str, plan: CheckoutPlan) -> None:
    """Hold the commit that is checked out against those who may sign commits, before anything of it is used.

    Parameters:
        directory: the checkout.
        commit: full object id of what is checked out.

    Raises:
        CommitNotSigned: it is not signed as the policy wants it, or that cannot be told.
    """
    for signers in plan.signers:
        try:
            signed = verify_commit_signature(directory, commit, signers, config=session.git)
        except PipesealError as error:
            facts = "".join(f"\n  {name}: {value}" for name, value in error.evidence.items())
            session.log.comment(f"{error}{facts}")
            raise CommitNotSigned(error.message, code=error.code) from None
        session.log.comment(
            f"Commit {signed.commit} is signed by {escape_control(signed.signer)} ({signed.fingerprint})"
        )


def check_commit(session: JobSession, git: Git, plan: CheckoutPlan) -> None:
    """Hold the commit against its branch at the remote, before it is checked out.

    With `warn` whatever is wrong is told. With `strict` a commit that is not on the branch ends the job, and so
    does one that cannot be looked up: the names come from a server, and a branch that does not exist must not be a
    way out.

    Raises:
        CommitElsewhere: it is not on the branch.
        PhaseFailed: it cannot be told.
    """
    if not plan.verification or plan.commit == "HEAD":
        return
    strict = plan.verification in {"strict", "policy"}
    code = "commit.not_on_branch" if plan.verification == "policy" else ""
    try:
        problem = _look(git, plan)
    except PhaseFailed as error:
        if strict:
            error.code = code
            raise
        problem = str(error)
    if not problem:
        session.log.comment(f"Commit {plan.commit} is on branch {plan.branch}")
    elif strict:
        raise CommitElsewhere(problem, code=code)
    else:
        session.log.warning(problem)


def _look(git: Git, plan: CheckoutPlan) -> str:
    """What is wrong; empty when the commit is on the branch."""
    if not plan.branch:
        raise PhaseFailed("the job names no branch that its commit could be on")
    check_revision(plan.branch, "branch")
    there = f"refs/remotes/origin/{plan.branch}"
    refspec = f"+refs/heads/{plan.branch}:{there}"
    if git.run("fetch", "--", "origin", refspec).status != 0:
        raise PhaseFailed(f"branch {plan.branch} could not be fetched to look for commit {plan.commit} on it")
    status = git.run("merge-base", "--is-ancestor", plan.commit, there).status
    if status == 1 and git.ask("rev-parse", "--is-shallow-repository") == "true":
        git.must("fetch", "--unshallow", "--", "origin", refspec)
        status = git.run("merge-base", "--is-ancestor", plan.commit, there).status
    if status not in {0, 1}:
        raise PhaseFailed(f"git cannot say whether commit {plan.commit} is on branch {plan.branch}")
    return f"commit {plan.commit} is not on branch {plan.branch}" if status == 1 else ""

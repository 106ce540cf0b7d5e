"""A job whose start is written down: the one thing that the runner takes. Nothing runs that was not claimed."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from pipeseal.agent.ledger.ledger import Ledger, Start
from pipeseal.errors import PipesealError, VerificationError
from pipeseal.policy.decision import ApprovedJob
from pipeseal.policy.facts import Finding

if TYPE_CHECKING:
    from pipeseal.agent.plan import JobPlan

_MAKER: Final = object()


@dataclass(frozen=True, slots=True, kw_only=True)
class StartedJob:
    """An approved job with its plan, whose start the ledger holds. Only `claim_job` makes one.

    Parameters:
        plan: what it runs.
        start: the ledger's row; None when nothing of the job is proven (no keys, or an operator who only wants
            failures reported), or the finding was only to be reported.
        finding: why the ledger would have refused it, where a policy does not enforce.
    """

    maker: object = field(repr=False)
    plan: JobPlan
    start: Start | None
    finding: Finding | None = None

    def __post_init__(self) -> None:
        if self.maker is not _MAKER:
            raise TypeError("a StartedJob is made by claim_job, and by nothing else")


def claim_job(
    approved: ApprovedJob, plan: JobPlan, ledger: Ledger | None, *, job_id: str, agent: str, now: float
) -> StartedJob:
    """Write down that a job starts, before anything of it does.

    Parameters:
        approved: the job.
        plan: what it will run.
        ledger: where; None for an agent that verifies nothing.
        job_id: the job that the agent accepted.
        agent: its name.
        now: seconds since 1970.

    Raises:
        VerificationError: as `Ledger.claim`, `ledger.unavailable` included: what cannot be written down is refused.
    """
    request = approved.start
    if request is None:
        if approved.verified is not None:
            raise VerificationError("ledger.unavailable", "the job is proven, and nobody said what to count of it")
        return StartedJob(maker=_MAKER, plan=plan, start=None)
    try:
        if ledger is None:
            raise VerificationError(
                "ledger.unavailable", "this agent verifies jobs, and has nothing to count them in"
            )
        start = ledger.claim(request, job_id=job_id, agent=agent, now=now)
    except PipesealError as error:
        if request.observed:
            finding = Finding(code=error.code, message=error.message, evidence=error.evidence)
            return StartedJob(maker=_MAKER, plan=plan, start=None, finding=finding)
        if isinstance(error, VerificationError):
            raise
        raise VerificationError(error.code, error.message, help=error.help, evidence=error.evidence) from None
    return StartedJob(maker=_MAKER, plan=plan, start=start)


def withdraw_job(started: StartedJob | None, ledger: Ledger | None) -> None:
    """Take the claim back of a job of which nothing started, since the operator's own hook refused it.

    Parameters:
        started: the job; None when nothing was claimed.
        ledger: where it was claimed.
    """
    if started is None or started.start is None or ledger is None:
        return
    try:
        ledger.withdraw(started.start)
    except PipesealError:
        pass  # then it counts as a start, which errs on the safe side

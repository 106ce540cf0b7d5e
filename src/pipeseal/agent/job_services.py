"""What a job is given beside its process: its socket, a copy of its log, the signer's grant; and what it is told."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from pipeseal.agent.environment import JobEnvironment
from pipeseal.agent.job_api.server import TOKEN_VARIABLE, JobApi
from pipeseal.agent.job_client import JobClient
from pipeseal.agent.job_control import SessionControl
from pipeseal.agent.joblog import JobLog
from pipeseal.agent.processes import Why
from pipeseal.agent.scratch import LogCopy
from pipeseal.agent.session import JobSession
from pipeseal.agent.settings import AgentSettings
from pipeseal.agent.upload_grant import UploadGrant
from pipeseal.errors import PipesealError, VerificationError, escape_control
from pipeseal.pipeline.steps import Checkout
from pipeseal.policy.decision import ApprovedJob
from pipeseal.policy.environment import LeftOut

# Members of a step's `checkout` beyond those that have a type; see `jobenvironment`.
KNOWN_CHECKOUT = frozenset({"lfs", "flags", "sparse", "commit_verification"})


def open_job_api(session: JobSession, client: JobClient, job_id: str, settings: AgentSettings) -> JobApi | None:
    """The job's own socket, among its small files: nobody else can reach it, and it goes with them."""
    if settings.no_job_api:
        return None
    job_api = JobApi(SessionControl(session, client, job_id), session.scratch)
    try:
        job_api.start()
    except PipesealError as error:
        session.log.warning(f"The Job API cannot be used in this job: {error}")
        return None
    session.change(job_api.environment)
    session.log.redact([job_api.environment[TOKEN_VARIABLE]])
    return job_api


def open_log_copy(session: JobSession, settings: AgentSettings) -> LogCopy | None:
    """A file with the job's log for the job itself, when the operator wants that."""
    if not settings.enable_job_log_tmpfile:
        return None
    try:
        copy = LogCopy(settings.job_log_path or session.scratch)
    except OSError as error:
        session.log.warning(f"The job cannot be given a copy of its log: {error}")
        return None
    session.log.keep_copy(copy.file)
    session.change({"BUILDKITE_JOB_LOG_TMPFILE": str(copy.path)})
    return copy


def ask_signer(
    session: JobSession,
    command: str,
    data: bytes,
    *,
    job_id: str,
    settings: AgentSettings,
    agent_id: str,
    agent_name: str,
    tell: Callable[[str], None],
) -> UploadGrant | None:
    """Whether a job may have its pipeline signed: the signer decides, from the job as it was received.

    Parameters:
        session: of the job, which gets the variables.
        command: the job's.
        data: the server's answer to accept.
        job_id: the job that the agent accepted.
        settings: the operator's; without a signer there is nobody to ask.
        agent_id, agent_name: who runs it, as the server has it.
        tell: is told what goes wrong.
    """
    if settings.signer_socket is None:
        return None
    grant = UploadGrant(settings.signer_socket, job_id, tell)
    session.change(grant.ask(data, agent_id=agent_id, agent_name=agent_name, tags=settings.own_tags))
    session.log.redact([grant.capability] if grant.capability else [])
    if grant.reason and "pipeline upload" in command:
        session.log.comment(f"This job may upload no pipeline: {grant.reason}")
    return grant


def check_supported(approved: ApprovedJob) -> None:
    """Refuse what a step asks of its agent that this one does not do.

    Raises:
        VerificationError: `checkout.ssh_secret`.
    """
    if approved.checkout is not None and approved.checkout.ssh_secret:
        raise VerificationError(
            "checkout.ssh_secret",
            "the step's checkout wants an SSH key that the server keeps, and this agent uses only its own",
            evidence={"ssh_secret": approved.checkout.ssh_secret},
        )


def tell_cancelled(session: JobSession, why: Why) -> None:
    """Let the hooks of a job that is cancelled know it."""
    timed_out = {"BUILDKITE_JOB_TIMED_OUT": "true"} if why is Why.TIMED_OUT else {}
    session.change({"BUILDKITE_JOB_CANCELLED": "true", **timed_out})


def warn_of_unknown_checkout(checkout: Checkout | None, log: JobLog) -> None:
    """Say in the job's log which checkout settings of the step mean nothing here."""
    unknown = sorted(set(checkout.rest) - KNOWN_CHECKOUT) if checkout is not None else []
    if unknown:
        log.warning(f"Not supported by this agent, and ignored: checkout {', '.join(unknown)}")


def tell_environment(
    environment: JobEnvironment, left_out: Sequence[LeftOut], log: JobLog, warn: Callable[[str], None]
) -> None:
    """Say what of the server's variables a job does not get, and which have this agent's values.

    Parameters:
        environment: the job's; gets `BUILDKITE_IGNORED_ENV`.
        left_out: what it does not get.
        log: the job's.
        warn: says a line in the agent's own log.
    """
    if left_out:
        log.lines(
            "\n".join(
                [
                    f"~~~ ⚠️ Left out {len(left_out)} variables of the server",
                    *(f"{escape_control(row.name)}: {row.reason}" for row in left_out),
                    "^^^ +++",
                ]
            )
        )
        names = ", ".join(row.name for row in left_out)
        warn(f"Left out variables that the server sent: {names}")
    if environment.overwritten:
        names = ",".join(environment.overwritten)
        environment.values["BUILDKITE_IGNORED_ENV"] = names
        log.comment(f"Set by this agent, not as the job has it: {names}")

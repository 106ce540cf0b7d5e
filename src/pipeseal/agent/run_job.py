"""One job from accept to finish: start, log, verify, then refuse or run.

`policy.evaluate` decides before anything else of the job happens; what runs is built from the `ApprovedJob` it gives
and from the operator's settings. A job that is refused starts no process, makes no folder and touches no repository.
"""

from __future__ import annotations

import shlex
import signal
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from pipeseal.agent.agenthooks import ask_pre_bootstrap
from pipeseal.agent.agentlog import AgentLog
from pipeseal.agent.announcement import Announcement, NotStarted
from pipeseal.agent.client import AgentClient
from pipeseal.agent.decisions import DecisionLog
from pipeseal.agent.environment import JobEnvironment
from pipeseal.agent.guardian import Guardian
from pipeseal.agent.job_api.broker import Broker
from pipeseal.agent.job_api.server import TOKEN_VARIABLE, JobApi
from pipeseal.agent.job_client import JobClient
from pipeseal.agent.job_control import SessionControl
from pipeseal.agent.job_files import access_variables, write_job_files
from pipeseal.agent.jobenvironment import AgentFacts, JobAccess
from pipeseal.agent.joblog import JobLog
from pipeseal.agent.ledger.ledger import Ledger
from pipeseal.agent.ledger.started import StartedJob, claim_job, withdraw_job
from pipeseal.agent.lifecycle import Lifecycle
from pipeseal.agent.logstream import LogStream
from pipeseal.agent.plan import JobPlan, plan_job
from pipeseal.agent.processes import Cancellation, Ended, Why
from pipeseal.agent.scratch import LogCopy, Scratch
from pipeseal.agent.session import JobSession, PhaseFailed
from pipeseal.agent.settings import AgentSettings
from pipeseal.agent.trust import Trust, describe
from pipeseal.agent.upload_grant import UploadGrant
from pipeseal.agentapi.job import Job, parse_job
from pipeseal.agentapi.messages import FinishRequest, Refusal
from pipeseal.clock import Clock, render_timestamp
from pipeseal.errors import (
    ConfigurationError,
    MalformedInput,
    PipesealError,
    VerificationError,
    escape_control,
    render_error,
)
from pipeseal.pipeline.steps import Checkout
from pipeseal.policy.decision import ApprovedJob, Refused
from pipeseal.policy.environment import LeftOut
from pipeseal.policy.evaluate import evaluate
from pipeseal.policy.facts import Finding, LocalFacts
from pipeseal.repository.git_config import GitConfig

MIN_CHUNK_BYTES = 1024
# Members of a step's `checkout` beyond those that have a type; see `jobenvironment`.
KNOWN_CHECKOUT = frozenset({"lfs", "flags", "sparse", "commit_verification"})


@dataclass(frozen=True, slots=True)
class JobContext:
    """What all jobs of an agent share.

    Parameters:
        settings: the operator's.
        trust: whose signatures are believed, and the policy; read again when its files change.
        decisions: where each decision is noted; None for nowhere.
        base: variables of the agent that every job gets.
        launcher: folder that holds our `buildkite-agent`.
        clock: the time.
        ledger: where starts are written down; None for an agent that verifies nothing.
        guardian: cleans up when the agent dies without a word.
    """

    settings: AgentSettings
    trust: Trust
    base: Mapping[str, str]
    launcher: Path
    clock: Clock
    ledger: Ledger | None
    guardian: Guardian | None = None
    decisions: DecisionLog | None = None


class _Outcome(NamedTuple):
    """How a job ended."""

    ended: Ended
    signal_reason: str = ""
    refusal: Refusal | None = None


class JobRun:
    """One job.

    Parameters:
        data: the server's answer to accept.
        job_id: the id that was accepted.
        context: what all jobs share.
        client: the session's client; the job gets its own with the job's token.
        agent_id, agent_name: who runs it, as the server has it.
        folder: the agent's own name, which folders are called by.
        log: the agent's log.
        last_job: the agent disconnects after this job, and says so.
    """

    def __init__(
        self,
        data: bytes,
        job_id: str,
        *,
        context: JobContext,
        client: AgentClient,
        agent_id: str,
        agent_name: str,
        folder: str,
        log: AgentLog,
        last_job: bool,
    ) -> None:
        self._data = data
        self.job_id = job_id
        self._context = context
        self._session_client = client
        self._agent_id = agent_id
        self._agent_name = agent_name
        self._folder = folder
        self._log = log
        self._last_job = last_job
        settings = context.settings
        ask = getattr(signal, settings.cancel_signal)
        self._cancellation = Cancellation(settings.cancel_grace_period, ask, guardian=context.guardian)
        self._session: JobSession | None = None
        self.client: JobClient | None = None
        # How the job ended: its exit status, -1 when there is none, and one of `health.OUTCOMES`.
        self.exit_status = -1
        self.outcome = "failed"
        self._blind: Refusal | None = None

    def cancel(self, why: Why) -> None:
        """End the job before its time; may be called from any thread, and more than once."""
        if self._session is not None:
            self._tell_cancelled(self._session, why)
        if self._cancellation.request(why):
            self._log.info("Cancelling the job", job=self.job_id, reason=why.signal_reason)

    @staticmethod
    def _tell_cancelled(session: JobSession, why: Why) -> None:
        timed_out = {"BUILDKITE_JOB_TIMED_OUT": "true"} if why is Why.TIMED_OUT else {}
        session.change({"BUILDKITE_JOB_CANCELLED": "true", **timed_out})

    def run(self) -> None:
        """Run the job to its end; whatever happens is told to the server and the log, and never raised."""
        try:
            job = parse_job(self._data)
            if job.id not in ("", self.job_id):
                other = escape_control(job.id[:80])
                raise MalformedInput(
                    "job.other", f"asked for job {self.job_id}, and the server answered with job {other}"
                )
            session_client = self._session_client
            # Here, since a server can send a token that is none.
            self.client = JobClient(
                session_client.endpoint,
                job.token or session_client.token,
                transport=session_client.transport,
                stop=threading.Event(),
                on_failure=self._report_failure,
            )
        except PipesealError as error:
            self._refuse_unread(error)
            return
        client = self.client

        def announce() -> None:
            client.start_job(self.job_id, render_timestamp(self._context.clock.now()))
            self._log.info("Started job", job=self.job_id)

        try:
            outcome, failed_chunks = self._with_log(job, client, Announcement(announce))
        except NotStarted as error:
            self._log.error(f"Could not start the job: {error}", job=self.job_id, code=error.cause.code)
            return
        finally:
            self._cancellation.close()
        self._finish(client, outcome, failed_chunks)

    def _with_log(self, job: Job, client: JobClient, announcement: Announcement) -> tuple[_Outcome, int]:
        def append(sequence: int, offset: int, size: int, compressed: bytes) -> None:
            try:
                announcement.wait()
            except NotStarted:
                return  # nobody has a log for it
            client.append_log(self.job_id, sequence, offset, size, compressed)

        stream = LogStream(
            append,
            max_chunk_bytes=max(job.chunk_bytes, MIN_CHUNK_BYTES),
            interval_seconds=job.chunk_seconds,
            on_lost=lambda error: self._log.warn(
                f"Lost a part of the log: {error}", job=self.job_id, code=error.code
            ),
        )
        log = JobLog(stream, self._context.clock, timestamps=not self._context.settings.no_ansi_timestamps)
        try:
            outcome = self._judge_and_run(job, client, log, announcement)
            announcement.wait()
        except NotStarted:
            raise
        except Exception as error:
            # A fault of ours must end this job, visibly, and not this agent.
            self._log.error(f"The agent failed while running the job: {error!r}", job=self.job_id)
            log.error(f"The agent failed: {error.strerror if isinstance(error, OSError) else type(error).__name__}")
            outcome = _Outcome(Ended(-1), "process_run_error")
        finally:
            log.close()
        return outcome, log.failed_chunks

    def _judge_and_run(self, job: Job, client: JobClient, log: JobLog, announcement: Announcement) -> _Outcome:
        settings = self._context.settings
        decision = self._decide(job, log, announcement)
        if decision is None:
            return _Outcome(Ended(-1), "agent_refused", self._blind)
        if decision.log:
            log.lines("\n".join(decision.log))
        if isinstance(decision, Refused):
            refusal = Refusal(
                code=decision.code,
                message=decision.reason,
                fields=list(decision.fields),
                evidence=dict(decision.evidence),
            )
            return self._refused(job, refusal, decision.signal_reason)
        for warning in decision.warnings:
            self._log.warn(warning, job=self.job_id)
        if settings.expose_job_token:
            access = JobAccess(client.endpoint, client.token)
            return self._run_approved(job, decision, client, log, access, announcement)
        broker = Broker(self.job_id, client.token, transport=client.transport, tell=self._tell_of_call(log))
        try:
            broker.start()
        except ConfigurationError as error:
            log.error(f"The job cannot be given a way to its agent: {error}")
            return _Outcome(Ended(-1), "process_run_error")
        try:
            access = JobAccess(broker.endpoint, broker.token)
            return self._run_approved(job, decision, client, log, access, announcement)
        finally:
            broker.close()

    def _tell_of_call(self, log: JobLog) -> Callable[[str], None]:
        def tell(what: str) -> None:
            log.warning(what)
            self._log.warn(what, job=self.job_id)

        return tell

    def _run_approved(
        self,
        job: Job,
        decision: ApprovedJob,
        client: JobClient,
        log: JobLog,
        access: JobAccess,
        announcement: Announcement,
    ) -> _Outcome:
        settings = self._context.settings
        scratch = Scratch(self._context.guardian)
        ledger, started = self._context.ledger, None
        try:
            _check_supported(decision)
            plan = self._plan(decision, access)
            environment = plan.environment
            files = write_job_files(plan, scratch.folder)
            now = self._context.clock.now()
            started = claim_job(decision, plan, ledger, job_id=self.job_id, agent=self._agent_name, now=now)
            announcement.wait()
            asked = {**self._context.base, **files, **access_variables(environment.values)}
            ask_pre_bootstrap(settings, asked, self._log, job=self.job_id, cancellation=self._cancellation)
        except NotStarted:
            scratch.close()
            withdraw_job(started, ledger)
            raise
        except VerificationError as error:
            scratch.close()
            withdraw_job(started, ledger)
            announcement.wait()
            if self._cancellation.why is not None:
                return self._cancelled(log, Ended(-1))
            self._note(decision, job, _finding_of(error), refused=True)
            log.lines(
                f"+++ ⛔ Refused by agent {escape_control(self._agent_name)}\n{render_error(error)}\nNothing was run."
            )
            refusal = Refusal(code=error.code, message=error.message, evidence=error.evidence)
            return self._refused(job, refusal, "agent_refused")
        self._note(decision, job, started.finding)
        if started.finding is not None:
            log.warning(f"would be refused[{started.finding.code}]: {started.finding.message}")
            self._log.warn(f"would be refused: {started.finding.message}", job=self.job_id, code=started.finding.code)
        self._tell_environment(environment, (*decision.left_out, *environment.left_out), log)
        environment.values.update(files)
        values = environment.values
        session = JobSession(
            environment=values,
            scratch=scratch,
            directory=settings.build_path,
            log=log,
            cancellation=self._cancellation,
            terminal=not settings.no_pty,
            redacted_patterns=settings.redacted_vars,
            hooks_shell=settings.hooks_shell,
            git=GitConfig(settings.git_config_file, settings.git_protocols),
        )
        self._session = session
        self._warn_of_unknown_checkout(decision.checkout, session)
        if self._cancellation.why is not None:
            self._tell_cancelled(session, self._cancellation.why)
        job_api = log_copy = grant = None
        try:
            settings.build_path.mkdir(parents=True, exist_ok=True)
            job_api = self._open_job_api(session, client)
            grant = self._ask_signer(decision, session)
            log_copy = self._open_log_copy(session)
            outcome = self._run_phases(started, session, client)
        except PhaseFailed as error:
            log.error(str(error))
            outcome = _Outcome(Ended(-1), "process_run_error")
        finally:
            if grant is not None:
                grant.close()
            if job_api is not None:
                job_api.close()
            if log_copy is not None:
                log.keep_copy(None)
                log_copy.close()
            session.close()
        return outcome if self._cancellation.why is None else self._cancelled(log, outcome.ended)

    def _cancelled(self, log: JobLog, ended: Ended) -> _Outcome:
        why = self._cancellation.why
        assert why is not None
        name = {Why.AGENT_STOPS: "the agent was stopped", Why.TIMED_OUT: "it took too long"}.get(why, "as asked for")
        log.lines(f"^^^ +++\n\x1b[31m🚨 The job was cancelled: {name}\x1b[0m")
        return _Outcome(Ended(-1, ended.signal or signal.SIGTERM), why.signal_reason)

    def _ask_signer(self, approved: ApprovedJob, session: JobSession) -> UploadGrant | None:
        """Whether this job may have its pipeline signed: the signer decides, from the job as it was received."""
        settings = self._context.settings
        if settings.signer_socket is None:
            return None
        grant = UploadGrant(settings.signer_socket, self.job_id, self._tell_of_call(session.log))
        asked = grant.ask(self._data, agent_id=self._agent_id, agent_name=self._agent_name, tags=settings.own_tags)
        session.change(asked)
        session.log.redact([grant.capability] if grant.capability else [])
        if grant.reason and "pipeline upload" in approved.command:
            session.log.comment(f"This job may upload no pipeline: {grant.reason}")
        return grant

    def _open_log_copy(self, session: JobSession) -> LogCopy | None:
        """A file with the job's log for the job itself, when the operator wants that."""
        settings = self._context.settings
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

    def _open_job_api(self, session: JobSession, client: JobClient) -> JobApi | None:
        """The job's own socket, among its small files: nobody else can reach it, and it goes with them."""
        if self._context.settings.no_job_api:
            return None
        job_api = JobApi(SessionControl(session, client, self.job_id), session.scratch)
        try:
            job_api.start()
        except PipesealError as error:
            session.log.warning(f"The Job API cannot be used in this job: {error}")
            return None
        session.change(job_api.environment)
        session.log.redact([job_api.environment[TOKEN_VARIABLE]])
        return job_api

    def _run_phases(self, started: StartedJob, session: JobSession, client: JobClient) -> _Outcome:
        settings = self._context.settings
        if settings.bootstrap_script:
            arguments = shlex.split(settings.bootstrap_script)
            if not arguments:
                raise PhaseFailed("the bootstrap-script setting holds no program")
            return _Outcome(session.run(arguments))
        lifecycle = Lifecycle(
            session,
            settings,
            started,
            client=client,
            job_id=self.job_id,
        )
        ended, signal_reason = lifecycle.run()
        found = lifecycle.refusal
        if found is None:
            return _Outcome(ended, signal_reason)
        self._log.refused(f"Refused job {self.job_id}", [str(found), "its command was not run"], code=found.code)
        session.log.lines(
            f"+++ ⛔ refused[{found.code}]: {escape_control(str(found))}\nmore: pipeseal explain {found.code}"
        )
        return _Outcome(Ended(-1), "agent_refused", Refusal(code=found.code, message=str(found)))

    @staticmethod
    def _warn_of_unknown_checkout(checkout: Checkout | None, session: JobSession) -> None:
        unknown = sorted(set(checkout.rest) - KNOWN_CHECKOUT) if checkout is not None else []
        if unknown:
            session.log.warning(f"Not supported by this agent, and ignored: checkout {', '.join(unknown)}")

    # --- the decision -----------------------------------------------------------------------------------------------

    def _decide(self, job: Job, log: JobLog, announcement: Announcement) -> ApprovedJob | Refused | None:
        """The decision; None when the agent does not know what to believe any more, which refuses the job.

        Raises:
            NotStarted: the job is refused, and was not this agent's to refuse.
        """
        context = self._context
        now = context.clock.now()
        try:
            verification = context.trust.current()
        except PipesealError as error:
            announcement.wait()
            refusal = Refusal(code=error.code, message=describe(error))
            log.lines(f"+++ ⛔ Refused by this agent\n{render_error(error)}\nNothing was run.")
            self._blind = self._refused(job, refusal, "agent_refused").refusal
            return None
        local = LocalFacts(
            job_id=self.job_id,
            agent_id=self._agent_id,
            agent_name=self._agent_name,
            now=now,
            tags=context.settings.own_tags,
        )
        decision = evaluate(job, verification, local)
        if isinstance(decision, Refused):
            announcement.wait()
            self._note(decision, job)
        return decision

    def _note(
        self, decision: ApprovedJob | Refused, job: Job, unstarted: Finding | None = None, *, refused: bool = False
    ) -> None:
        """One line in the decision log, once it is known whether an approved job may start."""
        context = self._context
        if context.decisions is None:
            return
        now = context.clock.now()
        who = {"agent": self._agent_name, "job_id": self.job_id}
        try:
            context.decisions.write(decision, job, **who, now=now, unstarted=unstarted, refused=refused)
        except OSError as error:
            self._log.error(f"The decision log cannot be written: {error.strerror}", job=self.job_id)

    def _plan(self, approved: ApprovedJob, access: JobAccess) -> JobPlan:
        agent = AgentFacts(
            id=self._agent_id,
            name=self._agent_name,
            folder=self._folder,
            job_id=self.job_id,
            access=access,
            launcher=self._context.launcher,
        )
        return plan_job(approved, self._context.settings, agent, self._context.base)

    def _tell_environment(self, environment: JobEnvironment, left_out: Sequence[LeftOut], log: JobLog) -> None:
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
            self._log.warn(f"Left out variables that the server sent: {names}", job=self.job_id)
        if environment.overwritten:
            names = ",".join(environment.overwritten)
            environment.values["BUILDKITE_IGNORED_ENV"] = names
            log.comment(f"Set by this agent, not as the job has it: {names}")

    # --- the end ----------------------------------------------------------------------------------------------------

    def _refused(self, job: Job, refusal: Refusal, signal_reason: str) -> _Outcome:
        place = "/".join(
            job.env.get(name, "") for name in ("BUILDKITE_ORGANIZATION_SLUG", "BUILDKITE_PIPELINE_SLUG")
        ).strip("/")
        what = " ".join(word for word in (place, job.env.get("BUILDKITE_LABEL", "")) if word)
        lines = [refusal.message, *(f"{name}: {value}" for name, value in refusal.evidence.items())]
        lines += ["nothing was run; checkout and hooks did not start", f"pipeseal explain {refusal.code}"]
        self._log.refused(f"Refused job {self.job_id} {what}".strip(), lines, code=refusal.code)
        return _Outcome(Ended(-1), signal_reason, refusal)

    def _refuse_unread(self, error: PipesealError) -> None:
        """A job that cannot be read has no token and no log: say so with the session's."""
        self._log.refused(f"Refused job {self.job_id}", [error.message, "nothing was run"], code=error.code)
        refusal = Refusal(code=error.code, message=error.message)
        client = self._session_client.with_token(self._session_client.token, stop=_already_stopped())
        self._finish(client, _Outcome(Ended(-1), "agent_refused", refusal), 0)

    def _report_failure(self, name: str, error: PipesealError, delay: float) -> None:
        self._log.warn(f"{name} failed, trying again in {delay:.0f} s: {error}", job=self.job_id, code=error.code)

    def _finish(self, client: AgentClient, outcome: _Outcome, failed_chunks: int) -> None:
        self.exit_status = outcome.ended.status
        self.outcome = _name_outcome(outcome)
        request = FinishRequest(
            exit_status=str(outcome.ended.status),
            finished_at=render_timestamp(self._context.clock.now()),
            chunks_failed_count=failed_chunks,
            signal=outcome.ended.signal_name,
            signal_reason=outcome.signal_reason,
            ignore_agent_in_dispatches=self._last_job,
            refusal=outcome.refusal,
        )
        try:
            client.finish_job(self.job_id, request)
        except PipesealError as error:
            self._log.warn(f"Could not report the end of the job: {error}", job=self.job_id, code=error.code)
        how = outcome.ended.signal_name or f"status {outcome.ended.status}"
        self._log.info("Finished job", job=self.job_id, exit=how)


def _name_outcome(outcome: _Outcome) -> str:
    if outcome.refusal is not None:
        return "refused"
    if outcome.signal_reason in {Why.CANCELLED.value, Why.AGENT_STOPS.value}:
        return "cancelled"
    return "passed" if outcome.ended.status == 0 else "failed"


def _finding_of(error: VerificationError) -> Finding:
    return Finding(code=error.code, message=error.message, evidence=error.evidence, fields=error.fields)


def _check_supported(approved: ApprovedJob) -> None:
    if approved.checkout is not None and approved.checkout.ssh_secret:
        raise VerificationError(
            "checkout.ssh_secret",
            "the step's checkout wants an SSH key that the server keeps, and this agent uses only its own",
            evidence={"ssh_secret": approved.checkout.ssh_secret},
        )


def _already_stopped() -> threading.Event:
    event = threading.Event()
    event.set()
    return event

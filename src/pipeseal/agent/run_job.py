"""One job from accept to finish: start, log, verify, then refuse or run.

`policy.evaluate` decides before anything else of the job happens; what runs is built from the `ApprovedJob` it gives
and from the operator's settings. A job that is refused starts no process, makes no folder and touches no repository.
"""

from __future__ import annotations

import shlex
import signal
import threading
from collections.abc import Callable

import msgspec

from pipeseal.agent.agenthooks import ask_pre_bootstrap
from pipeseal.agent.agentlog import AgentLog
from pipeseal.agent.announcement import Announcement, NotStarted
from pipeseal.agent.client import AgentClient
from pipeseal.agent.decisions import tell_decision
from pipeseal.agent.job_api.broker import Broker
from pipeseal.agent.job_client import JobClient
from pipeseal.agent.job_context import JobContext, JobOutcome
from pipeseal.agent.job_files import access_variables, write_job_files
from pipeseal.agent.job_services import (
    ask_signer,
    check_supported,
    open_job_api,
    open_log_copy,
    tell_cancelled,
    tell_environment,
    warn_of_unknown_checkout,
)
from pipeseal.agent.jobenvironment import AgentFacts, JobAccess
from pipeseal.agent.joblog import JobLog
from pipeseal.agent.ledger.started import StartedJob, claim_job, withdraw_job
from pipeseal.agent.lifecycle import Lifecycle
from pipeseal.agent.logstream import LogStream
from pipeseal.agent.plan import JobPlan, plan_job
from pipeseal.agent.processes import Cancellation, Ended, Why
from pipeseal.agent.scratch import Scratch
from pipeseal.agent.session import JobSession, PhaseFailed
from pipeseal.agent.tracing import JobTrace, span_of, traced
from pipeseal.agent.trust import describe
from pipeseal.agentapi.job import Job, parse_job
from pipeseal.agentapi.messages import Decision, FinishRequest, Refusal
from pipeseal.clock import render_timestamp
from pipeseal.errors import (
    ConfigurationError,
    MalformedInput,
    PipesealError,
    VerificationError,
    escape_control,
    render_error,
)
from pipeseal.policy.decision import ApprovedJob, Refused
from pipeseal.policy.evaluate import evaluate
from pipeseal.policy.facts import Finding, LocalFacts
from pipeseal.policy.policy import Mode
from pipeseal.repository.git_config import GitConfig

MIN_CHUNK_BYTES = 1024


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
        trace: of this job; None where nobody wants traces.
        tells: the server asked to be told what the policy makes of jobs.
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
        trace: JobTrace | None = None,
        tells: bool = False,
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
        self._trace = trace
        self._tells = tells
        self._told: Decision | msgspec.UnsetType = msgspec.UNSET
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
            tell_cancelled(self._session, why)
        if self._cancellation.request(why):
            self._log.info("Cancelling the job", job=self.job_id, reason=why.signal_reason)

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
            if self._trace is not None:
                self._trace.accept(job.traceparent)
            # Here, since a server can send a token that is none.
            self.client = JobClient(
                session_client.endpoint,
                job.token or session_client.token,
                transport=traced(session_client.transport, self._trace),
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
            if self._trace is not None:
                self._trace.finish(self.outcome, self.exit_status, error.cause.code)
            return
        finally:
            self._cancellation.close()
        self._finish(client, outcome, failed_chunks)

    def _with_log(self, job: Job, client: JobClient, announcement: Announcement) -> tuple[JobOutcome, int]:
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
            outcome = JobOutcome(Ended(-1), "process_run_error")
        finally:
            log.close()
        return outcome, log.failed_chunks

    def _judge_and_run(self, job: Job, client: JobClient, log: JobLog, announcement: Announcement) -> JobOutcome:
        settings = self._context.settings
        with span_of(self._trace, "decide"):
            decision = self._decide(job, log, announcement)
        if decision is None:
            return JobOutcome(Ended(-1), "agent_refused", self._blind)
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
            return JobOutcome(Ended(-1), "process_run_error")
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
    ) -> JobOutcome:
        settings = self._context.settings
        scratch = Scratch(self._context.guardian)
        ledger, started = self._context.ledger, None
        try:
            check_supported(decision)
            plan = self._plan(decision, access)
            environment = plan.environment
            files = write_job_files(plan, scratch.folder)
            now = self._context.clock.now()
            with span_of(self._trace, "claim"):
                started = claim_job(decision, plan, ledger, job_id=self.job_id, agent=self._agent_name, now=now)
            with span_of(self._trace, "announce"):
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
            found = Finding(code=error.code, message=error.message, evidence=error.evidence, fields=error.fields)
            self._note(decision, job, found, refused=True)
            log.lines(
                f"+++ ⛔ Refused by agent {escape_control(self._agent_name)}\n{render_error(error)}\nNothing was run."
            )
            refusal = Refusal(code=error.code, message=error.message, evidence=error.evidence)
            return self._refused(job, refusal, "agent_refused")
        self._note(decision, job, started.finding)
        if started.finding is not None:
            # What is only observed is told, and nobody's attention called to it.
            tell = log.comment if decision.mode is Mode.OBSERVE else log.warning
            tell(f"would be refused[{started.finding.code}]: {started.finding.message}")
            self._log.warn(f"would be refused: {started.finding.message}", job=self.job_id, code=started.finding.code)
        tell_environment(
            environment,
            (*decision.left_out, *environment.left_out),
            log,
            lambda line: self._log.warn(line, job=self.job_id),
        )
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
            trace=self._trace,
        )
        self._session = session
        warn_of_unknown_checkout(decision.checkout, log)
        if self._cancellation.why is not None:
            tell_cancelled(session, self._cancellation.why)
        job_api = log_copy = grant = None
        try:
            settings.build_path.mkdir(parents=True, exist_ok=True)
            job_api = open_job_api(session, client, self.job_id, settings)
            grant = ask_signer(
                session,
                decision.command,
                self._data,
                job_id=self.job_id,
                settings=settings,
                agent_id=self._agent_id,
                agent_name=self._agent_name,
                tell=self._tell_of_call(log),
            )
            log_copy = open_log_copy(session, settings)
            outcome = self._run_phases(started, session, client)
        except PhaseFailed as error:
            log.error(str(error))
            outcome = JobOutcome(Ended(-1), "process_run_error")
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

    def _cancelled(self, log: JobLog, ended: Ended) -> JobOutcome:
        why = self._cancellation.why
        assert why is not None
        name = {Why.AGENT_STOPS: "the agent was stopped", Why.TIMED_OUT: "it took too long"}.get(why, "as asked for")
        log.lines(f"^^^ +++\n\x1b[31m🚨 The job was cancelled: {name}\x1b[0m")
        return JobOutcome(Ended(-1, ended.signal or signal.SIGTERM), why.signal_reason)

    def _run_phases(self, started: StartedJob, session: JobSession, client: JobClient) -> JobOutcome:
        settings = self._context.settings
        if settings.bootstrap_script:
            arguments = shlex.split(settings.bootstrap_script)
            if not arguments:
                raise PhaseFailed("the bootstrap-script setting holds no program")
            return JobOutcome(session.run(arguments))
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
            return JobOutcome(ended, signal_reason)
        self._log.refused(f"Refused job {self.job_id}", [str(found), "its command was not run"], code=found.code)
        session.log.lines(
            f"+++ ⛔ refused[{found.code}]: {escape_control(str(found))}\nmore: pipeseal explain {found.code}"
        )
        return JobOutcome(Ended(-1), "agent_refused", Refusal(code=found.code, message=str(found)))

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
        if self._trace is not None:
            self._trace.tell_decision(decision)
        if isinstance(decision, Refused):
            announcement.wait()
            self._note(decision, job)
        return decision

    def _note(
        self, decision: ApprovedJob | Refused, job: Job, unstarted: Finding | None = None, *, refused: bool = False
    ) -> None:
        """One line in the decision log, once it is known whether an approved job may start."""
        context = self._context
        if self._tells:
            # It goes with the end of the job: a call of its own would be one more thing to wait for.
            self._told = tell_decision(decision, None if refused else unstarted)
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

    # --- the end ----------------------------------------------------------------------------------------------------

    def _refused(self, job: Job, refusal: Refusal, signal_reason: str) -> JobOutcome:
        place = "/".join(
            job.env.get(name, "") for name in ("BUILDKITE_ORGANIZATION_SLUG", "BUILDKITE_PIPELINE_SLUG")
        ).strip("/")
        what = " ".join(word for word in (place, job.env.get("BUILDKITE_LABEL", "")) if word)
        lines = [refusal.message, *(f"{name}: {value}" for name, value in refusal.evidence.items())]
        lines += ["nothing was run; checkout and hooks did not start", f"pipeseal explain {refusal.code}"]
        self._log.refused(f"Refused job {self.job_id} {what}".strip(), lines, code=refusal.code)
        return JobOutcome(Ended(-1), signal_reason, refusal)

    def _refuse_unread(self, error: PipesealError) -> None:
        """A job that cannot be read has no token and no log: say so with the session's."""
        self._log.refused(f"Refused job {self.job_id}", [error.message, "nothing was run"], code=error.code)
        refusal = Refusal(code=error.code, message=error.message)
        client = self._session_client.with_token(self._session_client.token, stop=_already_stopped())
        self._finish(client, JobOutcome(Ended(-1), "agent_refused", refusal), 0)

    def _report_failure(self, name: str, error: PipesealError, delay: float) -> None:
        self._log.warn(f"{name} failed, trying again in {delay:.0f} s: {error}", job=self.job_id, code=error.code)

    def _finish(self, client: AgentClient, outcome: JobOutcome, failed_chunks: int) -> None:
        self.exit_status = outcome.ended.status
        self.outcome = outcome.name
        request = FinishRequest(
            exit_status=str(outcome.ended.status),
            finished_at=render_timestamp(self._context.clock.now()),
            chunks_failed_count=failed_chunks,
            signal=outcome.ended.signal_name,
            signal_reason=outcome.signal_reason,
            ignore_agent_in_dispatches=self._last_job,
            refusal=outcome.refusal,
            decision=self._told,
        )
        try:
            client.finish_job(self.job_id, request)
        except PipesealError as error:
            self._log.warn(f"Could not report the end of the job: {error}", job=self.job_id, code=error.code)
        if self._trace is not None:
            self._trace.finish(self.outcome, self.exit_status, outcome.refusal.code if outcome.refusal else "")
        how = outcome.ended.signal_name or f"status {outcome.ended.status}"
        self._log.info("Finished job", job=self.job_id, exit=how)


def _already_stopped() -> threading.Event:
    event = threading.Event()
    event.set()
    return event

"""One worker of an agent: registers, asks for work, runs it, gives signs of life, says goodbye.

Calls to the server block, so they are made on threads; this file is the asyncio that ties them together. A ping that
the server holds until there is work is asked again at once; a server that answers at once is asked again after its
interval.
"""

from __future__ import annotations

import asyncio
import os
import random
import socket
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import Executor
from typing import Any, NamedTuple, TypeVar

from pipeseal import __version__
from pipeseal.agent.agentlog import AgentLog
from pipeseal.agent.client import AgentClient, check_identifier, user_agent
from pipeseal.agent.health import WorkerHealth
from pipeseal.agent.job_context import JobContext
from pipeseal.agent.orders import Orders
from pipeseal.agent.pool import open_pool
from pipeseal.agent.processes import Why
from pipeseal.agent.run_job import JobRun
from pipeseal.agent.settings import AgentSettings
from pipeseal.agent.tracing import JobTrace
from pipeseal.agentapi.messages import DECISIONS, PingResponse, RegisterRequest, RegisterResponse
from pipeseal.clock import Clock, render_timestamp
from pipeseal.errors import PipesealError, Unavailable
from pipeseal.policy.values import AGENT_NAME

Result = TypeVar("Result")

CANCELLING_STATES = {"canceling": Why.CANCELLED, "canceled": Why.CANCELLED}
TIMING_OUT_STATES = {"timing_out": Why.TIMED_OUT, "timed_out": Why.TIMED_OUT}
_STOP_STATES = CANCELLING_STATES | TIMING_OUT_STATES

# A ping that took longer than this was held by the server, which saves us the waiting.
HELD_SECONDS = 1.0
# To learn whether an agent that has run its last job was paused: long enough to answer, too short to hold.
LAST_PING_SECONDS = 1.0
FEATURES = ["acquire-job", "allowed-repositories", "allowed-plugins", "disconnect-after-job", "disconnect-after-idle"]

# Exit statuses of an agent that was started for one job, as the stock agent has them.
REJECTED, LOCKED = 27, 28


class Worker:
    """One worker.

    Parameters:
        settings: the operator's.
        context: what all jobs of this agent share.
        executor: threads for blocking calls.
        log: the agent's log.
        index: which worker this is, from 1.
        clock: the time.
        health: what this worker says of itself.
        on_idle: told when this worker becomes idle (True) or takes a job (False).
    """

    def __init__(
        self,
        settings: AgentSettings,
        context: JobContext,
        *,
        executor: Executor,
        log: AgentLog,
        index: int,
        clock: Clock,
        health: WorkerHealth,
        on_idle: Callable[[int, bool], None],
    ) -> None:
        self._settings = settings
        self._context = context
        self._executor = executor
        self._log = log
        self._orders = Orders(log)
        self._index = index
        self._clock = clock
        self._health = health
        self._told_endpoints: set[str] = set()
        self._on_idle = on_idle
        self._stop = asyncio.Event()
        self._halt = threading.Event()  # ends waiting inside calls that are made again and again
        self._ping_client: AgentClient | None = None
        self._running: JobRun | None = None

    # --- from outside -------------------------------------------------------------------------------------------

    def stop(self) -> None:
        """Take no more jobs; end when the one that runs is done."""
        self._stop.set()
        if self._running is None:
            self._halt.set()
        if self._ping_client is not None:
            self._ping_client.close()

    def stop_now(self) -> None:
        """End, and cancel the job that runs."""
        self.stop()
        if self._running is not None:
            self._running.cancel(Why.AGENT_STOPS)

    # --- life ---------------------------------------------------------------------------------------------------

    async def run(self) -> int:
        """Live until stopped; the exit status that an agent with this one worker has.

        Raises:
            PipesealError: the server does not want this agent.
        """
        endpoint = self._settings.endpoint
        client = AgentClient(
            endpoint,
            self._settings.token,
            transport=open_pool(endpoint, user_agent=user_agent()),
            stop=self._halt,
            on_failure=self._report_failure,
        )
        registration = await self._call(client.register, self._introduction())
        self._log = self._log.named(registration.name)
        self._orders = Orders(self._log)
        session = client.with_token(registration.access_token)
        self._ping_client = client.with_token(
            registration.access_token, transport=open_pool(endpoint, user_agent=user_agent())
        )
        await self._call(session.connect)
        self._health.name = registration.name
        self._note_endpoint(registration.endpoint)
        self._log.info("Connected", id=registration.id)
        beats = asyncio.create_task(self._heartbeats(session, registration.heartbeat_interval))
        try:
            if self._settings.acquire_job:
                return await self._run_acquired(session, self._ping_client, registration)
            await self._work(session, self._ping_client, registration)
            return 0
        finally:
            self._health.state = "ended"
            beats.cancel()
            self._halt.set()
            self._ping_client.close()
            await self._say_goodbye(session)
            client.close()

    @property
    def _name(self) -> str:
        """This worker's name as it is configured here; a server may call it otherwise."""
        return self._settings.name.replace("%hostname", socket.gethostname()).replace("%spawn", str(self._index))

    @property
    def _folder(self) -> str:
        """What this worker's folders are called by: no two workers of an agent share one."""
        shared = self._settings.spawn > 1 and "%spawn" not in self._settings.name
        return f"{self._name}-{self._index}" if shared else self._name

    def _name_for_jobs(self, registered: str) -> str:
        """The name a server gave this worker, if it is one; hooks and scripts get to see it."""
        return registered if AGENT_NAME.admits(registered) else self._name

    def _introduction(self) -> RegisterRequest:
        settings = self._settings
        host = socket.gethostname()
        return RegisterRequest(
            name=self._name,
            hostname=host,
            os=f"{os.uname().sysname} {os.uname().release}",
            arch=os.uname().machine,
            script_eval_enabled=not settings.no_command_eval,
            ignore_in_dispatches=bool(settings.acquire_job),
            priority=str(self._index) if settings.spawn_with_priority else settings.priority or None,
            version=__version__,
            build=f"pipeseal.{sys.version_info.major}.{sys.version_info.minor}",
            meta_data=list(settings.own_tags),
            pid=os.getpid(),
            features=FEATURES,
        )

    async def _say_goodbye(self, session: AgentClient) -> None:
        farewell = session.with_token(session.token, stop=threading.Event())
        try:
            await self._call(farewell.disconnect)
            self._log.info("Disconnected")
        except PipesealError as error:
            self._log.warn(f"Could not say goodbye: {error}")

    async def _work(self, session: AgentClient, pings: AgentClient, registration: RegisterResponse) -> None:
        interval = registration.ping_interval
        reachable = True
        self._become("idle")
        self._log.info("Waiting for jobs")
        while not self._stop.is_set():
            asked_at = time.monotonic()
            try:
                answer, job = await self._call(self._ask, session, pings, registration)
            except PipesealError as error:
                if self._stop.is_set():
                    return
                self._health.ping_errors += 1
                if isinstance(error, Unavailable) and error.status is not None and _is_final(error.status):
                    self._log.error(f"The server does not want to hear from this agent: {error}", code=error.code)
                    return
                if reachable:
                    self._log.warn(f"Ping failed, trying again every {interval} s: {error}", code=error.code)
                reachable = False
                await self._sleep(interval + _jitter(min(interval, 5)))
                continue
            if not reachable:
                self._log.info("The server answers again")
            reachable = True
            self._note_endpoint(answer.endpoint)
            if answer.action == "disconnect":
                self._log.info(
                    f"The server asks this agent to disconnect: {answer.message[:500] or 'no reason given'}"
                )
                return
            self._note_pause(answer)
            if job is not None:
                if await self._take(job, session, registration) and self._settings.disconnect_after_job:
                    self._log.info("One job is done, as asked")
                    await self._while_paused(pings, interval)
                    return
                continue
            await self._wait_for_next(asked_at, interval)

    def _become(self, state: str) -> None:
        """Idle or paused; an agent that is paused is not idle."""
        self._health.state = state
        self._on_idle(self._index, state == "idle")

    def _note_pause(self, answer: PingResponse) -> None:
        paused = answer.action == "pause"
        if paused and self._health.state != "paused":
            why = f": {answer.message[:500]}" if answer.message else ""
            self._orders.note("pause", f"The server pauses this agent{why}")
        elif not paused and self._health.state == "paused":
            self._orders.note("resume", "The server resumes this agent")
        self._become("paused" if paused else "idle")

    def _note_endpoint(self, endpoint: Any) -> None:
        """A server cannot move an agent; say once that it wanted to."""
        if (
            not isinstance(endpoint, str)
            or not endpoint
            or endpoint.rstrip("/") == self._settings.endpoint.rstrip("/")
        ):
            return
        shown = endpoint[:200]
        if shown not in self._told_endpoints and len(self._told_endpoints) < 10:
            self._told_endpoints.add(shown)
            self._log.warn(f"The server wants this agent to use {shown}; ignored, the endpoint setting decides")

    async def _while_paused(self, pings: AgentClient, interval: int) -> None:
        """After its last job, an agent stays for as long as somebody has paused it, to look at the machine."""
        while not self._stop.is_set():
            try:
                answer = await self._call(pings.ping, LAST_PING_SECONDS)
            except PipesealError:
                return  # held, so there is nothing to say; or there is nobody to say it
            if answer.action != "pause":
                return
            self._note_pause(answer)
            await self._sleep(interval + _jitter(interval))

    async def _wait_for_next(self, asked_at: float, interval: int) -> None:
        if time.monotonic() - asked_at < HELD_SECONDS:
            await self._sleep(max(0.0, asked_at + interval - time.monotonic()) + _jitter(interval))

    # --- a job --------------------------------------------------------------------------------------------------

    def _ask(
        self, session: AgentClient, pings: AgentClient, registration: RegisterResponse
    ) -> tuple[PingResponse, _Told | None]:
        """Ask what to do; a job is accepted at once, in the thread that heard of it.

        Parameters:
            session: accepts jobs.
            pings: asks.

        Raises:
            PipesealError: the question got no answer.
        """
        answer = pings.ping()
        if answer.job is None or answer.action in ("pause", "disconnect"):
            return answer, None
        trace = self._begin_trace(answer.job.id, registration)
        accepted: bytes | PipesealError
        try:
            accepted = session.accept_job(answer.job.id)
        except PipesealError as error:
            accepted = error
        return answer, _Told(answer.job.id, accepted, trace)

    async def _take(self, job: _Told, session: AgentClient, registration: RegisterResponse) -> bool:
        """Run an accepted job to its end; False if it could not be accepted."""
        if isinstance(job.accepted, PipesealError):
            self._log.warn(f"Could not accept job {job.id}: {job.accepted}", code=job.accepted.code)
            await self._sleep(_jitter(registration.ping_interval))
            return False
        await self._run(job.accepted, job.id, session, registration, job.trace)
        return True

    async def _run_acquired(self, session: AgentClient, pings: AgentClient, registration: RegisterResponse) -> int:
        """Run the one job that this agent was started for; the exit status."""
        job_id = self._settings.acquire_job
        trace = self._begin_trace(job_id, registration)
        try:
            check_identifier(job_id, "the job to acquire")
            self._log.info("Acquiring the job", job=job_id)
            data = await self._call(session.acquire_job, job_id)
        except PipesealError as error:
            status = error.status if isinstance(error, Unavailable) else None
            self._log.error(f"Could not acquire job {job_id}: {error}", code=error.code)
            return {422: REJECTED, 423: LOCKED}.get(status or 0, 1)
        run = await self._run(data, job_id, session, registration, trace)
        await self._while_paused(pings, registration.ping_interval)
        if not self._settings.reflect_exit_status:
            return 0
        return run.exit_status if 0 <= run.exit_status <= 255 else 1

    def _begin_trace(self, job_id: str, registration: RegisterResponse) -> JobTrace | None:
        """The trace of a job that this worker was told of; None where nobody wants traces."""
        if self._context.tracing is None:
            return None
        return JobTrace(
            self._context.tracing,
            job_id,
            agent_id=registration.id,
            agent_name=self._name_for_jobs(registration.name),
            joins=self._settings.tracing_propagate_traceparent,
        )

    async def _run(
        self,
        data: bytes,
        job_id: str,
        session: AgentClient,
        registration: RegisterResponse,
        trace: JobTrace | None,
    ) -> JobRun:
        """Run a job to its end."""
        run = JobRun(
            data,
            job_id,
            context=self._context,
            client=session,
            agent_id=registration.id,
            agent_name=self._name_for_jobs(registration.name),
            folder=self._folder,
            log=self._log,
            last_job=self._settings.disconnect_after_job,
            trace=trace,
            tells=DECISIONS in registration.pipeseal_extensions and not self._settings.no_decision_reporting,
        )
        self._become("busy")
        self._health.job = job_id
        self._running = run
        started = time.monotonic()
        watch = asyncio.create_task(self._watch(run, registration.job_status_interval))
        try:
            await self._call(run.run)
        finally:
            self._running = None
            watch.cancel()
            self._health.jobs[run.outcome] += 1
            self._health.job_seconds += time.monotonic() - started
            self._health.job = ""
            self._become("idle")
        return run

    async def _watch(self, run: JobRun, interval: int) -> None:
        """Look whether the server wants the job to end."""
        while True:
            await asyncio.sleep(interval + _jitter(interval))
            client = run.client
            if client is None:
                continue
            try:
                state = (await self._call(client.job_state, run.job_id)).state
            except Unavailable as error:
                if error.status == 401:
                    self._log.warn("The server does not know this job any more; cancelling it", job=run.job_id)
                    run.cancel(Why.CANCELLED)
                    return
                continue
            except PipesealError:
                continue
            if state in _STOP_STATES:
                self._orders.note("cancel")  # the job tells it
                run.cancel(_STOP_STATES[state])
                return

    # --- signs of life ------------------------------------------------------------------------------------------

    async def _heartbeats(self, session: AgentClient, interval: int) -> None:
        while True:
            await asyncio.sleep(interval)
            try:
                await self._call(session.heartbeat, render_timestamp(self._clock.now()))
                self._health.heartbeat_at, self._health.heartbeat_error = self._clock.now(), ""
            except PipesealError as error:
                self._health.heartbeat_error = str(error)
                if not isinstance(error, Unavailable) or error.status is None or not _is_final(error.status):
                    self._log.warn(f"No heartbeat could be given: {error}", code=error.code)
                    continue
                self._log.error(f"The server does not accept this agent's heartbeat: {error}", code=error.code)
                self.stop_now()
                return

    # --- means --------------------------------------------------------------------------------------------------

    async def _call(self, function: Callable[..., Result], *arguments: Any) -> Result:
        return await asyncio.get_running_loop().run_in_executor(self._executor, function, *arguments)

    async def _sleep(self, seconds: float) -> None:
        try:
            await asyncio.wait_for(self._stop.wait(), seconds)
        except TimeoutError:
            pass

    def _report_failure(self, name: str, error: PipesealError, delay: float) -> None:
        if name != "ping" and not self._halt.is_set():
            self._log.warn(f"{name} failed, trying again in {delay:.0f} s: {error}", code=error.code)


class _Told(NamedTuple):
    """A job that a ping told of.

    Parameters:
        id: as the ping has it.
        accepted: the server's answer when it was accepted, or why it could not be.
        trace: of the job, from then on.
    """

    id: str
    accepted: bytes | PipesealError
    trace: JobTrace | None


def _is_final(status: int) -> bool:
    return 400 <= status < 500 and status != 429


def _jitter(seconds: float) -> float:
    return random.uniform(0, seconds)  # noqa: S311  (spreads load, hides nothing)

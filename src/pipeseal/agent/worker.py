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
from typing import Any, TypeVar

from pipeseal import __version__
from pipeseal.agent.agentlog import AgentLog
from pipeseal.agent.client import AgentClient, user_agent
from pipeseal.agent.pool import open_pool
from pipeseal.agent.processes import Why
from pipeseal.agent.run_job import JobContext, JobRun
from pipeseal.agent.settings import AgentSettings
from pipeseal.agentapi.messages import PingResponse, RegisterRequest, RegisterResponse
from pipeseal.clock import Clock, render_timestamp
from pipeseal.errors import PipesealError, Unavailable

Result = TypeVar("Result")

CANCELLING_STATES = {"canceling": Why.CANCELLED, "canceled": Why.CANCELLED}
TIMING_OUT_STATES = {"timing_out": Why.TIMED_OUT, "timed_out": Why.TIMED_OUT}
_STOP_STATES = CANCELLING_STATES | TIMING_OUT_STATES

# A ping that took longer than this was held by the server, which saves us the waiting.
HELD_SECONDS = 1.0
FEATURES = ["allowed-repositories", "allowed-plugins", "disconnect-after-job", "disconnect-after-idle"]


class Worker:
    """One worker.

    Parameters:
        settings: the operator's.
        context: what all jobs of this agent share.
        executor: threads for blocking calls.
        log: the agent's log.
        index: which worker this is, from 1.
        clock: the time.
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
        on_idle: Callable[[int, bool], None],
    ) -> None:
        self._settings = settings
        self._context = context
        self._executor = executor
        self._log = log
        self._index = index
        self._clock = clock
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

    async def run(self) -> None:
        """Live until stopped.

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
        session = client.with_token(registration.access_token)
        self._ping_client = client.with_token(
            registration.access_token, transport=open_pool(endpoint, user_agent=user_agent())
        )
        await self._call(session.connect)
        self._log.info("Connected", id=registration.id)
        beats = asyncio.create_task(self._heartbeats(session, registration.heartbeat_interval))
        try:
            await self._work(session, self._ping_client, registration)
        finally:
            beats.cancel()
            self._halt.set()
            self._ping_client.close()
            await self._say_goodbye(session)
            client.close()

    def _introduction(self) -> RegisterRequest:
        settings = self._settings
        host = socket.gethostname()
        tags = list(settings.tags)
        if settings.queue:
            tags.append(f"queue={settings.queue}")
        name = settings.name.replace("%hostname", host).replace("%spawn", str(self._index))
        return RegisterRequest(
            name=name,
            hostname=host,
            os=f"{os.uname().sysname} {os.uname().release}",
            arch=os.uname().machine,
            script_eval_enabled=not settings.no_command_eval,
            priority=settings.priority or None,
            version=__version__,
            build=f"pipeseal.{sys.version_info.major}.{sys.version_info.minor}",
            meta_data=tags,
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
        self._on_idle(self._index, True)
        self._log.info("Waiting for jobs")
        while not self._stop.is_set():
            asked_at = time.monotonic()
            try:
                answer = await self._call(pings.ping)
            except PipesealError as error:
                if self._stop.is_set():
                    return
                if not isinstance(error, Unavailable) or (error.status is not None and _is_final(error.status)):
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
            if answer.action == "disconnect":
                self._log.info(
                    f"The server asks this agent to disconnect: {answer.message[:500] or 'no reason given'}"
                )
                return
            if answer.job is not None and answer.action != "pause":
                if await self._take(session, answer.job.id, registration) and self._settings.disconnect_after_job:
                    self._log.info("One job is done, as asked")
                    return
                continue
            await self._wait_for_next(answer, asked_at, interval)

    async def _wait_for_next(self, answer: PingResponse, asked_at: float, interval: int) -> None:
        if answer.action == "pause" and answer.message:
            self._log.info(f"The server pauses this agent: {answer.message[:500]}")
        if time.monotonic() - asked_at < HELD_SECONDS:
            await self._sleep(max(0.0, asked_at + interval - time.monotonic()) + _jitter(interval))

    # --- a job --------------------------------------------------------------------------------------------------

    async def _take(self, session: AgentClient, job_id: str, registration: RegisterResponse) -> bool:
        """Accept a job and run it to its end; False if it could not be accepted."""
        try:
            data = await self._call(session.accept_job, job_id)
        except PipesealError as error:
            self._log.warn(f"Could not accept job {job_id}: {error}", code=error.code)
            await self._sleep(_jitter(registration.ping_interval))
            return False
        self._on_idle(self._index, False)
        run = JobRun(
            data,
            job_id,
            context=self._context,
            client=session,
            agent_id=registration.id,
            agent_name=registration.name,
            log=self._log,
            last_job=self._settings.disconnect_after_job,
        )
        self._running = run
        watch = asyncio.create_task(self._watch(run, registration.job_status_interval))
        try:
            await self._call(run.run)
        finally:
            self._running = None
            watch.cancel()
            self._on_idle(self._index, True)
        return True

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
                run.cancel(_STOP_STATES[state])
                return

    # --- signs of life ------------------------------------------------------------------------------------------

    async def _heartbeats(self, session: AgentClient, interval: int) -> None:
        while True:
            await asyncio.sleep(interval)
            try:
                await self._call(session.heartbeat, render_timestamp(self._clock.now()))
            except PipesealError as error:
                if isinstance(error, Unavailable) and (error.status is None or not _is_final(error.status)):
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


def _is_final(status: int) -> bool:
    return 400 <= status < 500 and status != 429


def _jitter(seconds: float) -> float:
    return random.uniform(0, seconds)  # noqa: S311  (spreads load, hides nothing)

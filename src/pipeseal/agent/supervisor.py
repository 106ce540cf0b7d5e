"""The agent as a process: starts its workers, watches signals, and ends them gracefully, or not."""

from __future__ import annotations

import asyncio
import os
import signal
import threading
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor

from pipeseal.agent.agenthooks import run_agent_hook, start_hook
from pipeseal.agent.agentlog import AgentLog
from pipeseal.agent.decisions import DecisionLog
from pipeseal.agent.environment import base_environment
from pipeseal.agent.guardian import Guardian
from pipeseal.agent.health import HealthPages, HealthServer, WorkerHealth
from pipeseal.agent.job_api.locks import LockApi
from pipeseal.agent.job_context import JobContext
from pipeseal.agent.launcher import Launcher
from pipeseal.agent.ledger.ledger import Ledger
from pipeseal.agent.settings import AgentSettings
from pipeseal.agent.trust import Trust
from pipeseal.agent.worker import Worker
from pipeseal.clock import Clock, SystemClock
from pipeseal.errors import PipesealError
from pipeseal.tracing.spans import Tracing

# A worker's blocking calls at one time: ping, heartbeat, job state, the job itself, and one to spare.
THREADS_PER_WORKER = 5
# After an ungraceful stop a job has its grace period, and the server this long to hear of its end.
LAST_WORDS_SECONDS = 5.0


class Supervisor:
    """All workers of one agent.

    Parameters:
        settings: the operator's.
        trust: whose signatures are believed, and the policy.
        log: the agent's log.
        ledger: where starts of jobs are written down; None for an agent that verifies nothing. Closed at the end.
        environment: the process's environment.
        tracing: where spans of jobs go; None for nowhere.
    """

    def __init__(
        self,
        settings: AgentSettings,
        trust: Trust,
        log: AgentLog,
        ledger: Ledger | None,
        *,
        environment: Mapping[str, str],
        clock: Clock | None = None,
        tracing: Tracing | None = None,
    ) -> None:
        self._settings = settings
        self._trust = trust
        self._log = log
        self._ledger = ledger
        self._environment = environment
        self._clock = clock or SystemClock()
        self._tracing = tracing
        self._workers: list[Worker] = []
        self._idle_since: dict[int, float] = {}
        self._signals = 0

    async def run(self) -> int:
        """Run until stopped; the exit status.

        Raises:
            ConfigurationError: the agent's own start-up hook failed (code `hook.startup`), or health checks cannot be
                served (code `health.address`).
        """
        health = [WorkerHealth(index) for index in range(1, self._settings.spawn + 1)]
        server = HealthServer(HealthPages(health, self._clock))
        if self._settings.health_check_addr:
            self._log.info(f"Health checks at {await server.start(self._settings.health_check_addr)}")
        base = base_environment(self._environment, self._settings.pass_environment)
        start_hook(self._settings, base, self._log)
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._signalled, signal.Signals(number).name)
        loop.add_signal_handler(signal.SIGQUIT, self._stop_now)
        decisions = DecisionLog(self._settings.decision_log) if self._settings.decision_log is not None else None
        guardian = Guardian()
        launcher = Launcher()
        guardian.watch_folder(launcher.folder)
        locks = self._open_locks()
        executor = ThreadPoolExecutor(THREADS_PER_WORKER * self._settings.spawn, thread_name_prefix="agent")
        context = JobContext(
            settings=self._settings,
            trust=self._trust,
            base=base,
            launcher=launcher.folder,
            clock=self._clock,
            ledger=self._ledger,
            guardian=guardian,
            decisions=decisions,
            tracing=self._tracing,
        )
        self._workers = [
            Worker(
                self._settings,
                context,
                executor=executor,
                log=self._log,
                index=of_worker.index,
                clock=self._clock,
                health=of_worker,
                on_idle=self._note_idle,
            )
            for of_worker in health
        ]
        watches = [asyncio.create_task(self._watch_idleness()), asyncio.create_task(self._watch_uptime())]
        try:
            results = await asyncio.gather(*(worker.run() for worker in self._workers), return_exceptions=True)
        finally:
            for watch in watches:
                watch.cancel()
            if locks is not None:
                locks.close()
            if decisions is not None:
                decisions.close()
            if self._ledger is not None:
                self._ledger.close()
            launcher.close()
            guardian.close()
            await server.close()
            executor.shutdown(wait=False, cancel_futures=True)
            if problem := run_agent_hook("agent-shutdown", self._settings, base, self._log):
                self._log.warn(problem)
        status = 0
        for result in results:
            if isinstance(result, PipesealError):
                self._log.error(f"Worker ended: {result}", code=result.code)
                status = 1
            elif isinstance(result, int):
                status = status or result
            elif isinstance(result, BaseException):
                raise result
        return status

    def _open_locks(self) -> LockApi | None:
        """The locks between jobs of this machine; an agent without them is still an agent."""
        locks = LockApi(self._settings.sockets_path, clock=self._clock, warn=self._log.warn)
        try:
            locks.start()
        except PipesealError as error:
            self._log.warn(f"Jobs of this agent cannot use locks: {error}", code=error.code)
            return None
        return locks

    def _signalled(self, name: str) -> None:
        self._signals += 1
        if self._signals == 1:
            self._log.info(f"{name}: taking no more jobs; a job that runs may finish (once more cancels it)")
            for worker in self._workers:
                worker.stop()
        elif self._signals == 2:
            self._stop_now()
        else:
            self._log.error(f"{name} a third time: ending at once")
            os._exit(1)

    def _stop_now(self) -> None:
        self._signals = max(self._signals, 2)
        self._log.warn("Cancelling what runs and ending")
        for worker in self._workers:
            worker.stop_now()
        limit = self._settings.cancel_grace_period + LAST_WORDS_SECONDS
        timer = threading.Timer(limit, os._exit, [1])
        timer.daemon = True
        timer.start()

    def _note_idle(self, index: int, idle: bool) -> None:
        if idle:
            self._idle_since.setdefault(index, time.monotonic())
        else:
            self._idle_since.pop(index, None)

    async def _watch_idleness(self) -> None:
        limit = self._settings.disconnect_after_idle_timeout
        if not limit:
            return
        while True:
            everybody = len(self._idle_since) == len(self._workers)
            quiet = time.monotonic() - max(self._idle_since.values()) if everybody else 0.0
            if quiet >= limit:
                self._log.info(f"Idle for {limit:g} s; ending, as asked")
                for worker in self._workers:
                    worker.stop()
                return
            await asyncio.sleep(limit - quiet if everybody else min(limit, 1.0))

    async def _watch_uptime(self) -> None:
        limit = self._settings.disconnect_after_uptime
        if not limit:
            return
        await asyncio.sleep(limit)
        self._log.info(f"Up for {limit:g} s; ending after the jobs that run, as asked")
        for worker in self._workers:
            worker.stop()

"""Servers, database and agents of a build of 200 jobs are killed at random moments, and started again.

`python -m tests.faults.chaos --seeds 50` tries fifty times; `--seed 17` repeats the one that failed. A seed decides
who is killed when; how far the build has come by then it does not.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from tests.agent.agent_process import AgentProcess
from tests.controlplane.running import Api, ServerProcess
from tests.faults.invariants import ALL_JOBS, ENDED_BUILD, Outcomes, check_build, read_ran, shell_job, wait_for_end
from tests.faults.postgres_process import PostgresProcess, postgres_process

JOBS = 200
KILLS = 8
# An agent that is killed takes its job with it: that the job then runs once more is declared.
_RETRY = {"automatic": [{"signal_reason": "agent_lost", "limit": 10}]}
_OPTIONS = (
    *("--ping-hold", "2", "--accept-timeout", "1", "--heartbeat-interval", "1", "--heartbeat-timeout", "4"),
    *("--cancel-timeout", "4"),
)
_AGENTS, _WORKERS = 2, 3
_LONGEST = 240.0


@dataclass
class Report:
    """What became of a seed.

    Parameters:
        kills: who was killed how often.
        lost: jobs that were lost with their agent, and ran again.
    """

    seconds: float = 0.0
    kills: Counter[str] = field(default_factory=Counter)
    lost: int = 0

    def __str__(self) -> str:
        kills = ", ".join(f"{name} {count}x" for name, count in sorted(self.kills.items()))
        return f"{self.seconds:.1f} s, killed: {kills}; {self.lost} jobs lost with their agent and run again"


class _Agents:
    """Agents that may be killed; each that is started anew is another agent."""

    def __init__(self, folder: Path, tokens: Path, endpoints: list[_Endpoint]) -> None:
        self._folder = folder
        self._tokens = tokens
        self._endpoints = endpoints
        self._count = 0
        self.running: list[AgentProcess | None] = [None] * _AGENTS

    def start(self, index: int) -> None:
        """Start one."""
        self._count += 1
        self.running[index] = AgentProcess(
            self._endpoints[index % len(self._endpoints)],
            self._folder / f"agent-{self._count}",
            *("--token", f"file://{self._tokens / 'agent-token'}", "--spawn", str(_WORKERS)),
            *("--no-verification", "--skip-checkout"),
        )

    def kill(self, index: int) -> None:
        """SIGKILL."""
        agent = self.running[index]
        assert agent is not None
        assert agent.process.poll() is None, f"an agent ended by itself:\n{agent.log}"
        agent.process.kill()
        agent.process.wait()
        agent.close()
        self.running[index] = None

    def close(self) -> None:
        """Kill all of them."""
        for index, agent in enumerate(self.running):
            if agent is not None:
                agent.process.kill()
                agent.process.wait()
                agent.close()
            self.running[index] = None


@dataclass(frozen=True)
class _Endpoint:
    endpoint: str


def run_seed(
    seed: int, folder: Path, *, postgres: PostgresProcess | None = None, database_url: str = "", servers: int = 1
) -> Report:
    """One build under one seed; what must hold is checked at its end.

    Parameters:
        folder: an empty one.
        postgres: may be killed too.
        database_url: a fresh database there; empty for SQLite.
        servers: how many, on the one database.

    Raises:
        AssertionError: something does not hold.
    """
    chance = random.Random(seed)
    report = Report()
    began = time.monotonic()
    ran = folder / "ran"
    options = list(_OPTIONS)
    if database_url:
        options += ["--database-url", database_url, "--object-store", str(folder / "objects")]
    with ExitStack() as stack:
        processes = [
            ServerProcess(folder / f"server-{number}", *options, tokens=folder / "server-0")
            for number in range(servers)
        ]
        for process in processes:
            stack.callback(process.kill_if_running)
        apis = [process.start() for process in processes]
        api = apis[0]
        agents = _Agents(folder, folder / "server-0", [_Endpoint(f"{one.url}/v3") for one in apis])
        stack.callback(agents.close)
        for index in range(_AGENTS):
            agents.start(index)
        half = {"command": shell_job(ran), "parallelism": JOBS // 2, "retry": _RETRY}
        api.create_pipeline(json.dumps({"steps": [{**half, "label": "a"}, "wait", {**half, "label": "b"}]}))
        api.create_build()
        outcomes = Outcomes()
        _kill_and_start(chance, report, api, outcomes, _victims(processes, agents, postgres))
        build = wait_for_end(api, 1, seconds=_LONGEST, outcomes=outcomes)
        assert build["state"] == "passed", Counter(job["state"] for job in build["jobs"])
        check_build(api, build, read_ran(ran))
        scripts = [job for job in build["jobs"] if job["type"] == "script"]
        assert len([job for job in scripts if not job["retried"]]) == JOBS
        for job in scripts:
            assert job["state"] == "passed" or job["signal_reason"] == "agent_lost", job
        report.lost = len([job for job in scripts if job["retried"]])
    report.seconds = time.monotonic() - began
    return report


def _victims(
    servers: list[ServerProcess], agents: _Agents, postgres: PostgresProcess | None
) -> dict[str, tuple[Callable[[], object], Callable[[], object]]]:
    """Who may be killed: how, and how it is started again."""
    victims: dict[str, tuple[Callable[[], object], Callable[[], object]]] = {}
    for number, server in enumerate(servers):
        victims[f"server {number}"] = (server.kill, server.start)
    for index in range(_AGENTS):
        victims[f"agent {index}"] = (partial(agents.kill, index), partial(agents.start, index))
    if postgres is not None:
        victims["database"] = (postgres.kill, postgres.start)
    return victims


def _kill_and_start(
    chance: random.Random,
    report: Report,
    api: Api,
    outcomes: Outcomes,
    victims: dict[str, tuple[Callable[[], object], Callable[[], object]]],
) -> None:
    for _ in range(KILLS):
        time.sleep(chance.uniform(0.05, 1.2))
        name = chance.choice(sorted(victims))
        kill, start = victims[name]
        kill()
        report.kills[name] += 1
        time.sleep(chance.choice((0.0, chance.uniform(0.0, 0.6))))
        start()
        try:
            answer = api.rest("GET", f"/pipelines/demo/builds/1?{ALL_JOBS}", timeout=5)
        except OSError:
            continue
        if answer.status == 200:
            outcomes.look(answer.json)
            if answer.json["state"] in ENDED_BUILD:
                return


def main() -> None:
    """Try seeds one after the other; the exit status is 1 when something did not hold."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=50, help="how many, from 1")
    parser.add_argument("--seed", type=int, help="this one alone")
    parser.add_argument("--database", choices=["sqlite", "postgresql"], default="sqlite")
    options = parser.parse_args()
    failed = []
    with ExitStack() as stack:
        postgres = stack.enter_context(postgres_process()) if options.database == "postgresql" else None
        for seed in [options.seed] if options.seed is not None else range(1, options.seeds + 1):
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix=f"pipeseal-chaos-{seed}-")))
            try:
                if postgres is None:
                    report = run_seed(seed, folder)
                else:
                    url = postgres.fresh_database()
                    report = run_seed(seed, folder, postgres=postgres, database_url=url, servers=2)
            except Exception as error:
                failed.append(seed)
                print(f"seed {seed}: FAILED, {type(error).__name__}: {error}", flush=True)
            else:
                print(f"seed {seed}: {report}", flush=True)
    if failed:
        again = f"python -m tests.faults.chaos --database {options.database} --seed"
        print("\n".join(f"repeat it with: {again} {seed}" for seed in failed))
        sys.exit(1)
    print("each job had one outcome, each log line was there once, nothing ran twice that nobody declared")


if __name__ == "__main__":
    main()

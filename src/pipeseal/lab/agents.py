"""The agents of a drill: their settings, their processes, and the jobs that they are offered."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Self, TypeAlias

from pipeseal.errors import Unavailable, VerificationError
from pipeseal.lab.ground import Ground, Names
from pipeseal.lab.honest import KINDS, JobDocument, Kind, make_job
from pipeseal.lab.hostile_server import HostileServer, JobRecord, Trap
from pipeseal.lab.stage import Actors

if TYPE_CHECKING:
    from pipeseal.lab.own_agent import OwnAgent

# Nothing waits for so long on a machine that has time for it.
JOB_SECONDS = 120.0
MAIN = "runner"
Settings: TypeAlias = Mapping[str, str | bool]


class Agents:
    """A ground, a malicious control plane and the agents that face it, until closed.

    Parameters:
        folder: an empty folder; everything is made below it.
        own: settings of an operator's own agent, for the agent that takes the jobs.

    Attributes:
        ground, server, trap: see there.
        actors: processes that were started; gone at the end.
    """

    def __init__(self, folder: Path, own: OwnAgent | None = None) -> None:
        self.folder = folder
        self.own = own
        self.ground = Ground(folder / "ground", own.names if own is not None else Names())
        self.server = HostileServer(self.ground.registration_token)
        self.trap = Trap()
        self.logs = folder / "logs"
        self.logs.mkdir()
        path = os.pathsep.join([str(self.ground.bin), os.environ.get("PATH", os.defpath)])
        variables = {"PATH": path, "HOME": str(self.ground.home), "LANG": "C.UTF-8", **self.ground.agent_environment}
        self.actors = Actors(self.logs, variables, inherit=False)
        # By a worker's name: name and id as the server has them, and the process it is a part of.
        self.agents: dict[str, tuple[str, str]] = {}
        self._processes: dict[str, str] = {}
        self.server.secrets["deploy-key"] = self.ground.seed("the job's DEPLOY_KEY")

    def __enter__(self) -> Self:
        self.start_agent(MAIN)
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End everything that runs."""
        self.actors.close()
        self.server.close()
        self.trap.close()
        self.ground.watch.close()

    # --- agents -----------------------------------------------------------------------------------------------------

    def agent_folder(self, name: str) -> Path:
        """Where an agent has its settings, builds and plugins."""
        return self.folder / "agents" / name

    def write_settings(self, name: str, settings: Settings, policy_text: str = "") -> Path:
        """A configuration file for one more agent.

        Parameters:
            name: the agent's.
            settings: option to value, on top of the drill's own; an empty text takes one away.
            policy_text: its policy; the ground's when empty.
        """
        folder = self.agent_folder(name)
        folder.mkdir(parents=True, exist_ok=True)
        policy, token = folder / "policy.toml", folder / "token"
        own = self.own if name == MAIN else None
        policy.write_text(
            policy_text or (own.policy if own is not None else "") or self.ground.policy(), encoding="utf-8"
        )
        token.write_text(self.ground.registration_token, encoding="utf-8")
        chosen: dict[str, str | bool] = {
            "endpoint": self.server.endpoint,
            "token": f"file://{token}",
            "name": name,
            "tags": ",".join(f"{key}={value}" for key, value in self.ground.tags.items()),
            "verification-jwks-file": str(self.ground.keys / "verification.json"),
            "policy-file": str(policy),
            "build-path": str(folder / "builds"),
            "plugins-path": str(folder / "plugins"),
            "hooks-path": str(self.ground.hooks),
            "sockets-path": str(folder / "sockets"),
            "decision-log": str(folder / "decisions"),
            "checkout-attempts": "1",
            "cancel-grace-period": "2",
            **({} if own is None else own.settings(self.ground)),
            **settings,
        }
        lines = [f'{key}="{_words(value)}"\n' for key, value in chosen.items() if value != ""]
        path = folder / "agent.cfg"
        path.write_text("".join(lines), encoding="utf-8")
        for file in (policy, token, path):
            file.chmod(0o600)
        return path

    def start_agent(self, name: str, settings: Settings | None = None, policy_text: str = "") -> None:
        """Start one more agent and wait until it asks for jobs.

        Parameters:
            name, settings, policy_text: as in `write_settings`.

        Raises:
            Unavailable: it does not get ready (code `stage.not_ready`).
        """
        path = self.write_settings(name, settings or {}, policy_text)
        self.actors.start(name, ["agent", "start", "--config", str(path)], ready="Connected")
        self._learn(name, [name])

    def start_workers(self, name: str, count: int) -> list[str]:
        """Start one agent with several workers, and wait until all have introduced themselves.

        Parameters:
            name: beginning of their names.
            count: how many.

        Returns:
            Their names; jobs can be sent to each.
        """
        path = self.write_settings(name, {"name": f"{name}-%spawn", "spawn": str(count)})
        self.actors.start(name, ["agent", "start", "--config", str(path)], ready="Connected")
        workers = [f"{name}-{number}" for number in range(1, count + 1)]
        self._learn(name, workers)
        return workers

    def _learn(self, process: str, names: list[str]) -> None:
        """Who the workers of a process are, as the server has called them."""

        def known() -> dict[str, tuple[str, str]]:
            return {agent[0]: agent for agent in list(self.server.agents.values())}

        if not self.server.wait_for(lambda: set(names) <= set(known()), JOB_SECONDS):
            raise Unavailable("stage.not_ready", f"{process} did not introduce itself")
        self.agents |= {name: known()[name] for name in names}
        self._processes |= dict.fromkeys(names, process)

    def log(self, agent: str) -> str:
        """What an agent's log says so far."""
        return self.actors.log_file(self._processes.get(agent, agent)).read_text(encoding="utf-8", errors="replace")

    def observed(self, record: JobRecord) -> list[str]:
        """The codes of what an agent found in a job that its policy let run all the same."""
        agent = self._processes.get(record.agent, record.agent)
        file = self.agent_folder(agent) / "decisions"
        decisions = [json.loads(line) for line in file.read_text("utf-8").splitlines() if line]
        return [
            finding["code"]
            for decision in decisions
            if decision["job"] == record.id and decision["decision"] == "observed"
            for finding in decision["findings"]
        ]

    def is_running(self, agent: str) -> bool:
        """Whether an agent's process has not ended by itself."""
        return self.actors.is_running(self._processes.get(agent, agent))

    def stop_agent(self, name: str) -> None:
        """End an agent that was started."""
        self.actors.stop(name)

    # --- jobs -------------------------------------------------------------------------------------------------------

    def honest(self, kind: str | Kind, agent: str = MAIN) -> JobDocument:
        """A new honest job for an agent.

        Parameters:
            kind: a row of `honest.KINDS`, or one of its own.
        """
        return make_job(self.ground, KINDS[kind] if isinstance(kind, str) else kind, self.agents[agent])

    def offer(self, job: JobDocument | bytes, agent: str = MAIN, *, job_id: str = "") -> JobRecord:
        """Have an agent be offered a job, and do not wait.

        Parameters:
            job: what accepting answers.
            job_id: what the job is offered as; its own id when empty.
        """
        if isinstance(job, bytes):
            return self.server.give(job, job_id, agent)
        return self.server.give(_render(job), job_id or str(job["id"]), agent)

    def send(self, job: JobDocument | bytes, agent: str = MAIN, *, job_id: str = "") -> JobRecord:
        """Have an agent take a job, and wait for its end."""
        return self.wait(self.offer(job, agent, job_id=job_id))

    def wait(self, record: JobRecord, seconds: float = JOB_SECONDS) -> JobRecord:
        """Wait for the end of a job that was offered."""
        if not record.finished.wait(seconds):
            raise got_through(f"the agent did not finish the job within {seconds:.0f} s")
        return record


def _render(job: JobDocument) -> bytes:
    return json.dumps(job).encode()


def _words(value: str | bool) -> str:
    return str(value).lower() if isinstance(value, bool) else value


def got_through(problem: str) -> VerificationError:
    """The error for an attack that got something."""
    return VerificationError("drill.got_through", problem)

"""The drill: a malicious control plane, a real agent, and every attack of the registry against it.

For each attack: the honest twin of its job has run to completion, then the attack is made. It passes only when the
refusal carries the expected code, at the server, in the job's log and in the agent's; nothing of the job started; and
nobody read or changed a sentinel, touched a trap, or sent a seeded secret anywhere.
"""

from __future__ import annotations

import base64
import json
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import quote

from pipeseal.errors import PipesealError, VerificationError
from pipeseal.lab.agents import JOB_SECONDS, MAIN, Agents, Settings, got_through
from pipeseal.lab.hostile_server import JobRecord
from pipeseal.lab.result import Result, State
from pipeseal.lab.scenario import Attempt, Scenario, Stops

if TYPE_CHECKING:
    from pipeseal.lab.own_agent import OwnAgent

__all__ = ["MAIN", "Drill", "Execution", "Settings"]

# Variables that differ between two runs of one step although nothing is wrong.
VOLATILE = frozenset(
    {
        "BUILDKITE_AGENT_ACCESS_TOKEN", "BUILDKITE_AGENT_ENDPOINT", "BUILDKITE_AGENT_JOB_API_SOCKET",
        "BUILDKITE_AGENT_JOB_API_TOKEN", "BUILDKITE_AGENT_PID", "BUILDKITE_BUILD_ID", "BUILDKITE_ENV_FILE",
        "BUILDKITE_ENV_JSON_FILE", "BUILDKITE_JOB_ID", "BUILDKITE_STEP_ID", "PIPESEAL_SEAL",
    }
)  # fmt: skip


class Execution(NamedTuple):
    """What a command saw when it ran: everything that must be a function of the sealed step and local settings."""

    argv: tuple[str, ...]
    environment: Mapping[str, str]
    directory: str
    commit: str
    files: str
    plugin: str
    ran: tuple[str, ...]


class Drill(Agents):
    """Agents, and the judgement of what happens to them.

    Parameters:
        folder, own: as in `Agents`.
    """

    def __init__(self, folder: Path, own: OwnAgent | None = None) -> None:
        super().__init__(folder, own)
        self._twins: dict[str, Execution] = {}
        self._checked_requests = 0
        # Of the scenario that is being played: codes that came, how often something was tried, what was looked at.
        self.codes: list[str] = []
        self.attempts = 0
        self._checked: dict[str, None] = {}

    def must_not_start(
        self, name: str, settings: Settings, code: str, prepare: Callable[[Path], None] | None = None
    ) -> None:
        """An agent with these settings has to refuse to start.

        Parameters:
            name: of the agent, not used by another.
            settings: as in `write_settings`.
            code: that it must say.
            prepare: changes files in the agent's folder first.
        """
        path = self.write_settings(name, settings)
        if prepare is not None:
            prepare(self.agent_folder(name))
        self.attempts += 1
        done = self.actors.run(["agent", "start", "--config", str(path)], timeout_seconds=JOB_SECONDS)
        text = done.stdout + done.stderr
        (self.logs / f"{name}.log").write_text(text, encoding="utf-8")
        self.must(done.returncode != 0, "the agent started")
        self.must(f"[{code}]" in text, f"the agent did not start, and did not say {code}: {text.strip()[-300:]}")
        self.must(
            name not in {agent for agent, _ in self.server.agents.values()},
            "the agent introduced itself to the server",
        )
        self.note_code(code)
        self._checked["the agent did not start"] = None

    # --- judging ----------------------------------------------------------------------------------------------------

    def must(self, condition: bool, problem: str, checked: str = "") -> None:
        """Something that has to be so; `problem` says what is when it is not, and `checked` what was looked at."""
        if not condition:
            raise got_through(problem)
        if checked:
            self._checked[checked] = None

    def must_refuse(
        self, record: JobRecord, codes: Iterable[str] = (), stops: Stops = Stops.BEFORE, what: str = ""
    ) -> None:
        """A job has to be refused with one of the codes, visibly, and in time.

        Parameters:
            record: the job, finished.
            codes: any will do when empty.
            stops: how far it may have got.
            what: words for messages.
        """
        self.attempts += 1
        words, code = f"{what}: " if what else "", record.code
        ran = self.ground.ran(record.id)
        self.must(bool(code), f"{words}the job was not refused; {self._fate(record, ran)}")
        # What an operator's own settings look at first is theirs to say.
        wanted = () if self.own is not None else tuple(codes)
        self.must(not wanted or code in wanted, f"{words}refused with {code}, and not with {' or '.join(wanted)}")
        harmless = {"git", "operator's-hook"} if stops is Stops.AT_CHECKOUT else set()
        began = [who for who in ran if who not in harmless]
        self.must(not began, f"{words}refused, and yet {', '.join(dict.fromkeys(began))} ran")
        if record.started:
            self.must(code in record.log, f"{words}the job's log does not say {code}")
        told = self.log(record.agent).partition(f"Refused job {record.id}")[2][:4000]
        self.must(code in told, f"{words}the agent's log does not say {code}")
        self.note_code(code)
        self._checked[stops.value] = None

    def note_code(self, code: str) -> None:
        """A refusal came with this code."""
        if code not in self.codes:
            self.codes.append(code)

    def must_run(self, record: JobRecord, kind: str | None = None, what: str = "") -> Execution:
        """A job has to have run to completion; like its honest twin, when `kind` is given."""
        words = f"{what}: " if what else ""
        ran = self.ground.ran(record.id)
        exit_status = (record.finish or {}).get("exit_status")
        self.must(
            exit_status == "0" and not record.code and "command" in ran,
            f"{words}the honest job did not run; {self._fate(record, ran)}",
        )
        execution = self.execution(record)
        self.must("attack" not in ran, f"{words}the attacker's program ran")
        if kind is not None:
            self.attempts += 1
            self.must_be_alike(execution, self.twin(kind), words)
            self._checked[Stops.NEVER.value] = None
        return execution

    def twin(self, kind: str, *, again: bool = False) -> Execution:
        """What the honest job of a kind does; it is run if it has not been, or if it has to be run again."""
        if again or kind not in self._twins:
            record = self.send(self.honest(kind))
            try:
                self._twins[kind] = self.must_run(record)
            except VerificationError as error:
                raise VerificationError("drill.twin", f"honest twin `{kind}`: {error.message}") from None
        return self._twins[kind]

    def execution(self, record: JobRecord) -> Execution:
        """What the command of a job saw."""
        folder = self.ground.records / record.id
        pairs = (
            pair.partition("=") for pair in (folder / "environment").read_text("utf-8", "replace").split("\0") if pair
        )
        return Execution(
            argv=tuple((folder / "argv").read_text("utf-8", "replace").split("\0")[:-1]),
            environment={name: value for name, _, value in pairs},
            directory=(folder / "directory").read_text("utf-8").strip(),
            commit=(folder / "commit").read_text("utf-8"),
            files=(folder / "files").read_text("utf-8"),
            plugin=(folder / "plugin").read_text("utf-8", "replace") if (folder / "plugin").exists() else "",
            ran=tuple(who for who in self.ground.ran(record.id) if who != "git"),
        )

    def must_be_alike(self, one: Execution, twin: Execution, words: str = "") -> None:
        """Two executions have to be the same, but for what names the job itself."""
        names = (set(one.environment) | set(twin.environment)) - VOLATILE
        differ = sorted(
            name
            for name in names
            if one.environment.get(name) != twin.environment.get(name) and not name.endswith("_FILE")
        )
        self.must(not differ, f"{words}the command saw other variables than its honest twin: {', '.join(differ)}")
        for part in ("argv", "directory", "commit", "files", "plugin", "ran"):
            self.must(getattr(one, part) == getattr(twin, part), f"{words}it ran with another {part} than its twin")

    def _fate(self, record: JobRecord, ran: list[str]) -> str:
        finish = record.finish or {}
        refused = f", refused with {record.code}" if record.code else ""
        who = ", ".join(dict.fromkeys(ran)) or "nothing"
        observed = ", ".join(dict.fromkeys(self.observed(record)))
        refused += f", only observed: {observed}" if observed else ""
        return f"exit status {finish.get('exit_status', 'none')}{refused}; ran: {who}"

    def must_be_clean(self) -> None:
        """Nobody touched a sentinel or a trap, and no seeded secret left in any request so far."""
        touched = self.ground.watch.touched()
        self.must(not touched, f"sentinels were touched: {'; '.join(touched[:3])}")
        reached, self.trap.touched[:] = list(self.trap.touched), []
        self.must(not reached, f"somebody reached the trap: {reached[0][:100]!r}" if reached else "")
        requests = self.server.requests[self._checked_requests :]
        self._checked_requests += len(requests)
        for request in requests:
            sent = b"\n".join(
                [request.path.encode("utf-8", "replace"), json.dumps(dict(request.query)).encode(), request.content]
                + [f"{name}: {value}".encode() for name, value in request.headers.items()]
            )
            for secret in self.ground.secrets:
                leaked = next((form for form in spellings(secret.value) if form in sent), None)
                self.must(leaked is None, f"{request.method} {request.path} carried the secret of {secret.place}")
            token = self.ground.registration_token.encode()
            self.must(
                token not in sent or request.path == "/v3/register",
                f"{request.method} {request.path} carried the registration token",
            )

    def write_requests(self) -> None:
        """Every request of the drill into `requests.jsonl`, for people who keep the folder."""
        with (self.folder / "requests.jsonl").open("w", encoding="utf-8") as file:
            for request in self.server.requests:
                shown = {
                    "method": request.method,
                    "path": request.path,
                    "query": dict(request.query),
                    "headers": dict(request.headers),
                    "body": request.content.decode("utf-8", "replace"),
                }
                file.write(json.dumps(shown) + "\n")

    # --- scenarios --------------------------------------------------------------------------------------------------

    def run(self, scenario: Scenario) -> Result:
        """Try one scenario."""
        begun = time.monotonic()
        self.codes, self.attempts, self._checked = [], 0, {}
        self.ground.forget_notes()
        if scenario.not_yet:
            return Result(scenario, State.NOT_YET, problem=scenario.not_yet)
        state, problem = State.REFUSED, ""
        try:
            if scenario.attempts is not None:
                self._attempt_all(scenario, scenario.attempts(self.ground))
            if scenario.play is not None:
                scenario.play(self)
            self.must(self.attempts > 0, "the scenario tried nothing")
            self.must_be_clean()
            state = State.REFUSED if self.codes else State.HARMLESS
        except PipesealError as error:
            problem = error.message
            state = State.NOT_SHOWN if error.code in ("drill.twin", "stage.not_ready") else State.GOT_THROUGH
        finally:
            self.server.interfere = lambda _request: None
        if not self.is_running(MAIN):
            state, problem = State.GOT_THROUGH, problem or "the agent has ended"
            self.start_agent(MAIN)
        seconds = time.monotonic() - begun
        return Result(scenario, state, tuple(self.codes), self.attempts, problem, tuple(self._checked), seconds)

    def _attempt_all(self, scenario: Scenario, attempts: Iterable[Attempt]) -> None:
        """All at once into the agent's queue, after the twins of all: it takes one after the other."""
        told: list[tuple[Attempt, JobRecord]] = []
        attempts = list(attempts)
        for kind in dict.fromkeys(attempt.job for attempt in attempts):
            try:
                self.twin(kind)
            except VerificationError:
                # An operator's settings may refuse some sorts of honest jobs; then they show nothing.
                if self.own is None or all(attempt.job == kind for attempt in attempts):
                    raise
                attempts = [attempt for attempt in attempts if attempt.job != kind]
        for attempt in attempts:
            job = self.honest(attempt.job)
            told.append((attempt, self.offer(attempt.lie(job), job_id=str(job["id"]))))
        for attempt, record in told:
            self.wait(record)
            if attempt.stops is Stops.NEVER:
                self.must_run(record, attempt.job, attempt.what)
            else:
                self.must_refuse(record, attempt.codes or scenario.codes, attempt.stops, attempt.what)


def spellings(value: str) -> tuple[bytes, ...]:
    """A secret's text, and the common ways to write it otherwise."""
    plain = value.encode()
    # Without the characters whose base64 depends on what follows.
    encoded = base64.b64encode(plain[: len(plain) // 3 * 3])
    return tuple({plain, encoded, plain.hex().encode(), quote(value, safe="").encode(), plain[::-1]})

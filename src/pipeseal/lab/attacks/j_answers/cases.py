"""Agents that get one answer of an attacker's making, and what they have to be able to do afterwards."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING

from pipeseal.lab.agents import MAIN
from pipeseal.lab.hostile_server import Answer, Interference, Request

if TYPE_CHECKING:
    from pipeseal.lab.drill import Drill

CP = ("CP",)
MITM = ("CP", "MITM")
ALIVE, TOLD, RSS = "the agent goes on", "its log says so", "memory bounded"


def is_request(request: Request, method: str, end: str) -> bool:
    return request.method == method and request.path.endswith(end)


def is_from(drill: Drill, request: Request, agent: str) -> bool:
    return drill.server.agents.get(request.token, ("",))[0] == agent


@contextmanager
def interfering(drill: Drill, interfere: Interference) -> Iterator[None]:
    drill.server.interfere = interfere
    try:
        yield
    finally:
        drill.server.interfere = lambda _request: None


def answering(answer: Answer, method: str, end: str) -> Interference:
    """Every request of that method, with a path that ends so, gets this answer."""
    return lambda request: answer if is_request(request, method, end) else None


def answering_about(answer: Answer, name: str) -> Interference:
    """Every request with this in its path gets this answer."""
    return lambda request: answer if name in request.path else None


def must_go_on(drill: Drill, agent: str = MAIN, what: str = "afterwards") -> None:
    """The agent still does honest work."""
    drill.must(drill.is_running(agent), f"{what}: the agent has ended: {drill.log(agent)[-300:]}")
    drill.must_run(drill.send(drill.honest("sealed", agent), agent), what=what)
    drill.must(True, "", ALIVE)


def is_ping(request: Request) -> bool:
    return is_request(request, "GET", "/ping")


class Cases:
    """Several agents, each of which gets one bad answer to its first ping; all at once, since each takes its time.

    Parameters:
        name: what they are called.
        cases: words for the case to the answer, and to a text that the agent's log has to hold then.
    """

    def __init__(self, drill: Drill, name: str, cases: dict[str, tuple[Answer, str]]) -> None:
        self._drill, self._cases, self._name = drill, list(cases.items()), name
        self.workers: list[str] = []
        self._left: dict[str, Answer] = {}

    def __enter__(self) -> Cases:
        drill = self._drill
        self._left = {f"{self._name}-{n}": answer for n, (_, (answer, _)) in enumerate(self._cases, 1)}
        drill.server.interfere = self._interfere
        self.workers = drill.start_workers(self._name, len(self._cases))
        drill.attempts += len(self._cases)
        for worker, (what, (_, text)) in zip(self.workers, self._cases, strict=True):
            drill.must(drill.server.wait_for(partial(self._has_asked, worker), 20), f"{what}: it did not ask")
            if text:
                said = drill.server.wait_for(partial(self._said, worker, text), 20)
                drill.must(said, f"{what}: its log does not say {text!r}: {self.lines(worker)[-2:]}", TOLD)
        return self

    def __exit__(self, *_: object) -> None:
        # The agents go on, idle, until the drill is over: ending them one by one takes long.
        self._drill.server.interfere = lambda _request: None

    def lines(self, worker: str) -> list[str]:
        """What the log says of one of them."""
        return [line for line in self._drill.log(worker).splitlines() if f" {worker} " in line]

    def all_go_on(self) -> None:
        """None of them has ended, and one of them does honest work."""
        for worker, (what, _) in zip(self.workers, self._cases, strict=True):
            self._drill.must(
                not self._said(worker, "Disconnected"), f"{what}: the agent has ended: {self.lines(worker)[-2:]}"
            )
        must_go_on(self._drill, self.workers[0])

    def _has_asked(self, worker: str) -> bool:
        return worker not in self._left

    def _said(self, worker: str, text: str) -> bool:
        return any(text in line for line in self.lines(worker))

    def _interfere(self, request: Request) -> Answer | None:
        name = self._drill.server.agents.get(request.token, ("",))[0]
        return self._left.pop(name, None) if is_ping(request) else None

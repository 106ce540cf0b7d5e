"""Orders of a server that gives too many: told one by one, then in one alarm, and no more until it calms down."""

from __future__ import annotations

import io

from pipeseal.agent.agentlog import AgentLog
from pipeseal.agent.orders import MOST, WHILE_SECONDS, Orders


class Played:
    """Orders, with a log to read and a clock to set."""

    def __init__(self) -> None:
        self.text, self.now = io.StringIO(), 0.0
        self.orders = Orders(AgentLog(self.text, colour=False), lambda: self.now)

    def give(self, count: int, kind: str = "pause") -> None:
        for _ in range(count):
            self.orders.note(kind, f"The server says {kind}")

    @property
    def lines(self) -> list[str]:
        return self.text.getvalue().splitlines()


def test_a_few_orders_are_all_told() -> None:
    played = Played()
    played.give(MOST)
    assert len(played.lines) == MOST and all("says pause" in line for line in played.lines)


def test_ten_thousand_end_in_one_alarm() -> None:
    played = Played()
    for _ in range(5_000):
        played.give(1)
        played.give(1, "resume")
        played.now += 0.01
    assert len(played.lines) == MOST + 1
    alarm = played.lines[-1]
    assert "ERROR" in alarm and "order after order" in alarm and "7 times pause, 6 times resume" in alarm


def test_when_it_calms_down_orders_are_told_again_and_how_many_were_not() -> None:
    played = Played()
    played.give(MOST + 30)
    played.now += WHILE_SECONDS + 1
    played.give(1)
    assert "30 orders were followed and not told" in played.lines[-2]
    assert "says pause" in played.lines[-1]
    played.give(MOST)
    assert sum("order after order" in line for line in played.lines) == 2


def test_orders_far_apart_are_never_too_many() -> None:
    played = Played()
    for _ in range(100):
        played.give(1)
        played.now += WHILE_SECONDS / MOST
    assert len(played.lines) == 100


def test_those_that_another_line_tells_are_counted() -> None:
    played = Played()
    for _ in range(MOST + 1):
        played.orders.note("cancel")
    assert len(played.lines) == 1 and f"{MOST + 1} times cancel" in played.lines[0]

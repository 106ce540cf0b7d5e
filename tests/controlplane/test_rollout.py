"""How far a pipeline is on its way to enforcing, and from which day on the next stage is proposed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeseal.controlplane.domain.rollout import DAY, STAGES, UNKNOWN, AgentStage, Rollout, Span, plan_rollout

NOW = 1_000 * DAY


def agent(name: str, mode: str | None, days_ago: int = 0) -> AgentStage:
    return AgentStage(name, "1", mode, 1, NOW - days_ago * DAY)


def span(first: int, last: int = 0) -> Span:
    """From so many days ago to so many days ago."""
    return Span(NOW - first * DAY, NOW - last * DAY)


def plan(*agents: AgentStage, observed: int | None = None, **spans: Span) -> Rollout:
    return planned(agents, spans, observed)


def planned(agents: Sequence[AgentStage], spans: Mapping[str, Span], observed: int | None = None) -> Rollout:
    last = None if observed is None else NOW - observed * DAY
    return plan_rollout(agents, spans, last_observed_at=last, now=NOW)


def test_nothing_is_proposed_where_nobody_told_anything() -> None:
    assert plan() == Rollout()
    assert plan(agent("stock", None), agent("newer", UNKNOWN)) == Rollout(in_the_way=("stock", "newer"))


def test_agents_without_keys_observe_first_and_no_day_is_named_for_it() -> None:
    found = plan(agent("a", "off"), off=span(3))
    assert (found.stage, found.next, found.on, found.in_the_way) == ("off", "observe", None, ("a",))


@pytest.mark.parametrize(("held", "left"), [(0, 7), (3, 4), (7, 0), (30, 0)])
def test_observing_is_held_for_a_week_whatever_it_finds(held: int, left: int) -> None:
    found = plan(agent("a", "observe"), observe=span(held), observed=0)
    assert (found.stage, found.next, found.on) == ("observe", "warn", NOW + left * DAY)
    assert found.since == NOW - held * DAY


@pytest.mark.parametrize(
    ("held", "observed", "left"), [(30, None, 0), (30, 20, 0), (30, 2, 5), (2, None, 5), (2, 20, 5), (6, 3, 4)]
)
def test_warning_ends_after_a_week_in_which_nothing_was_found(held: int, observed: int | None, left: int) -> None:
    found = plan(agent("a", "warn"), observed=observed, observe=span(40, held), warn=span(held))
    assert (found.stage, found.next, found.on) == ("warn", "enforce", NOW + left * DAY)


def test_weakest_of_those_that_verify_counts_and_others_stand_in_the_way_of_enforcing() -> None:
    spans = {"observe": span(20), "warn": span(20), "enforce": span(20)}
    mixed = planned([agent("a", "enforce"), agent("b", "observe"), agent("c", "warn")], spans)
    assert (mixed.stage, mixed.next, mixed.in_the_way) == ("observe", "warn", ())
    blocked = plan(agent("a", "warn"), agent("mac", "off"), agent("stock", None), warn=span(20), off=span(20))
    assert (blocked.stage, blocked.next, blocked.on, blocked.in_the_way) == (
        "warn",
        "enforce",
        None,
        ("mac", "stock"),
    )
    done = plan(agent("a", "enforce"), agent("mac", "off"), enforce=span(9), off=span(9))
    assert (done.stage, done.next, done.on, done.in_the_way) == ("enforce", None, None, ("mac",))


def test_agents_that_are_gone_hold_nothing_up() -> None:
    found = plan(agent("old", "observe", 20), agent("new", "warn"), observe=span(29, 20), warn=span(20))
    assert (found.stage, found.next, found.on) == ("warn", "enforce", NOW)
    # Where no agent was there lately, the last ones say how it stands.
    assert plan(agent("old", "observe", 20), observe=span(29, 20)).stage == "observe"


MODES = st.sampled_from([*STAGES, UNKNOWN, None])


@given(st.lists(st.tuples(MODES, st.integers(0, 40), st.integers(0, 40)), max_size=6), st.none() | st.integers(0, 40))
def test_whatever_is_told_the_next_stage_is_the_next_one_and_never_in_the_past(
    told: list[tuple[str | None, int, int]], observed: int | None
) -> None:
    agents = [agent(f"a{index}", mode, last) for index, (mode, last, _) in enumerate(told)]
    spans: dict[str, Span] = {}
    for mode, last, longer in told:
        if mode is not None:
            known = spans.get(mode, span(last + longer, last))
            spans[mode] = Span(min(known.first_at, NOW - (last + longer) * DAY), max(known.last_at, NOW - last * DAY))
    found = planned(agents, spans, observed)
    assert found.stage is None or found.stage in {mode for mode, _, _ in told}
    if found.next is None:
        assert found.on is None and found.stage in (None, "enforce")
    else:
        assert found.stage is not None and STAGES.index(found.next) == STAGES.index(found.stage) + 1
        assert found.on is None or found.on >= NOW
        assert found.on is None or found.next != "enforce" or not found.in_the_way

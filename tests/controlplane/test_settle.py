"""Which steps may go on: the rules one by one, and any build at all run to its end."""

from __future__ import annotations

import random
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeseal.controlplane.domain.build import FINISHED, BuildState, derive_state
from pipeseal.controlplane.domain.dependencies import Dependency, find_cycle
from pipeseal.controlplane.domain.job import (
    ACTIVE,
    ENDED,
    HELD,
    MOVES,
    OCCUPYING,
    RETRYABLE,
    UNSUCCESSFUL,
    JobState,
    move,
)
from pipeseal.controlplane.domain.settle import BARRIERS, Progress, StepView, Verdict, settle
from pipeseal.controlplane.store.jobs import sources_of
from pipeseal.errors import MalformedInput

WAITS, OPENED, GOOD, BAD = Progress.WAITING, Progress.OPEN, Progress.WELL, Progress.BADLY


def steps_of(*rows: tuple[str, str, Progress] | tuple[str, str, Progress, dict[str, object]]) -> list[StepView]:
    """Steps from `(kind, key, progress, further members)`; the key is the id too."""
    steps = []
    for kind, key, progress, *more in rows:
        step = StepView(id=key, kind=kind, key=key, progress=progress)
        for name, value in (more[0] if more else {}).items():
            setattr(step, name, value)
        steps.append(step)
    return steps


def needs(*keys: str, allow_failure: bool = False) -> list[Dependency]:
    return [Dependency(key, allow_failure) for key in keys]


@pytest.mark.parametrize(
    ("steps", "go", "never"),
    [
        # Without barriers everything goes.
        (steps_of(("command", "a", WAITS), ("command", "b", WAITS)), {"a", "b"}, set()),
        # A wait lets nobody by while something before it is open, even what depends on nothing.
        (
            steps_of(("command", "a", OPENED), ("wait", "w", WAITS), ("command", "b", WAITS)),
            set(),
            set(),
        ),
        (steps_of(("command", "a", GOOD), ("wait", "w", WAITS), ("command", "b", WAITS)), {"w", "b"}, set()),
        (steps_of(("command", "a", BAD), ("wait", "w", WAITS), ("command", "b", WAITS)), set(), {"w", "b"}),
        (
            steps_of(
                ("command", "a", BAD), ("wait", "w", WAITS, {"continue_on_failure": True}), ("command", "b", WAITS)
            ),
            {"w", "b"},
            set(),
        ),
        # A wait that goes on after a failure does not wash it away for the next one.
        (
            steps_of(
                ("command", "a", BAD),
                ("wait", "w", WAITS, {"continue_on_failure": True}),
                ("command", "b", GOOD),
                ("wait", "x", WAITS),
                ("command", "c", WAITS),
            ),
            {"w"},
            {"x", "c"},
        ),
        # A failed wait does not stop one that goes on anyway.
        (
            steps_of(
                ("command", "a", BAD),
                ("wait", "w", WAITS),
                ("command", "b", WAITS),
                ("wait", "x", WAITS, {"continue_on_failure": True}),
                ("command", "c", WAITS),
            ),
            {"x", "c"},
            {"w", "b"},
        ),
        # An explicit dependency looks at its own step only.
        (
            steps_of(
                ("command", "a", GOOD),
                ("command", "b", OPENED),
                ("wait", "w", WAITS),
                ("command", "c", WAITS, {"depends_on": needs("a")}),
            ),
            {"c"},
            set(),
        ),
        (
            steps_of(("command", "a", OPENED), ("wait", "w", WAITS), ("command", "b", WAITS, {"depends_on": []})),
            {"b"},
            set(),
        ),
        (steps_of(("command", "a", BAD), ("command", "b", WAITS, {"depends_on": needs("a")})), set(), {"b"}),
        (
            steps_of(("command", "a", BAD), ("command", "b", WAITS, {"depends_on": needs("a", allow_failure=True)})),
            {"b"},
            set(),
        ),
        (
            steps_of(
                ("command", "a", BAD),
                ("command", "b", WAITS, {"depends_on": needs("a"), "allow_dependency_failure": True}),
            ),
            {"b"},
            set(),
        ),
        # A key that nobody brings: only once nothing can bring it any more.
        (steps_of(("command", "a", OPENED), ("command", "b", WAITS, {"depends_on": needs("x")})), set(), set()),
        (steps_of(("command", "a", GOOD), ("command", "b", WAITS, {"depends_on": needs("x")})), set(), {"b"}),
        (steps_of(("command", "b", WAITS, {"depends_on": needs("x")}), ("command", "a", WAITS)), {"a"}, set()),
        # A group is what is in it; a wait inside concerns the inside only.
        (
            steps_of(
                ("group", "g", GOOD),
                ("command", "a", OPENED, {"parent": "g"}),
                ("wait", "w", WAITS, {"parent": "g"}),
                ("command", "b", WAITS, {"parent": "g"}),
                ("command", "c", WAITS),
                ("command", "d", WAITS, {"depends_on": needs("g")}),
            ),
            {"c"},
            set(),
        ),
        (
            steps_of(
                ("command", "z", OPENED),
                ("group", "g", GOOD, {"depends_on": needs("y")}),
                ("command", "a", WAITS, {"parent": "g"}),
                ("command", "y", GOOD),
            ),
            {"a"},
            set(),
        ),
        # An input neither waits nor holds up; a block does both.
        (steps_of(("command", "a", OPENED), ("input", "i", WAITS), ("command", "b", WAITS)), {"i", "b"}, set()),
        (steps_of(("command", "a", GOOD), ("block", "k", WAITS), ("command", "b", WAITS)), {"k"}, set()),
        # What a step uploaded counts for those who need it, not for its own kind.
        (
            steps_of(
                ("command", "up", GOOD),
                ("command", "x", OPENED, {"uploaded_by": "up"}),
                ("command", "b", WAITS, {"depends_on": needs("up")}),
            ),
            set(),
            set(),
        ),
        (
            steps_of(
                ("command", "up", GOOD),
                ("command", "x", OPENED, {"uploaded_by": "up"}),
                ("command", "y", WAITS, {"uploaded_by": "up", "depends_on": needs("up")}),
            ),
            {"y"},
            set(),
        ),
    ],
)
def test_rules(steps: list[StepView], go: set[str], never: set[str]) -> None:
    verdicts = settle(steps)
    assert {key for key, (verdict, _) in verdicts.items() if verdict is Verdict.GO} == go
    assert {key for key, (verdict, _) in verdicts.items() if verdict is Verdict.NEVER} == never
    assert all(bool(reason) is (verdict is Verdict.NEVER) for verdict, reason in verdicts.values())


@st.composite
def builds(draw: st.DrawFn) -> list[StepView]:
    """Any build: kinds, groups, dependencies forwards and backwards, cycles and missing keys included."""
    count = draw(st.integers(1, 14))
    steps: list[StepView] = []
    open_groups: list[str] = []
    for number in range(count):
        kind: str = draw(st.sampled_from(["command", "command", "command", "wait", "block", "input", "group"]))
        keyed: bool = draw(st.booleans())
        step = StepView(id=f"s{number}", kind=kind, key=f"s{number}" if keyed else "")
        leaves: bool = draw(st.booleans())
        if open_groups and leaves:
            open_groups.pop()
        step.parent = open_groups[-1] if open_groups else None
        if kind == "group":
            step.progress = Progress.WELL
            open_groups.append(step.id)
        if draw(st.integers(0, 3)) == 0:
            keys = draw(st.lists(st.integers(0, count), max_size=3))
            step.depends_on = [Dependency(f"s{key}", draw(st.booleans())) for key in keys]
        if draw(st.integers(0, 4)) == 0 and number:
            step.uploaded_by = f"s{draw(st.integers(0, number - 1))}"
        step.continue_on_failure = draw(st.integers(0, 3)) == 0 and kind == "wait"
        step.allow_dependency_failure = draw(st.integers(0, 5)) == 0
        steps.append(step)
    return steps


def is_over(step: StepView) -> bool:
    return step.progress in (Progress.WELL, Progress.BADLY)


@given(builds(), st.randoms(use_true_random=False))
@settings(max_examples=400, deadline=None)
def test_any_build_runs_to_its_end_and_nothing_goes_too_early(steps: list[StepView], chance: random.Random) -> None:
    by_id = {step.id: step for step in steps}
    decided: set[str] = set()
    for _ in range(1000):
        for step_id, (verdict, reason) in settle(steps).items():
            step = by_id[step_id]
            assert step_id not in decided, "every step is decided about once"
            decided.add(step_id)
            if verdict is Verdict.NEVER:
                assert reason
                step.progress = Progress.BADLY
                continue
            check_may_go(steps, step)
            step.progress = Progress.WELL if step.kind == "wait" else Progress.OPEN
        running = [step for step in steps if step.progress is Progress.OPEN]
        if not running:
            break
        ending = chance.choice(running)
        ending.progress = Progress.WELL if chance.random() < 0.7 else Progress.BADLY
    assert all(is_over(step) for step in steps), "no step is left behind"


def check_may_go(steps: list[StepView], step: StepView) -> None:
    """An independent look at whether a step may go: its own dependencies, and the barrier in front of it."""
    by_key = {other.key: other for other in steps if other.key}
    by_id = {other.id: other for other in steps}
    if step.depends_on is not None:
        for dependency in step.depends_on:
            target = by_key[dependency.step]
            assert target is step or target.kind == "group" or is_over(target)
            allowed = dependency.allow_failure or step.allow_dependency_failure
            assert allowed or target.progress is not Progress.BADLY
        return
    parent = step.parent
    while parent is not None:
        if by_id[parent].depends_on is not None:
            return
        parent = by_id[parent].parent
    if step.kind == "input":
        return
    before = steps[: steps.index(step)]
    barriers = [other for other in before if other.kind in BARRIERS and other.parent is None]
    if barriers and not step.allow_dependency_failure and not step.continue_on_failure:
        assert barriers[-1].progress is Progress.WELL
    if step.kind in BARRIERS and step.parent is None:
        assert all(is_over(other) for other in before)
        if not (step.continue_on_failure or step.allow_dependency_failure):
            assert all(other.progress is Progress.WELL for other in before)


@given(st.dictionaries(st.sampled_from("abcdef"), st.lists(st.sampled_from("abcdefg"), max_size=4)))
def test_a_cycle_is_found_exactly_when_there_is_one(edges: dict[str, list[str]]) -> None:
    left = {key: set(needed) for key, needed in edges.items()}
    while True:
        free = [key for key, needed in left.items() if not needed & left.keys()]
        if not free:
            break
        for key in free:
            del left[key]
    cycle = find_cycle(edges)
    assert bool(left) is (cycle is not None)
    if cycle is not None:
        assert cycle[0] == cycle[-1]
        assert all(after in edges[before] for before, after in pairwise(cycle))


def test_the_table_of_moves_is_whole() -> None:
    assert set(MOVES) == set(JobState)
    for state in JobState:
        assert (state in ENDED) is not (state in ACTIVE or state in (JobState.WAITING, JobState.BLOCKED))
        for target in JobState:
            if target in MOVES[state]:
                assert move(state, target) is target
            else:
                with pytest.raises(MalformedInput) as error:
                    move(state, target)
                assert error.value.code == "state.move"
        assert sources_of(state) == {source for source in JobState if state in MOVES[source]}
    assert UNSUCCESSFUL < ENDED
    assert HELD < OCCUPYING < ACTIVE
    assert RETRYABLE < ENDED
    really_final = ENDED - {JobState.WAITING_FAILED, JobState.BLOCKED_FAILED}
    assert all(not MOVES[state] for state in really_final), "an ended job ends once"


@given(st.lists(st.sampled_from(list(JobState)), max_size=12), st.randoms(use_true_random=False))
def test_every_walk_through_the_table_ends(start: list[JobState], chance: random.Random) -> None:
    for state in start:
        for _ in range(200):
            if state in ENDED:
                break
            state = move(state, chance.choice(sorted(MOVES[state])))
        assert state in ENDED


@given(
    st.lists(st.tuples(st.sampled_from(list(JobState)), st.booleans(), st.integers(1, 3)), max_size=8), st.booleans()
)
def test_the_state_of_a_build_follows_from_its_jobs(jobs: list[tuple[JobState, bool, int]], cancelled: bool) -> None:
    state = derive_state(jobs, cancel_asked=cancelled)
    states = {job for job, _, _ in jobs}
    hard = any(job in UNSUCCESSFUL and not soft for job, soft, _ in jobs)
    if cancelled:
        assert state is (BuildState.CANCELING if states & HELD else BuildState.CANCELED)
        return
    open_states = states - ENDED
    assert (state in FINISHED) is (not open_states)
    if not open_states:
        assert state is (BuildState.FAILED if hard else BuildState.PASSED)
    if state is BuildState.BLOCKED:
        assert JobState.BLOCKED in states
        assert not states & ACTIVE
    if state is BuildState.FAILING:
        assert hard

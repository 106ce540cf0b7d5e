"""Which waiting steps may go on, and which never will: a pure function over the steps of one build.

The rules, in the order in which they are asked of a waiting step:

1. Its own `depends_on`, and those of the groups it stands in: each named step must have ended, together with every
   step that it uploaded, and all of them well (or `allow_failure`, or `allow_dependency_failure`).
2. Without a `depends_on` of its own or of a group around it: the nearest barrier (`wait` or `block`) before it must
   have been passed, and the one before that when the nearest has a `depends_on` of its own. Barriers inside a group
   concern that group only.
3. A barrier without `depends_on` needs everything before it (in its group) to have ended well; a `wait` with
   `continue_on_failure` needs it only to have ended. An `input` neither waits nor makes others wait.
4. A key that nobody has uploaded may still come while anything can upload; after that it never will.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Literal

from pipeseal.controlplane.domain.dependencies import Dependency

BARRIERS = frozenset({"wait", "block"})


class Progress(Enum):
    """How far a step is, taken over its jobs."""

    WAITING = "waiting"
    OPEN = "open"  # something will still happen to it, or a person must act
    WELL = "well"  # ended: passed, skipped or softly failed
    BADLY = "badly"  # ended otherwise


class Verdict(Enum):
    """What becomes of a waiting step."""

    GO = "go"
    NEVER = "never"


@dataclass(slots=True)
class StepView:
    """What settling knows of a step.

    Parameters:
        progress: of its own jobs; a group without jobs of its own is `WELL`.
        parent: id of the group it stands in.
        uploaded_by: id of the step whose job uploaded it.
        left_out: skipped on purpose, all of it; a barrier that is left out is none.
    """

    id: str
    kind: str
    key: str = ""
    progress: Progress = Progress.WAITING
    parent: str | None = None
    uploaded_by: str | None = None
    depends_on: list[Dependency] | None = None
    allow_dependency_failure: bool = False
    continue_on_failure: bool = False
    left_out: bool = False


def settle(steps: Sequence[StepView]) -> dict[str, tuple[Verdict, str]]:
    """Decide about every waiting step that can be decided about now.

    Parameters:
        steps: all steps of the build in build order; the steps of a group follow the group's own row.

    Returns:
        Step id to verdict and reason (empty for `GO`). `GO` for a `wait` means it has been passed. Whenever nothing
        is open any more, no step is left waiting.
    """
    return _Settling(steps).run()


class _Settling:
    def __init__(self, steps: Sequence[StepView]) -> None:
        self._steps = steps
        self._progress = [step.progress for step in steps]
        self._index = {step.id: index for index, step in enumerate(steps)}
        self._by_key = {step.key: index for index, step in enumerate(steps) if step.key}
        self._parent = [self._index.get(step.parent or "") for step in steps]
        self._uploads: dict[int, list[int]] = {}
        self._children: dict[int, list[int]] = {}
        for index, step in enumerate(steps):
            uploader = self._index.get(step.uploaded_by or "")
            if uploader is not None:
                self._uploads.setdefault(uploader, []).append(index)
            parent = self._parent[index]
            if parent is not None:
                self._children.setdefault(parent, []).append(index)
        self._barrier = self._nearest_barriers()
        self._open_before: list[int] = []
        self._bad_before: list[int] = []

    def run(self) -> dict[str, tuple[Verdict, str]]:
        verdicts: dict[str, tuple[Verdict, str]] = {}
        waiting = [index for index, progress in enumerate(self._progress) if progress is Progress.WAITING]
        waiting = self._decide(waiting, verdicts)
        # Nothing runs and nothing can: what still waits, waits in vain. First for keys that nobody can bring any
        # more, then in circles that keys alone did not show. Each refusal may let others go on (`allow_failure`).
        while waiting and Progress.OPEN not in self._progress:
            hopeless = {index: self._missing_key(index) for index in waiting}
            hopeless = {index: reason for index, reason in hopeless.items() if reason} or {
                waiting[0]: "it waits for steps that wait for it"
            }
            for index, reason in hopeless.items():
                self._note(index, (Verdict.NEVER, reason), verdicts)
            waiting = self._decide([index for index in waiting if index not in hopeless], verdicts)
        return verdicts

    def _decide(self, waiting: list[int], verdicts: dict[str, tuple[Verdict, str]]) -> list[int]:
        """Judge until nothing changes; returns those that still wait."""
        changed = True
        while changed and waiting:
            changed = False
            self._sum_up()
            left: list[int] = []
            for index in waiting:
                verdict = self._judge(index)
                if verdict is None:
                    left.append(index)
                else:
                    changed = self._note(index, verdict, verdicts) or changed
            waiting = left
        return waiting

    def _note(self, index: int, verdict: tuple[Verdict, str], verdicts: dict[str, tuple[Verdict, str]]) -> bool:
        """Record a verdict; says whether it can change what others hear."""
        step = self._steps[index]
        verdicts[step.id] = verdict
        if verdict[0] is Verdict.NEVER:
            self._progress[index] = Progress.BADLY
        elif step.kind == "wait":
            self._progress[index] = Progress.WELL  # passed: the way is open at once
        else:
            self._progress[index] = Progress.OPEN
            return False
        return True

    def _nearest_barriers(self) -> list[int | None]:
        """For each step the barrier it stands behind, going outwards from its own group."""
        last: dict[int | None, int | None] = {None: None}
        nearest: list[int | None] = []
        for index, step in enumerate(self._steps):
            scope = self._parent[index]
            barrier = last.get(scope)
            nearest.append(barrier)
            if step.kind == "group":
                # Its steps stand behind what the group stands behind, unless the group says itself what it needs.
                last[index] = barrier if step.depends_on is None else None
            elif step.kind in BARRIERS and not step.left_out:
                last[scope] = index
        return nearest

    def _sum_up(self) -> None:
        """Running totals of steps that are not over and that ended badly, so that a barrier is judged in one look."""
        self._open_before = [0]
        self._bad_before = [0]
        for progress in self._progress:
            unfinished = progress in (Progress.WAITING, Progress.OPEN)
            self._open_before.append(self._open_before[-1] + unfinished)
            self._bad_before.append(self._bad_before[-1] + (progress is Progress.BADLY))

    def _judge(self, index: int) -> tuple[Verdict, str] | None:
        step = self._steps[index]
        at: int | None = index
        while at is not None:  # rule 1
            holder = self._steps[at]
            for dependency in holder.depends_on or ():
                allowed = dependency.allow_failure or holder.allow_dependency_failure
                outcome = self._judge_dependency(index, dependency.step, allowed)
                if outcome is not True:
                    return outcome
            at = self._parent[at]
        if step.depends_on is not None or step.kind == "input":
            return Verdict.GO, ""
        outcome = self._judge_barrier(index)  # rule 2
        if outcome is True and step.kind in BARRIERS:
            outcome = self._judge_before(index)  # rule 3
        return (Verdict.GO, "") if outcome is True else outcome

    def _judge_dependency(self, index: int, key: str, allowed: bool) -> tuple[Verdict, str] | Literal[True] | None:
        target = self._by_key.get(key)
        if target is None:
            return None  # rule 4
        finished, well = self._closure(target, index)
        if not finished:
            return None
        if well or allowed:
            return True
        return Verdict.NEVER, f"it depends on {key!r}, which did not pass"

    def _missing_key(self, index: int) -> str:
        """The reason of a step that depends on a key nobody has uploaded; empty when it does not."""
        at: int | None = index
        while at is not None:
            for dependency in self._steps[at].depends_on or ():
                if dependency.step not in self._by_key:
                    return f"it depends on {dependency.step!r}, and no step with that key was ever uploaded"
            at = self._parent[at]
        return ""

    def _judge_barrier(self, index: int) -> tuple[Verdict, str] | Literal[True] | None:
        step = self._steps[index]
        barrier = self._barrier[index]
        while barrier is not None:
            goes_on = step.continue_on_failure and self._parent[barrier] == self._parent[index]
            match self._progress[barrier]:
                case Progress.WAITING | Progress.OPEN:
                    return None
                case Progress.BADLY if not (step.allow_dependency_failure or goes_on):
                    return Verdict.NEVER, "a step before it did not pass"
            if self._steps[barrier].depends_on is not None:
                barrier = self._barrier[barrier]
                continue
            # It was itself judged by everything before it in its group; what the group stands behind counts too.
            group = self._parent[barrier]
            outside = group is not None and self._steps[group].depends_on is None
            barrier = self._barrier[group] if group is not None and outside else None
        return True

    def _judge_before(self, index: int) -> tuple[Verdict, str] | Literal[True] | None:
        parent = self._parent[index]
        start = 0 if parent is None else parent + 1
        if self._open_before[index] - self._open_before[start]:
            return None
        step = self._steps[index]
        bad = self._bad_before[index] - self._bad_before[start]
        if bad and not step.continue_on_failure and not step.allow_dependency_failure:
            return Verdict.NEVER, "a step before it did not pass"
        return True

    def _closure(self, target: int, asking: int) -> tuple[bool, bool]:
        """Whether a step with all that it contains and uploaded is over, and whether it all ended well.

        A step that was itself uploaded by the target waits for the target alone, not for its own siblings.
        """
        follow_uploads = not self._was_uploaded_by(asking, target)
        well = True
        seen = {target, asking}
        stack = [target]
        while stack:
            index = stack.pop()
            progress = self._progress[index]
            if progress in (Progress.WAITING, Progress.OPEN):
                return False, False
            well = well and progress is Progress.WELL
            uploads = self._uploads.get(index, ()) if follow_uploads else ()
            for more in (*self._children.get(index, ()), *uploads):
                if more not in seen:
                    seen.add(more)
                    stack.append(more)
        return True, well

    def _was_uploaded_by(self, index: int, target: int) -> bool:
        at: int | None = index
        while at is not None:
            at = self._index.get(self._steps[at].uploaded_by or "")
            if at == target:
                return True
        return False

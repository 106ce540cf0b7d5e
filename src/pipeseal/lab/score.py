"""What a drill found, for people and for programs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pipeseal.lab.attacks import GROUPS
from pipeseal.lab.result import Result, State

MARKS = {
    State.REFUSED: "✓",
    State.HARMLESS: "✓",
    State.GOT_THROUGH: "✗",
    State.NOT_SHOWN: "?",
    State.NOT_YET: "…",
}
_COLOURS = {State.GOT_THROUGH: "red", State.NOT_SHOWN: "yellow", State.NOT_YET: "yellow"}
TITLE_WIDTH = 52


def colour_of(result: Result) -> str:
    """The colour of a result's mark."""
    return _COLOURS.get(result.state, "green")


def line_of(result: Result) -> str:
    """One line for a scenario, without its mark: id, title, codes, what was checked."""
    scenario = result.scenario
    title = scenario.title if len(scenario.title) <= TITLE_WIDTH else f"{scenario.title[: TITLE_WIDTH - 1]}…"
    if not result.passed:
        return f"{scenario.id}  {title:<{TITLE_WIDTH}}  {result.state.value}: {result.problem}"
    what = ", ".join(result.codes) or result.state.value
    tries = f"{result.attempts} {'try' if result.attempts == 1 else 'tries'}"
    return f"{scenario.id}  {title:<{TITLE_WIDTH}}  {what}  ({'; '.join([tries, *result.checked])})"


def count_by_group(results: Sequence[Result]) -> dict[str, dict[str, int]]:
    """For each group that was tried: how many scenarios, how many passed, and how many attempts they made."""
    counts: dict[str, dict[str, int]] = {}
    for result in results:
        row = counts.setdefault(result.scenario.group, {"scenarios": 0, "passed": 0, "attempts": 0})
        row["scenarios"] += 1
        row["passed"] += result.passed
        row["attempts"] += result.attempts
    return counts


def summary(results: Sequence[Result], seconds: float) -> list[str]:
    """Lines for the end: counts per group, and what did not pass."""
    lines = [
        f"  {letter}  {row['passed']:>3} of {row['scenarios']:<3} {row['attempts']:>5} tries   {GROUPS[letter]}"
        for letter, row in count_by_group(results).items()
    ]
    failed = [result for result in results if not result.passed]
    total = sum(result.attempts for result in results)
    if not failed:
        lines.append(f"\nNothing got through: {len(results)} scenarios, {total} tries, {seconds:.0f} seconds.")
        return lines
    lines.append(f"\n{len(failed)} of {len(results)} scenarios did not pass:")
    lines += [f"  {MARKS[result.state]} {line_of(result)}" for result in failed]
    return lines


def document(results: Sequence[Result], seconds: float) -> dict[str, Any]:
    """Everything, as JSON."""
    return {
        "version": 1,
        "passed": all(result.passed for result in results),
        "seconds": round(seconds, 3),
        "groups": count_by_group(results),
        "scenarios": [
            {
                "id": result.scenario.id,
                "title": result.scenario.title,
                "state": result.state.value,
                "codes": list(result.codes),
                "attempts": result.attempts,
                "checked": list(result.checked),
                "problem": result.problem,
                "seconds": round(result.seconds, 3),
            }
            for result in results
        ],
    }

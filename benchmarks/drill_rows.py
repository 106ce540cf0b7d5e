"""The row about the drill: every attack of the registry, tried by one command."""

from __future__ import annotations

from benchmarks.measure import Sample, alternate, run_command
from benchmarks.report import SECONDS, Row, Target
from benchmarks.workspace import PIPESEAL, Workspace

# On two quiet cores, which it keeps busy; its CPU time says what it would take there when they are not.
WHOLE_SECONDS = 60.0
# On a machine that others use too.
LONGEST_SECONDS = 900.0


def measure_drill(space: Workspace) -> Row:
    """`pipeseal drill`, twice in a row, the second time measured; it fails when anything gets through."""

    def side() -> Sample:
        return run_command([PIPESEAL, "drill"], env=space.env, cwd=space.directory, timeout_seconds=LONGEST_SECONDS)

    pairs = alternate(side, None, pairs=1, budget_seconds=space.budget_seconds, fewest=1)
    return Row("drill", pairs, SECONDS, "", Target(limit=WHOLE_SECONDS))

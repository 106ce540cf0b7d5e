"""Running a whole drill: three lanes, each with a ground, a server and agents of its own.

Attacks on the agent's patience wait most of the time, and the others never: they share nothing, and run side by side.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING

from pipeseal.lab.drill import Drill
from pipeseal.lab.result import Result
from pipeseal.lab.scenario import Scenario

if TYPE_CHECKING:
    from pipeseal.lab.own_agent import OwnAgent

# Groups of the lanes; the last one has all others.
LANES = (frozenset("J"), frozenset("EGL"))


def run_all(
    folder: Path, scenarios: Iterable[Scenario], tell: Callable[[Result], object], own: OwnAgent | None = None
) -> list[Result]:
    """Try scenarios.

    After each group the honest twin is run once more: an agent that an attack has broken would refuse anything.

    Parameters:
        folder: an empty folder.
        scenarios: what to try.
        tell: gets each result, in that order, as soon as it and those before it are there.
        own: try jobs on an agent with an operator's own settings; what needs other settings is left out.

    Raises:
        Unavailable: an agent does not start (code `stage.not_ready`).
        VerificationError: the honest twin does not run, before or after attacks (code `drill.twin`).
    """
    chosen = list(scenarios)
    if own is not None:
        chosen = [replace(scenario, play=None) for scenario in chosen if scenario.attempts is not None]
    futures: dict[str, Future[Result]] = {scenario.id: Future() for scenario in chosen}
    lanes = [[scenario for scenario in chosen if scenario.group in groups] for groups in LANES]
    lanes.append([scenario for scenario in chosen if not any(scenario.group in groups for groups in LANES)])
    results: list[Result] = []
    with ThreadPoolExecutor(len(lanes)) as pool:
        running = [
            pool.submit(_run_lane, folder / f"lane-{number}", lane, futures, own)
            for number, lane in enumerate(lanes, 1)
            if lane
        ]
        for scenario in chosen:
            result = futures[scenario.id].result()
            tell(result)
            results.append(result)
        for lane in running:
            lane.result()
    return results


def _run_lane(
    folder: Path, scenarios: Sequence[Scenario], futures: dict[str, Future[Result]], own: OwnAgent | None
) -> None:
    try:
        with Drill(folder, own) as drill:
            drill.twin("sealed")
            for _, group in groupby(scenarios, key=lambda scenario: scenario.group):
                for scenario in group:
                    futures[scenario.id].set_result(drill.run(scenario))
                drill.ground.forget_notes()
                drill.twin("sealed", again=True)
            drill.write_requests()
    except BaseException as error:
        # Whoever waits for a result of this lane is told; and the lane itself fails too.
        for scenario in scenarios:
            if not futures[scenario.id].done():
                futures[scenario.id].set_exception(error)
        raise

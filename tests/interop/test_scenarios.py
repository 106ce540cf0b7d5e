"""Every scenario with its pairings: who signs, and who verifies and runs.

Scenarios in `signing` are about what is signed, and played with all pairings. Those in `tampered` and `running` are
about what agents refuse and how they run jobs, those in `public` are pipelines of the kinds that people publish, with
stand-ins for the plugins they use. That stock agents take what we sign is shown by `signing`, so that these leave
this pairing out.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.interop.outcome import find_differences
from tests.interop.play import BUILD_SECONDS, Stage
from tests.interop.scenario import PAIRINGS, STOCK, Pairing, Scenario, read_scenarios

HERE = Path(__file__).resolve().parent
SCENARIOS = [
    *read_scenarios(HERE / "scenarios" / "signing"),
    *read_scenarios(HERE / "scenarios" / "tampered", PAIRINGS[:3]),
    *read_scenarios(HERE / "scenarios" / "running", PAIRINGS[:3]),
    *read_scenarios(HERE / "public", PAIRINGS[:3]),
]


def test_names_are_used_once() -> None:
    names = [scenario.name for scenario in SCENARIOS]
    assert sorted(set(names)) == sorted(names)


def _cases(scenarios: list[Scenario]) -> list[object]:
    """Pairing by pairing, so that a test process needs few kinds of agents."""
    return [
        pytest.param(
            scenario,
            pairing,
            id=f"{scenario.name}-{pairing.name}",
            marks=[pytest.mark.peer("buildkite-agent")] if STOCK in pairing else [],
        )
        for pairing in PAIRINGS
        for scenario in scenarios
        if pairing in scenario.pairings
    ]


@pytest.mark.parametrize(("scenario", "pairing"), _cases(SCENARIOS))
def test_scenario(
    scenario: Scenario, pairing: Pairing, stage: Stage, following: tuple[Scenario, Pairing] | None
) -> None:
    play = stage.begin(scenario, pairing)
    if following is not None:
        stage.begin(*following)
    differences = find_differences(scenario.expect, play.result(2 * BUILD_SECONDS), pairing)
    assert not differences, "\n".join(differences)

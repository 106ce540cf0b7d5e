"""Group J: answers that are aimed at the agent itself: at its memory, its patience, its log, and where it calls."""

from __future__ import annotations

from pipeseal.lab.attacks.j_answers import addresses, nonsense, orders, patience

SCENARIOS = tuple(
    sorted(
        (*addresses.SCENARIOS, *patience.SCENARIOS, *orders.SCENARIOS, *nonsense.SCENARIOS),
        key=lambda scenario: scenario.id,
    )
)

"""Group F: signatures, seals and JSON in other spellings than the one that there is."""

from __future__ import annotations

from pipeseal.lab.attacks.f_formats import signatures, text

SCENARIOS = tuple(sorted((*signatures.SCENARIOS, *text.SCENARIOS), key=lambda scenario: scenario.id))

"""`docs/reference/agent.md` says what the tables in the code say."""

from __future__ import annotations

from pathlib import Path

from pipeseal.agent.lifecycle import LIFECYCLE
from pipeseal.agent.options import OPTIONS, Option

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "reference" / "agent.md").read_text("utf-8")
ROWS = [tuple(cell.strip() for cell in line.strip("|").split("|")) for line in PAGE.splitlines() if line[:1] == "|"]


def _default(option: Option) -> str:
    if not option.default:
        return "`0`" if option.kind == "seconds" else ""
    return f"`{' '.join(option.default) if isinstance(option.default, tuple) else option.default}`"


def test_every_setting_has_its_row() -> None:
    settings = [row for row in ROWS if len(row) == 4][2:]
    assert settings == [(f"`{row.name}`", row.help, _default(row), f"`{row.variables[-1]}`") for row in OPTIONS]


def test_every_hook_is_in_its_phase_and_order() -> None:
    told = [(phase, text) for phase, text, *_ in (row for row in ROWS if len(row) == 2)]
    at = 0
    for stage in LIFECYCLE:
        if stage.does.isupper() and not stage.scopes:
            continue
        name = stage.does.lower()
        at = next(
            (
                index
                for index, (phase, text) in enumerate(told[at:], at)
                if phase == stage.phase and f"hook `{name}`" in text
            ),
            -1,
        )
        assert at >= 0, f"{stage} is not where it should be"
        order = told[at][1].partition(f"hook `{name}`")[2]
        places = [order.find(scope) for scope in stage.scopes]
        assert places == sorted(places) and -1 not in places, stage

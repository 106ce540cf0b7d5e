"""Scenario folders: a pipeline, what must come of it, how it is played. The README says how to write one.

Reading is strict: a member that nobody knows is an error, so that a misspelt expectation cannot pass by not being
looked at.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

OURS, STOCK = "ours", "stock"


class Pairing(NamedTuple):
    """Who signs and uploads the pipeline, and who verifies and runs it."""

    signer: str
    runner: str

    @property
    def name(self) -> str:
        """As tests and `build.json` call it."""
        return self.signer if self.signer == self.runner else f"{self.signer}-to-{self.runner}"


PAIRINGS = (Pairing(OURS, OURS), Pairing(STOCK, OURS), Pairing(STOCK, STOCK), Pairing(OURS, STOCK))
PAIRING_NAMES = frozenset(pairing.name for pairing in PAIRINGS)

_BUILD_MEMBERS = {
    "about", "because", "build", "child", "during", "lie", "pairings", "pull_request", "secrets", "stored",
    "submodule", "upload",
}  # fmt: skip
_VARIANTS = {OURS, STOCK, *PAIRING_NAMES}
_EXPECT_MEMBERS = {"state", "jobs", "upload", "warnings", "meta_data", "annotations", "artifacts", *_VARIANTS}
_JOB_MEMBERS = {
    "state", "exit_status", "signal", "signal_reason", "soft_failed", "retried", "refusal", "reason",
    "lines", "log", "absent", "times", "type", *_VARIANTS,
}  # fmt: skip


@dataclass(frozen=True)
class Scenario:
    """One folder.

    Parameters:
        folder: where it is; its name is the scenario's.
        expect: `expect.json`.
        options: `build.json`, or nothing.
        agent: `agent.json`; None when the scenario needs no runner of its own.
        usual_pairings: those it is played with unless it names others.
    """

    folder: Path
    expect: dict[str, Any]
    options: dict[str, Any] = field(default_factory=dict)
    agent: dict[str, Any] | None = None
    usual_pairings: tuple[Pairing, ...] = PAIRINGS

    @property
    def name(self) -> str:
        """The folder's name."""
        return self.folder.name

    @property
    def hooks(self) -> Path | None:
        """Its folder of agent hooks, if it has one."""
        path = self.folder / "hooks"
        return path if path.is_dir() else None

    @property
    def has_own_runner(self) -> bool:
        """Whether an agent is started for it, on a queue of its own."""
        return self.agent is not None or self.hooks is not None

    @property
    def pairings(self) -> tuple[Pairing, ...]:
        """The pairings it is played with."""
        chosen = self.options.get("pairings")
        return self.usual_pairings if chosen is None else tuple(p for p in PAIRINGS if p.name in chosen)


def read_scenario(folder: Path, usual_pairings: tuple[Pairing, ...] = PAIRINGS) -> Scenario:
    """The scenario in a folder.

    Parameters:
        usual_pairings: what it is played with unless it says otherwise.

    Raises:
        ValueError: a member or value that means nothing.
    """
    expect = _read_json(folder / "expect.json")
    for variant in (expect, *(expect.get(name, {}) for name in _VARIANTS)):
        _check(folder, "expect.json", variant, _EXPECT_MEMBERS)
        for name, jobs in variant.get("jobs", {}).items():
            for job in jobs if isinstance(jobs, list) else [jobs]:
                _check(folder, f"expect.json, {name}", job, _JOB_MEMBERS)
    options = _read_json(folder / "build.json") if (folder / "build.json").exists() else {}
    _check(folder, "build.json", options, _BUILD_MEMBERS)
    unknown = set(options.get("pairings", ())) - PAIRING_NAMES
    if unknown or ("pairings" in options) != ("because" in options):
        raise ValueError(f"{folder.name}: `pairings` are of {sorted(PAIRING_NAMES)}, with `because` saying why")
    agent = _read_json(folder / "agent.json") if (folder / "agent.json").exists() else None
    _check(folder, "agent.json", agent or {}, {"options", "queue", "verifies", OURS, STOCK})
    return Scenario(folder, expect, options, agent, usual_pairings)


def read_scenarios(folder: Path, usual_pairings: tuple[Pairing, ...] = PAIRINGS) -> list[Scenario]:
    """All scenarios in a folder, by name; `usual_pairings` as in `read_scenario`."""
    return [read_scenario(path.parent, usual_pairings) for path in sorted(folder.glob("*/pipeline.yml"))]


def _read_json(path: Path) -> dict[str, Any]:
    value = json.loads(path.read_text(encoding="utf-8"))
    if not isinstance(value, dict):
        raise ValueError(f"{path}: not a JSON object")
    return value


def _check(folder: Path, where: str, value: dict[str, Any], known: set[str]) -> None:
    if unknown := set(value) - known:
        raise ValueError(f"{folder.name}/{where}: unknown members {sorted(unknown)}; known are {sorted(known)}")

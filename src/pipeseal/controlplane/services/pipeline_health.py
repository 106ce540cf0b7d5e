"""How a pipeline's branch stands, in a word, for badges and feeds: what its last build came to."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from sqlite3 import Row
from typing import Any, Final, Literal, TypeAlias

import msgspec

from pipeseal.controlplane.domain.build import FINISHED
from pipeseal.controlplane.domain.job import JobState
from pipeseal.controlplane.domain.step_state import step_outcome, step_state
from pipeseal.controlplane.services.build_shape import time_text
from pipeseal.controlplane.services.plane import ControlPlane
from pipeseal.controlplane.services.public import PUBLIC, public_pipelines_allowed
from pipeseal.controlplane.store import builds as build_store
from pipeseal.controlplane.store.database import Transaction

Word: TypeAlias = Literal["passing", "failing", "running", "unknown"]
# Signed steps of the last build, in words. What agents make of them is theirs to say: a server is not told.
Signed: TypeAlias = Literal["all steps", "some steps", "no steps", "unknown"]

_WORDS: Final[dict[str, Word]] = {"passed": "passing", "failed": "failing", "failing": "failing"}
# Anybody may ask, for any branch: no question looks at more builds than these.
_LOOK_BACK: Final = 500
_MOST_PIPELINES: Final = 500


@dataclass(frozen=True, slots=True)
class Health:
    """How one branch of a pipeline stands.

    Parameters:
        name, web_url: of the pipeline; empty for one that nobody may see.
        word: what its last build came to that came to something; `running` when none has yet.
        running: a build is under way.
        number, finished_at: of the build that the word is of; 0 and empty when there is none.
    """

    name: str = ""
    web_url: str = ""
    word: Word = "unknown"
    running: bool = False
    number: int = 0
    finished_at: str = ""


async def read_health(plane: ControlPlane, pipeline_id: str, *, branch: str, step: str) -> Health:
    """How a public pipeline stands; one that is not public, and one that does not exist, is `unknown`.

    Parameters:
        branch: empty for the default branch.
        step: key or label of a step, whose outcome in the last build is meant then; empty for the whole build.
    """

    def look(tx: Transaction) -> Health:
        pipeline = _find_public(tx, pipeline_id)
        if pipeline is None:
            return Health()
        recent = _recent(tx, pipeline, branch or pipeline["default_branch"], public_only=True)
        health = _health(plane, pipeline, recent)
        if not step:
            return health
        return Health(health.name, health.web_url, _step_word(tx, recent, step), health.running)

    return await plane.database.read(look)


async def read_signed(plane: ControlPlane, pipeline_id: str, *, branch: str) -> Signed:
    """How many command steps of a public pipeline's last build carry a signature; nothing is checked here."""

    def look(tx: Transaction) -> Signed:
        pipeline = _find_public(tx, pipeline_id)
        if pipeline is None:
            return "unknown"
        recent = _recent(tx, pipeline, branch or pipeline["default_branch"], public_only=True)
        if not recent:
            return "unknown"
        steps = tx.all("SELECT content FROM steps WHERE build_id = :id AND kind = 'command'", id=recent[0]["id"])
        signed = [_has_signature(row["content"]) for row in steps]
        if not signed:
            return "unknown"
        return "all steps" if all(signed) else "some steps" if any(signed) else "no steps"

    return await plane.database.read(look)


async def list_health(plane: ControlPlane, *, public_only: bool) -> list[Health]:
    """How the default branch of each pipeline stands, by slug; pipelines without builds are there too."""

    def look(tx: Transaction) -> list[Health]:
        visibility = PUBLIC if public_only else None
        rows = build_store.list_pipelines(tx, repository=None, visibility=visibility, limit=_MOST_PIPELINES, offset=0)
        return [_health(plane, row, _recent(tx, row, row["default_branch"], public_only=public_only)) for row in rows]

    return await plane.database.read(look)


def _find_public(tx: Transaction, pipeline_id: str) -> Row | None:
    row = tx.one("SELECT * FROM pipelines WHERE id = :id", id=pipeline_id)
    return row if row is not None and row["visibility"] == PUBLIC and public_pipelines_allowed(tx) else None


def _recent(tx: Transaction, pipeline: Row, branch: str, *, public_only: bool) -> list[Row]:
    """The builds of a branch among the pipeline's last ones, newest first."""
    return tx.all(
        "SELECT id, number, state, finished_at FROM builds WHERE pipeline_id = :id AND number > :after "
        "AND branch = :branch AND created_at >= :since ORDER BY number DESC",
        id=pipeline["id"],
        after=pipeline["last_build_number"] - _LOOK_BACK,
        branch=branch,
        since=pipeline["public_since"] if public_only else 0,
    )


def _health(plane: ControlPlane, pipeline: Row, recent: Sequence[Row]) -> Health:
    running = any(row["state"] not in FINISHED and row["state"] != "blocked" for row in recent)
    decided = next((row for row in recent if row["state"] in _WORDS), None)
    word: Word = "running" if running else "unknown"
    if decided is not None:
        word = _WORDS[decided["state"]]
    return Health(
        name=pipeline["name"],
        web_url=f"{plane.url}/{plane.settings.organization}/{pipeline['slug']}",
        word=word,
        running=running,
        number=0 if decided is None else decided["number"],
        finished_at="" if decided is None else time_text(decided["finished_at"]) or "",
    )


def _step_word(tx: Transaction, recent: Sequence[Row], step: str) -> Word:
    """What a step came to in the newest build; steps of one key or label count together."""
    if not recent:
        return "unknown"
    jobs = tx.all(
        "SELECT jobs.state, jobs.soft_failed FROM jobs JOIN steps ON steps.id = jobs.step_id "
        "WHERE steps.build_id = :id AND (steps.key = :step OR steps.label = :step) AND jobs.retried_in IS NULL",
        id=recent[0]["id"],
        step=step,
    )
    states = [JobState(row["state"]) for row in jobs]
    match step_outcome(states, soft=[bool(row["soft_failed"]) for row in jobs]):
        case "hard_failed":
            return "failing"
        case "passed" | "soft_failed" if step_state(states) == "finished":
            return "passing"
    return "running" if step_state(states) in {"running", "failing"} else "unknown"


class _Step(msgspec.Struct):
    signature: Any = None


def _has_signature(content: str) -> bool:
    try:
        return msgspec.json.decode(content, type=_Step).signature is not None
    except msgspec.DecodeError:
        return False

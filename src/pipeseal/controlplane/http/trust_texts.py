"""Texts of the product that web pages show beside trust: what each code means, and what signatures cover.

They are files like the pages' own ones: the same for everybody, and nothing of this server is in them.
"""

from __future__ import annotations

from typing import Final

import msgspec

from pipeseal.errors.codes import CODES
from pipeseal.signing.bindings import BINDINGS
from pipeseal.signing.fields import FIELDS

# What a field is called where people read it.
_WORDS: Final = {
    "command": "the command",
    "env": "the step's variables, names and values",
    "matrix": "the matrix: which values a job may have",
    "plugins": "plugins, their versions and their configuration",
    "repository_url": "the repository",
    "secrets": "which secrets the step is given, by name",
    "checkout": "checkout settings",
}
_SEALED: Final = (
    "which agents may run it",
    "commits and trees that plugins stood for",
    "timeout, attempts, parallelism, soft fail, retries, condition, dependencies, artifact paths",
    "from when and until when it may run, and which upload it is from",
)
# Nothing that is signed says any of this: it is what the server says, or what nobody knows from here.
NOT_COVERED: Final = (
    "states, exit statuses and times of jobs, and whether the build passed",
    "logs, annotations and artifacts",
    "who made the build, who unblocked or retried a job",
    "which agent ran it, and that nothing else ran on that machine: agents verify before they run",
    "steps that the server leaves out where no signed step speaks of them: the last ones of an upload, or all of it",
    "message, labels as shown, and order on this page",
    "hooks and settings of the agent's machine",
    "whether the code that was reviewed is good",
)


def render_texts() -> dict[str, bytes]:
    """File name below `/web/` to JSON: `codes/CODE.json` for each code, and `trust/covered.json`."""
    texts = {f"codes/{row.code}.json": msgspec.json.encode(row._asdict()) for row in CODES}
    covered = {
        "fields": [{"name": row.name, "words": _WORDS[row.name], "when": row.mandatory} for row in FIELDS],
        "bindings": [{"name": row.name, "words": row.meaning} for row in BINDINGS],
        "sealed": _SEALED,
        "not_covered": NOT_COVERED,
    }
    return {**texts, "trust/covered.json": msgspec.json.encode(covered)}

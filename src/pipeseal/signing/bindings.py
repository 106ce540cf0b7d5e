"""Bindings: what else a signature says about where a step may run, as signed variables a stock agent enforces too.

One table. A binding is an `env::NAME` field: the job's environment must hold exactly the signed value, and a missing
variable is refused, not taken for an empty one. So an uploader binds only what it was told itself: the runner's job
comes from the same control plane, by the same rules of what is sent. A name is bound when the uploader's environment
has it, with two refinements in the table: an empty slug or id says nothing, and a commit is bound only by its full
object id.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from pipeseal.errors import ConfigurationError
from pipeseal.pipeline.object_id import is_object_id


class Binding(NamedTuple):
    """One row.

    Parameters:
        name: the variable.
        meaning: what the step is tied to, for docs and listings.
        empty_counts: whether an empty value is an answer (no tag, no branch) or the lack of one.
        static: whether a signature made outside a build can know it.
    """

    name: str
    meaning: str
    empty_counts: bool
    static: bool


STEP_KEY = "BUILDKITE_STEP_KEY"
COMMIT = "BUILDKITE_COMMIT"

# Not a binding: the step variable that carries the step's seal (`seal/`), whose members bind much more.
SEAL = "PIPESEAL_SEAL"

BINDINGS: tuple[Binding, ...] = (
    Binding("BUILDKITE_ORGANIZATION_SLUG", "this organisation only", empty_counts=False, static=True),
    Binding("BUILDKITE_PIPELINE_SLUG", "this pipeline only", empty_counts=False, static=True),
    Binding("BUILDKITE_BUILD_ID", "this build only", empty_counts=False, static=False),
    Binding(COMMIT, "this commit only", empty_counts=False, static=False),
    Binding("BUILDKITE_BRANCH", "this branch only", empty_counts=True, static=False),
    Binding("BUILDKITE_TAG", "this tag only, or no tag", empty_counts=True, static=True),
    Binding("BUILDKITE_PULL_REQUEST", "this pull request only, or none", empty_counts=True, static=True),
    Binding(STEP_KEY, "this step only", empty_counts=False, static=False),
)


def uploader_bindings(environment: Mapping[str, str]) -> dict[str, str]:
    """What an uploader can bind its steps to, from its own job's environment.

    `BUILDKITE_COMMIT` should be resolved by the caller; it is left out while it is not a full object id (`HEAD`, a
    branch, an abbreviation). `BUILDKITE_STEP_KEY` is not in the result: the variable here is the uploading step's
    own, and signing adds each signed step's key itself.

    Parameters:
        environment: the uploading job's variables.

    Returns:
        Variable name to value, in the table's order.
    """
    return {
        row.name: environment[row.name]
        for row in BINDINGS
        if row.name != STEP_KEY
        and row.name in environment
        and (row.empty_counts or environment[row.name])
        and (row.name != COMMIT or is_object_id(environment[row.name]))
    }


def static_bindings(
    *,
    organization: str | None = None,
    pipeline: str | None = None,
    tag: str | None = None,
    pull_request: str | None = None,
) -> dict[str, str]:
    """What steps that are signed outside any build can be bound to: what stays the same in every build.

    Parameters:
        organization: organisation slug, None not to bind it.
        pipeline: pipeline slug, None not to bind it.
        tag: tag, `""` for "not a tag build", None not to bind it.
        pull_request: number as text, `"false"` for "not a pull request", None not to bind it.

    Raises:
        ConfigurationError: `binding.unusable`: an empty slug, which would bind to nothing.
    """
    given = {
        "BUILDKITE_ORGANIZATION_SLUG": organization,
        "BUILDKITE_PIPELINE_SLUG": pipeline,
        "BUILDKITE_TAG": tag,
        "BUILDKITE_PULL_REQUEST": pull_request,
    }
    bindings = {name: value for name, value in given.items() if value is not None}
    check_bindings(bindings)
    return bindings


def check_bindings(bindings: Mapping[str, str]) -> None:
    """Refuse bindings that the table does not have or that would say nothing.

    Parameters:
        bindings: variable name to value, as asked for by a caller.

    Raises:
        ConfigurationError: `binding.unusable`.
    """
    rows = {row.name: row for row in BINDINGS}
    for name, value in bindings.items():
        row = rows.get(name)
        if row is None or name == STEP_KEY:
            why = "is not a variable that steps are bound to"
        elif not value and not row.empty_counts:
            why = "has no value, so a binding to it would say nothing"
        elif name == COMMIT and not is_object_id(value):
            why = f"is {value!r}, not a full object id, so it can mean another commit tomorrow"
        else:
            continue
        raise ConfigurationError(
            "binding.unusable",
            f"{name} {why}",
            help="resolve it first, or leave this binding out",
        )

"""The combinations of a matrix, and the error for more jobs than a server takes."""

from __future__ import annotations

from collections.abc import Iterator
from math import prod

from pipeseal.errors import MalformedInput
from pipeseal.pipeline.steps import Matrix


def read_combinations(
    matrix: Matrix | None, limit: int, where: str
) -> Iterator[tuple[dict[str, str] | None, str | None]]:
    """Each combination, with the reason if it is skipped; `(None, None)` once without a matrix.

    Parameters:
        limit: combinations that one matrix may have.
        where: the step, for errors.

    Raises:
        MalformedInput: `upload.limit`.
    """
    if matrix is None or not (matrix.setup or matrix.adjustments):
        yield None, None
        return
    adjusted: dict[tuple[tuple[str, str], ...], str | None] = {}
    for adjustment in matrix.adjustments:
        if adjustment is not None and adjustment.combination is not None:
            # Anything but null and false skips, as it does for the agent that checks the combination.
            skipped = adjustment.skip is not None and adjustment.skip is not False
            reason = adjustment.skip if isinstance(adjustment.skip, str) else ""
            adjusted[tuple(sorted(adjustment.combination.items()))] = reason if skipped else None
    setup = {name: values or [] for name, values in (matrix.setup or {}).items()}
    count = prod(len(values) for values in setup.values())
    if count > limit:
        raise over_limit(where, count, "one matrix", "max_jobs_per_matrix", limit)
    combinations: list[dict[str, str]] = [{}] if setup else []
    for name, values in setup.items():
        combinations = [{**before, name: value} for before in combinations for value in values]
    seen = {tuple(sorted(combination.items())) for combination in combinations}
    combinations += [dict(extra) for extra in adjusted if extra not in seen]
    if len(combinations) > limit:
        raise over_limit(where, len(combinations), "one matrix", "max_jobs_per_matrix", limit)
    for combination in combinations:
        yield combination, adjusted.get(tuple(sorted(combination.items())))


def over_limit(where: str, count: int, what: str, name: str, limit: int, *, at_least: bool = False) -> MalformedInput:
    """The error for more jobs than a limit allows.

    Parameters:
        where: the step; empty when it is about more than one.
        what: in what there are too many.
        name: of the limit.
    """
    prefix = f"{where}: " if where else ""
    amount = f"{count} or more" if at_least else str(count)
    return MalformedInput(
        "upload.limit",
        f"{prefix}{amount} jobs in {what}; the limit is {limit} ({name})",
        help=f"split it, or start the server with --{name.replace('_', '-')}",
    )


def over_build_limit(count: int, limit: int) -> MalformedInput:
    """The error for a build that would have too many jobs."""
    return over_limit("", count, "one build", "max_jobs_per_build", limit)

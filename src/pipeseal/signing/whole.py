"""What proven steps say there must be: a control plane can hold back a job, but not what the others say of it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import islice, product
from typing import Any, Final, NamedTuple, TypeAlias

from pipeseal.errors import VerificationError
from pipeseal.pipeline.matrix import verify_permutation
from pipeseal.pipeline.steps import Matrix
from pipeseal.signing.evidence import ProvenStep, ShownJob

# More combinations of one matrix, or jobs of one step, than any server makes.
_MOST: Final = 5000

_Place: TypeAlias = "tuple[tuple[tuple[str, str], ...], int | None]"


class _Step(NamedTuple):
    """The jobs that are shown of one proven step."""

    jobs: list[ShownJob]
    proven: ProvenStep


def find_left_out(proven: Sequence[tuple[ShownJob, ProvenStep]], undecided: Iterable[ShownJob]) -> list[str]:
    """What is not shown although the proven steps speak of it, one sentence each; none when all is there.

    1. Of a step with a matrix, or one that runs several times, there is a job for each combination and number.
    2. Steps of one upload are numbered from 0 on: there is none missing between those that are shown.
    3. A step that says which step uploaded it says so by that one's seal: it is shown too.

    Does not check: that nothing is left out at the end of an upload, nor a whole upload of which nothing is shown. A
    step that is shown in another way than it was signed, without its signature for one, is not shown.

    Parameters:
        proven: each job whose step was proven, with what was proven of it.
        undecided: jobs that could not be checked; any of them may be what seems to be missing.
    """
    steps = _steps(proven)
    said = [sentence for step in steps if (sentence := _lacking_jobs(step))]
    sealed = [step for step in steps if step.proven.seal is not None]
    doubtful = len({_step_id(shown) for shown in undecided})
    # 2. docs/spec/seal.md section 3, `parent`
    uploads: dict[str, set[int]] = {}
    for step in sealed:
        parent = step.proven.seal.seal.parent if step.proven.seal is not None else None
        if parent is not None and parent.upload is not None:
            uploads.setdefault(parent.upload, set()).add(parent.position)
    for positions in uploads.values():
        gaps = max(positions) + 1 - len(positions) - doubtful
        if gaps > 0:
            more = "another step, which" if gaps == 1 else f"{gaps} more steps, which"
            said.append(f"an upload had {more} the server does not show as signed")
    # 3.
    digests = {step.proven.seal.digest for step in sealed if step.proven.seal is not None}
    for step in sealed:
        parent = step.proven.seal.seal.parent if step.proven.seal is not None else None
        if not doubtful and parent is not None and parent.seal is not None and parent.seal not in digests:
            said.append(f"{step.jobs[0].name} was uploaded by a step that the server does not show as signed")
            break
    return said


def _steps(proven: Sequence[tuple[ShownJob, ProvenStep]]) -> list[_Step]:
    steps: dict[str, _Step] = {}
    for shown, step in proven:
        # A seal is of one step alone; without one the server's word must do.
        key = step.seal.digest if step.seal is not None else f"step {_step_id(shown)}"
        steps.setdefault(key, _Step([], step)).jobs.append(shown)
    return list(steps.values())


def _step_id(shown: ShownJob) -> str:
    step = shown.job.get("step")
    named = step.get("id") if isinstance(step, dict) else None
    return str(named or shown.job.get("id"))


def _lacking_jobs(step: _Step) -> str:
    # 1.
    count = step.proven.seal.seal.members["step"]["parallelism"] if step.proven.seal is not None else None
    indexes: Sequence[int | None] = [None] if count is None else range(min(count, _MOST))
    there = {_place(shown.job.get("matrix"), None if count is None else _index(shown)) for shown in step.jobs}
    wanted = [_place(combination, index) for combination in _combinations(step.proven.matrix) for index in indexes]
    lacking = sum(place not in there for place in wanted)
    if not lacking:
        return ""
    return f"{step.jobs[0].name} was signed as {len(wanted)} jobs, and the server does not show {lacking} of them"


def _index(shown: ShownJob) -> int | None:
    index = shown.job.get("parallel_group_index")
    return index if isinstance(index, int) else None


def _place(combination: Any, index: int | None) -> _Place:
    chosen: Mapping[str, Any] = combination if isinstance(combination, dict) else {}
    return tuple(sorted((name, str(value)) for name, value in chosen.items())), index


def _combinations(matrix: Matrix | None) -> list[dict[str, str]]:
    """The combinations that a signed matrix makes jobs of; those it skips need not be shown."""
    if matrix is None or not (matrix.setup or matrix.adjustments):
        return [{}]
    setup = {name: values or [] for name, values in (matrix.setup or {}).items()}
    every = (dict(zip(setup, values, strict=True)) for values in product(*setup.values()))
    found = [*islice(every, _MOST)] if setup else []
    found += [one.combination for one in matrix.adjustments if one is not None and one.combination is not None]
    wanted = {_place(combination, None): combination for combination in found}
    return [combination for combination in wanted.values() if _is_made(matrix, combination)]


def _is_made(matrix: Matrix, combination: dict[str, str]) -> bool:
    try:
        verify_permutation(matrix, combination)
    except VerificationError:
        return False  # skipped, or a matrix that no agent takes any job of
    return True

"""Matrix of a command step: its forms, which combinations it allows, and putting one into the step."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Final

from pipeseal.errors import MalformedInput, VerificationError
from pipeseal.pipeline.coerce import Misfit, Path, name, spread_nameless, text_of, texts_of, without
from pipeseal.pipeline.interpolate import MAX_CHARACTERS
from pipeseal.pipeline.steps import Adjustment, CommandStep, Matrix
from pipeseal.pipeline.transform import Located, transform_step
from pipeseal.pipeline.values import MAX_INT64, Value, describe

# `{{`, the word, optionally a dot and a dimension, `}}`. White space is the reference's: no vertical tab.
_TOKEN: Final = re.compile(r"\{\{[\t\n\f\r ]*matrix(\.[0-9A-Za-z_.\-]+)?[\t\n\f\r ]*\}\}")


def matrix_of(value: Value, path: Path) -> Matrix | None:
    """The matrix; None for null.

    Parameters:
        value: a list (one dimension without a name), a mapping with `setup` and `adjustments`, or null.
        path: where it stands.

    Raises:
        Misfit: anything else.
    """
    if value is None:
        return None
    if isinstance(value, list):
        return Matrix({"": texts_of(value, path) or []})
    if not isinstance(value, dict):
        raise Misfit(path, f"{name(path)} is {describe(value)}, and a list or a mapping is wanted")
    value = spread_nameless(value, ("setup", "adjustments"))
    setup = _setup_of(value["setup"], (*path, "setup")) if "setup" in value else None
    adjustments = _adjustments_of(value.get("adjustments"), (*path, "adjustments"))
    return Matrix(setup, adjustments, without(value, ("setup", "adjustments")))


def _setup_of(value: Value, path: Path) -> dict[str, list[str] | None]:
    if isinstance(value, list):
        return {"": texts_of(value, path) or []}
    if not isinstance(value, dict):
        raise Misfit(path, f"{name(path)} is {describe(value)}, and a list or a mapping of dimensions is wanted")
    return {dimension: texts_of(item, (*path, dimension)) for dimension, item in value.items()}


def _adjustments_of(value: Value, path: Path) -> list[Adjustment | None]:
    if value is None:
        return []
    if not isinstance(value, list):
        raise Misfit(path, f"{name(path)} is {describe(value)}, and a list is wanted")
    return [_adjustment_of(item, (*path, index)) for index, item in enumerate(value)]


def _adjustment_of(value: Value, path: Path) -> Adjustment | None:
    if value is None:
        return None
    if not isinstance(value, dict):
        raise Misfit(path, f"{name(path)} is {describe(value)}, and a mapping is wanted")
    value = spread_nameless(value, ("with", "skip"))
    combination = _combination_of(value["with"], (*path, "with")) if "with" in value else None
    return Adjustment(combination, value.get("skip"), without(value, ("with", "skip")))


def _combination_of(value: Value, path: Path) -> dict[str, str]:
    if isinstance(value, dict):
        return {dimension: _selection(item, (*path, dimension)) for dimension, item in value.items()}
    return {"": _selection(value, path)}


def _selection(value: Value, path: Path) -> str:
    if isinstance(value, str) or (isinstance(value, int) and value <= MAX_INT64):
        return text_of(value, path)
    raise Misfit(path, f"{name(path)} is {describe(value)}, and text, a whole number or a boolean is wanted")


def verify_permutation(matrix: Matrix | None, permutation: Mapping[str, str]) -> None:
    """Check that a matrix allows a combination of values.

    1. Without a matrix only the empty combination is allowed.
    2. The combination has a value for each dimension, and no other dimension.
    3. Every adjustment has the matrix's dimensions, whether it is about this combination or not.
    4. No adjustment about this combination skips it.
    5. Every value stands in its dimension's list, or an adjustment is about exactly this combination.

    Does not check: where the combination came from.

    Parameters:
        matrix: the step's matrix, None when it has none.
        permutation: dimension name (empty for the one without a name) to value.

    Raises:
        VerificationError: `matrix.permutation`, `matrix.adjustment`, `matrix.skipped`.
    """
    # 1.
    if matrix is None:
        if permutation:
            raise _mismatch("the job has matrix values, and its step has no matrix", permutation)
        return
    # 2.
    setup = matrix.setup or {}
    if len(permutation) != len(setup):
        count = f"{len(permutation)} matrix value{'' if len(permutation) == 1 else 's'}"
        raise _mismatch(f"the job has {count}, and the matrix {_dimensions(len(setup))}", permutation)
    for dimension in permutation:
        if setup.get(dimension) is None:
            raise _mismatch(f"the matrix has no {_dimension(dimension)}", permutation)
    allowed = all(value in (setup[dimension] or ()) for dimension, value in permutation.items())
    for index, adjustment in enumerate(matrix.adjustments):
        # 3.
        if adjustment is None:
            raise _broken(index, "is null")
        combination = adjustment.combination or {}
        if len(combination) != len(setup):
            raise _broken(index, f"has {len(combination)} values for {_dimensions(len(setup))}")
        for dimension in combination:
            if setup.get(dimension) is None:
                raise _broken(index, f"names the unknown {_dimension(dimension)}")
        if combination == permutation:
            # 4. Anything but a boolean skips: text, also empty, and numbers, also 0.
            if adjustment.skip is not None and adjustment.skip is not False:
                raise VerificationError(
                    "matrix.skipped",
                    f"adjustment {index + 1} of the matrix skips this combination",
                    evidence=_shown(permutation),
                )
            allowed = True
    # 5.
    if not allowed:
        raise _mismatch("the matrix does not allow this combination of values", permutation)


def _dimensions(count: int) -> str:
    return "1 dimension" if count == 1 else f"{count} dimensions"


def _dimension(dimension: str) -> str:
    return f"dimension `{dimension}`" if dimension else "dimension without a name"


def _shown(permutation: Mapping[str, str]) -> dict[str, str]:
    return {f"matrix.{dimension}" if dimension else "matrix": value for dimension, value in permutation.items()}


def _mismatch(message: str, permutation: Mapping[str, str]) -> VerificationError:
    return VerificationError("matrix.permutation", message, evidence=_shown(permutation))


def _broken(index: int, what: str) -> VerificationError:
    return VerificationError("matrix.adjustment", f"adjustment {index + 1} of the matrix {what}")


def interpolate_matrix(step: CommandStep, permutation: Mapping[str, str]) -> CommandStep:
    """The step for one combination of its matrix: checked, then put in place of `{{matrix}}` and `{{matrix.NAME}}`.

    Command, label, plugins, values of variables, cache, unknown checkout members and unknown members are replaced;
    key, names of variables, the matrix itself, secrets and the signature are not. Values are not scanned again.

    Parameters:
        step: the step; stays as it is.
        permutation: dimension name to value; empty for a step without a matrix.

    Returns:
        A new step; values without tokens are shared with the old one.

    Raises:
        VerificationError: the combination is not allowed, see `verify_permutation`.
        MalformedInput: `matrix.token`: a token names a dimension that the combination does not have;
            `input.too_large`.
    """
    verify_permutation(step.matrix, permutation)
    if not permutation:
        return replace(step)
    values = {f".{dimension}" if dimension else "": value for dimension, value in permutation.items()}

    left = MAX_CHARACTERS

    def put(match: re.Match[str]) -> str:
        nonlocal left
        token = match[1] or ""
        if token not in values:
            raise MalformedInput(
                "matrix.token",
                f"{match[0]!r} names no dimension of the matrix",
                evidence={"dimensions": ", ".join(sorted(permutation))},
            )
        left -= len(values[token])
        if left < 0:
            raise MalformedInput("input.too_large", "the step is too large once its matrix values are in place")
        return values[token]

    def rewrite(text: str) -> str:
        return _TOKEN.sub(put, text) if "{{" in text else text

    try:
        return transform_step(step, rewrite, everything=False)
    except Located as located:
        error = located.error
        raise MalformedInput(
            error.code, f"{name(located.path)}: {error.message}", help=error.help, evidence=error.evidence
        ) from None

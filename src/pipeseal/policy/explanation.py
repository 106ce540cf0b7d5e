"""The block that tells a job's reader why it was refused: what, who signed, likely causes, what to do."""

from __future__ import annotations

import textwrap

from pipeseal.errors import VerificationError, escape_control
from pipeseal.errors.codes import find_code

_WIDTH = 112


def explain_failure(
    error: VerificationError, *, refused: bool, signal_reason: str = "signature_rejected"
) -> tuple[str, ...]:
    """Lines for the job's log, safe for a terminal; they follow the stock agent's own.

    Parameters:
        error: why the job was not proven, or not allowed.
        refused: whether it is refused, or runs all the same.
        signal_reason: what is reported of a refused job.
    """
    row = find_code(error.code)
    word = "refused" if refused else "would be refused"
    lines = [f"{word}[{error.code}]: {escape_control(error.message)}"]
    if error.fields:
        lines.append(f"  {'fields':<12} {escape_control(', '.join(error.fields))}")
    lines += [f"  {escape_control(name):<12} {escape_control(value)}" for name, value in error.evidence.items()]
    if row is not None:
        for number, cause in enumerate(row.causes):
            lines += _wrapped("likely" if number == 0 else "or", cause)
        lines += _wrapped("do", row.fix)
    lines.append(f"  {'more':<12} pipeseal explain {error.code}")
    if refused:
        lines.append(f"Nothing was run. Exit status -1, signal_reason {signal_reason} ({error.code}).")
    return tuple(lines)


def _wrapped(name: str, text: str) -> list[str]:
    return textwrap.wrap(text, _WIDTH, initial_indent=f"  {name:<12} ", subsequent_indent=" " * 15)

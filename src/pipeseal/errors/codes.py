"""The one table of codes: what each means, its harmless causes first, and what to do.

`pipeseal explain CODE` prints a row, `docs/reference/refusals.md` is generated from all of them, and a test holds
that every code in the sources is here and that every row here is produced by some test. Codes are never reused.
"""

from __future__ import annotations

from typing import NamedTuple


class Code(NamedTuple):
    """One row.

    Parameters:
        code: dotted name, lower case; the part before the dot groups codes in the docs.
        title: a few words, for headings and lists.
        meaning: one or two sentences: what was found.
        causes: likely causes, harmless ones first.
        fix: what to do now.
    """

    code: str
    title: str
    meaning: str
    causes: tuple[str, ...]
    fix: str


# Grouped by what is being judged. Keep rows of one group together and in the order in which the checks happen.
CODES: tuple[Code, ...] = (
    # --- signature: is the step what its signer signed? -------------------------------------------------------
    Code(
        "signature.missing",
        "no signature",
        "The job's step carries no signature, and this agent runs only signed steps.",
        (
            "the pipeline was uploaded by an agent without a signing key",
            "the steps in the pipeline's settings were saved without being signed",
            "somebody removed the signature on the way",
        ),
        "Sign at upload (give the uploader a signing key), or sign steps kept in settings with `pipeseal tool sign`.",
    ),
    # --- init: setting up -------------------------------------------------------------------------------------
    Code(
        "init.exists",
        "the folder already holds keys or settings",
        "`pipeseal init` found files of its own in the folder, and it never overwrites anything.",
        ("it was run before", "the folder belongs to another set-up"),
        "Use what is there, or give another folder with `--directory`.",
    ),
    # --- stage: demonstrations and drills ---------------------------------------------------------------------
    Code(
        "stage.not_ready",
        "a process on the stage did not get ready",
        "A demonstration or drill started one of its own processes, and it ended or stayed silent.",
        ("the machine is very busy", "a port or folder could not be used; the message holds what the process said"),
        "Read what the process said, mend that, and run the command again.",
    ),
)

BY_CODE: dict[str, Code] = {row.code: row for row in CODES}


def find_code(code: str) -> Code | None:
    """The row of `code`, or None when the table has no such code."""
    return BY_CODE.get(code)

"""Write the reference pages that are made from tables in the code, so that they cannot lie.

make docs            write them
docs/generate.py -c  say which are out of date, and exit with 1 if any is (the tests do this)
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

from pipeseal.errors.codes import CODES

REFERENCE = Path(__file__).parent / "reference"


def refusals_page() -> str:
    """`refusals.md`: every code, its meaning, causes and what to do."""
    parts = [
        "# Codes\n",
        "Every error and every refusal carries one of these codes; `pipeseal explain CODE` prints the same text\n"
        "offline. Codes are stable and never used again for something else. This page is generated from the table\n"
        "in the code.\n",
    ]
    group = ""
    for row in CODES:
        head = row.code.split(".")[0]
        if head != group:
            group = head
            parts.append(f"## {group}\n")
        parts.append(f"### `{row.code}`: {row.title}\n")
        parts.append(f"{row.meaning}\n")
        parts.append("Likely causes, harmless ones first:\n")
        parts.append("\n".join(f"{n}. {cause}" for n, cause in enumerate(row.causes, 1)) + "\n")
        parts.append(f"What to do: {row.fix}\n")
    return "\n".join(parts)


PAGES: dict[str, Callable[[], str]] = {"refusals.md": refusals_page}


def main(arguments: list[str]) -> int:
    """Write the pages, or with `-c` only compare them."""
    stale = []
    for name, render in PAGES.items():
        path, text = REFERENCE / name, render()
        if not path.exists() or path.read_text(encoding="utf-8") != text:
            stale.append(name)
            if "-c" not in arguments:
                path.write_text(text, encoding="utf-8")
    for name in stale:
        sys.stdout.write(f"{'out of date' if '-c' in arguments else 'wrote'}: docs/reference/{name}\n")
    return 1 if stale and "-c" in arguments else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

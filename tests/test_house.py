"""The house rules that a machine can hold: one table of codes, generated pages that are true, quick start-up."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from pipeseal.cli import COMMANDS, GROUP_HELP, root
from pipeseal.errors.codes import CODES

ROOT = Path(__file__).parent.parent
SOURCES = [path for path in (ROOT / "src").rglob("*.py") if path.parent.name != "codes"]

# A dotted code as the first argument of an error, or as a value named code.
RAISED = re.compile(
    r"(?:MalformedInput|VerificationError|Unavailable|ConfigurationError|Refused|Refusal)\(\s*(?:code=)?\"([a-z_]+(?:\.[a-z_]+)+)\""
    r"|\bcode(?:: str)?\s*=\s*\"([a-z_]+(?:\.[a-z_]+)+)\""
)


def _raised_codes() -> dict[str, str]:
    return {
        match.group(1) or match.group(2): str(path.relative_to(ROOT))
        for path in SOURCES
        for match in RAISED.finditer(path.read_text(encoding="utf-8"))
    }


def test_every_code_in_the_sources_is_in_the_table() -> None:
    known = {row.code for row in CODES}
    assert {code: where for code, where in _raised_codes().items() if code not in known} == {}


def test_every_code_in_the_table_is_used_in_the_sources() -> None:
    text = "\n".join(path.read_text(encoding="utf-8") for path in SOURCES)
    assert [row.code for row in CODES if f'"{row.code}"' not in text] == []


def test_every_code_is_produced_by_a_test() -> None:
    text = "\n".join(path.read_text(encoding="utf-8") for path in (ROOT / "tests").rglob("*.py"))
    assert [row.code for row in CODES if f'"{row.code}"' not in text] == []


def test_codes_are_unique_and_rows_complete() -> None:
    codes = [row.code for row in CODES]
    assert len(codes) == len(set(codes))
    for row in CODES:
        assert re.fullmatch(r"[a-z_]+(\.[a-z_]+)+", row.code), row.code
        assert row.meaning and row.causes and row.fix, row.code


def test_generated_pages_are_up_to_date() -> None:
    result = subprocess.run(
        [sys.executable, ROOT / "docs/generate.py", "-c"], capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stdout


@pytest.mark.parametrize("path", sorted(COMMANDS))
def test_every_command_has_help_with_its_promised_first_line(path: str) -> None:
    from click.testing import CliRunner

    result = CliRunner().invoke(root, [*path.split(" "), "--help"])
    assert result.exit_code == 0, result.output
    assert COMMANDS[path][1].split(" ")[0] in result.output


def test_help_imports_nothing_heavy() -> None:
    heavy = [
        "cryptography",
        "yaml",
        "msgspec",
        "orjson",
        "starlette",
        "uvicorn",
        "rich",
        "ruamel",
        "nacl",
        "rfc8785",
        "asyncio",
        "http.client",
    ]
    code = f"""
import sys
from pipeseal.cli import main
try:
    main(["--help"])
except SystemExit:
    pass
print("LOADED", [name for name in {heavy!r} if name in sys.modules])
"""
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.splitlines()[-1] == "LOADED []"


def test_groups_have_help() -> None:
    assert {path.split(" ")[0] for path in COMMANDS if " " in path} == set(GROUP_HELP)


def test_documentation_links_lead_somewhere() -> None:
    broken = []
    for page in [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")]:
        for target in re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", page.read_text(encoding="utf-8")):
            if "://" not in target and not (page.parent / target).exists():
                broken.append(f"{page.relative_to(ROOT)} -> {target}")
    assert broken == []

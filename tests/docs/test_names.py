"""What pages name exists: codes, commands with their options, settings of agents, whole policies."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
from click.testing import CliRunner
from markdown_it import MarkdownIt

from pipeseal.agent.options import OPTIONS
from pipeseal.agentapi.job_messages import Annotation, OidcTokenRequest
from pipeseal.agentapi.messages import (
    Decision,
    FinishRequest,
    ObservedFinding,
    PipelineUpload,
    Refusal,
    RegisterRequest,
    StartRequest,
)
from pipeseal.agentapi.routes import ROUTES
from pipeseal.cli import COMMANDS, root
from pipeseal.errors.codes import CODES

from .pages import DOCS, PAGES, ROOT, read_blocks, read_commands

_CODE = re.compile(r"[a-z_]+\.[a-z_]+")
_FILES = frozenset(("cfg", "json", "jsonl", "lock", "md", "py", "service", "sqlite", "toml", "yaml", "yml"))
# What only looks like a code: functions, events, rows of measurements, members of jobs.
_NO_CODES = frozenset(
    ("policy.evaluate", "job.finished", "job.token", "log.read", "signature.signed_fields", "signature.algorithm")
)
_MEMBERS = re.compile(r"(?:step|build|checkout)\.[a-z_]+")


def _inline(page: Path) -> Iterator[str]:
    for token in MarkdownIt("commonmark").enable("table").parse(page.read_text(encoding="utf-8")):
        for child in token.children or []:
            if child.type == "code_inline":
                yield child.content


def test_codes_that_pages_name_exist() -> None:
    known = {row.code for row in CODES}
    groups = {code.partition(".")[0] for code in known}
    missing = [
        f"{page.relative_to(ROOT)}: {text}"
        for page in PAGES
        for text in _inline(page)
        if _CODE.fullmatch(text)
        and text.partition(".")[0] in groups
        and text.rpartition(".")[2] not in _FILES
        and not _MEMBERS.fullmatch(text)
        and text not in known | _NO_CODES
    ]
    assert missing == []


def _command_lines() -> Iterator[tuple[str, list[str]]]:
    for page in PAGES:
        name = str(page.relative_to(ROOT))
        blocks = [line for block in read_blocks(page) if block.reason for line in block.text.splitlines()]
        for text in [*_inline(page), *blocks, *(command.text for command in read_commands(page))]:
            if text.startswith("pipeseal "):
                try:
                    yield name, shlex.split(text.replace("\\\n", " "), comments=True)
                except ValueError:
                    yield name, text.split()


def _find(words: list[str]) -> tuple[click.Command | None, list[str]]:
    for length in (2, 1):
        path = " ".join(words[1 : 1 + length])
        if path in COMMANDS:
            command: click.Command = root
            with click.Context(root) as context:
                for word in path.split():
                    assert isinstance(command, click.Group)
                    found = command.get_command(context, word)
                    assert found is not None
                    command = found
            return command, words[1 + length :]
    return None, []


def test_commands_and_options_that_pages_name_exist() -> None:
    wrong = []
    seen = 0
    for page, words in _command_lines():
        command, rest = _find(words)
        if command is None:
            # `pipeseal keys list|rotate|revoke`, and the bare names of groups.
            if words[1].lstrip("-") not in {path.split()[0] for path in COMMANDS} | {"help", "version", "..."}:
                wrong.append(f"{page}: {' '.join(words)}")
            continue
        known = {option for parameter in command.params for option in (*parameter.opts, *parameter.secondary_opts)}
        for word in rest:
            if word in {"|", ";", "&&", ">", "&"}:
                break
            option = word.split("=")[0].rstrip(";")
            seen += option.startswith("--")
            if option.startswith("--") and option not in known | {"--help"}:
                wrong.append(f"{page}: {' '.join(words[:3])} has no {option}")
    assert wrong == []
    assert seen > 60


def test_settings_of_agents_that_examples_have_exist() -> None:
    known = {option.name for option in OPTIONS}
    named = [
        (str(page.relative_to(ROOT)), line.partition("=")[0].strip())
        for page in PAGES
        for block in read_blocks(page)
        if block.info == "ini"
        for line in block.text.splitlines()
        if "=" in line and not line.startswith("#")
    ]
    assert [where for where in named if where[1] not in known] == []


def test_what_leaves_is_told_of_every_call_and_field() -> None:
    page = (DOCS / "security" / "what-stays-with-you.md").read_text(encoding="utf-8")
    rows = [line.split("|")[1:3] for line in page.partition("## Every call")[2].splitlines() if line[:3] == "| `"]
    told = {name: sent for calls, sent in rows for name in re.findall(r"`(\w+)`", calls)}
    assert sorted(told) == sorted(route.name for route in ROUTES)
    bodies = {
        "register": RegisterRequest.__struct_fields__,
        "heartbeat": ("sent_at",),
        "start_job": StartRequest.__struct_fields__,
        "finish_job": {
            *FinishRequest.__struct_fields__,
            *Refusal.__struct_fields__,
            *Decision.__struct_fields__,
            *ObservedFinding.__struct_fields__,
        }
        - {"refusal", "decision"},
        "upload_pipeline": PipelineUpload.__struct_fields__,
        "annotate": Annotation.__annotations__,
        "request_oidc_token": OidcTokenRequest.__annotations__,
    }
    for call, fields in bodies.items():
        assert set(re.findall(r"`(\w+)`", told[call])) == set(fields), call


POLICIES = [
    (f"{page.name}:{block.line}", block.text)
    for page in (DOCS / "how-to" / "policy-recipes.md", DOCS / "reference" / "policy.md")
    for block in read_blocks(page)
    if block.info == "toml" and "version = 1" in block.text
]


@pytest.mark.parametrize("text", [text for _, text in POLICIES], ids=[name for name, _ in POLICIES])
def test_policies_of_the_pages_are_policies(text: str, tmp_path: Path) -> None:
    (tmp_path / "allowed_signers").write_text(
        "signer@example.org ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIOMqqnkVzrm0SdG6UOoqKLsabgH5C9okWi0dh2l9GKJl\n"
    )
    (tmp_path / "release-managers.asc").write_text("")
    policy = tmp_path / "policy.toml"
    policy.write_text(text, encoding="utf-8")
    tmp_path.chmod(0o700)
    result = CliRunner().invoke(root, ["policy", "check", str(policy)], catch_exceptions=True)
    assert result.exit_code == 0, result.output or result.exception

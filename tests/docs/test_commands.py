"""Every command of the documentation is run as it stands, or says why it is not."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from benchmarks.peers import find_peer
from docs.console import Command

from .pages import DOCS, PAGES, ROOT, read_blocks, read_commands
from .stage import Stage

FIVE_MINUTES = DOCS / "tutorials" / "five-minutes.md"

# What the reader of a page has already, as its beginning says.
_APP = (
    "pipeseal server &",
    "printf 'steps: [{command: true}]' > steps.yml",
    "pipeseal pipeline create app --repository git@example.org:acme/app.git --steps steps.yml",
)
_ELSEWHERE = (
    "pipeseal server --organization acme --data ~/elsewhere &",
    "cp ~/elsewhere/agent-token ~/elsewhere/api-token ~",
    "export PIPESEAL_TOKEN_FILE=~/api-token",
    "printf 'steps: [{command: buildkite-agent pipeline upload}]' > unsigned.yml",
    "PIPESEAL_ORGANIZATION=acme pipeseal pipeline create app --repository git@example.org:acme/app.git"
    " --steps unsigned.yml",
)
# A repository on somebody's server, by way of the git configuration that the page tells of.
_PLUGIN = (
    "git init --quiet --initial-branch=main plugin && git -C plugin commit --quiet --allow-empty --message=Begin",
    "git -C plugin tag v5.12.0",
    "export PIPESEAL_GIT_CONFIG_FILE=~/git-config",
    "git config --file ~/git-config url.file://$HOME/plugin.insteadOf "
    "https://github.com/buildkite-plugins/docker-buildkite-plugin",
    "git clone --quiet git@example.org:acme/app.git && cd app",
    "printf 'steps: [{command: make, plugins: [{docker#v5.12.0: {image: alpine}}]}]' > .buildkite/pipeline.yml",
)
BEFORE: dict[str, tuple[str, ...]] = {
    "docs/how-to/keys.md": ("pipeseal init --key-id uploader-1a2b3c4d",),
    "docs/how-to/plugins.md": _PLUGIN,
    "docs/how-to/public-pipelines.md": _APP,
    "docs/tutorials/existing-control-plane.md": _ELSEWHERE,
}
# Programs of others that a page needs.
PEERS = {
    "docs/how-to/public-pipelines.md": "curl",
    "docs/tutorials/stock-agents.md": "buildkite-agent",
}


def _name(page: Path) -> str:
    return page.relative_to(ROOT).as_posix()


RUN = {_name(page): page for page in PAGES if read_commands(page)}


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder with a short path: sockets lie below it, and theirs may have 108 bytes."""
    with TemporaryDirectory(prefix="page-", ignore_cleanup_errors=True) as path:
        yield Path(path)


@pytest.mark.parametrize(
    "page",
    [
        pytest.param(name, marks=pytest.mark.peer(PEERS[name]) if name in PEERS else [])
        for name in RUN
        if RUN[name] != FIVE_MINUTES
    ],
)
def test_the_commands_of_a_page_do_what_it_says(page: str, folder: Path) -> None:
    peers = [find_peer(PEERS[page])] if page in PEERS else []
    programs = {peer.name: peer.path for peer in peers if peer.path}
    with Stage(folder, programs) as stage:
        for text in BEFORE.get(page, ()):
            ready = ("Listening on ...",) if text.startswith("pipeseal server") else ()
            stage.run(Command(0, text, ready))
        for command in read_commands(RUN[page]):
            stage.run(command)


def test_five_minutes_are_enough(folder: Path, record_property: Callable[[str, object], None]) -> None:
    begun = time.monotonic()
    with Stage(folder, {}) as stage:
        for command in read_commands(FIVE_MINUTES):
            stage.run(command)
        seconds = time.monotonic() - begun
    record_property("summary", f"the tutorial of five minutes: {seconds:.1f} s, without the installation")
    assert seconds < 300


def test_every_block_of_commands_is_run_or_says_why_not(record_property: Callable[[str, object], None]) -> None:
    blocks = [block for page in PAGES for block in read_blocks(page)]
    kinds = {"console", "hcl", "ini", "json", "mermaid", "text", "toml", "yaml"}
    unknown = [f"{_name(block.page)}:{block.line} {block.info!r}" for block in blocks if block.info not in kinds]
    wrong = [where for where in unknown if " 'sh not-run=\"" not in where]
    assert wrong == [], 'fence what can be run as console, what cannot as sh not-run="the reason", the rest as text'
    reasons = Counter(block.reason for block in blocks if block.reason)
    run = sum(len(read_commands(page)) for page in PAGES)
    record_property("summary", f"commands of the documentation: {run} run; {reasons.total()} blocks are not")
    for reason, count in reasons.items():
        record_property("summary", f"commands of the documentation: not run, {count}: {reason}")
    # A page's main way has to be run: more reasons than these need a look.
    assert run > 60 and reasons.total() <= 20

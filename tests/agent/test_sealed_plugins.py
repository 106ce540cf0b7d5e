"""Plugins at the commit they were sealed at: what jobs of before did to the agent's clone of one changes nothing."""

from __future__ import annotations

import json
import textwrap
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pipeseal.pipeline.plugin_place import parse_place
from pipeseal.pipeline.render import step_value
from pipeseal.pipeline.steps import CommandStep, Pipeline, Plugin
from pipeseal.repository.resolve import resolve_plugin
from pipeseal.signing.keys.open import open_signing_key
from pipeseal.signing.seal.envelope import ResolvedPlugin
from pipeseal.signing.seal.make import static_sealing
from pipeseal.signing.sign import sign_pipeline
from tests.agent.agent_process import AgentProcess, agent_process
from tests.agent.fake_server import FakeServer, fake_server
from tests.agent.job_requests import outcome, run, unsigned
from tests.agent.repositories import git, make_repository
from tests.agent.test_trust import Place


class Ground:
    """An agent that verifies, a repository, and a plugin that says what it is."""

    def __init__(self, folder: Path, server: FakeServer, place: Place, agent: AgentProcess) -> None:
        self.folder, self.server, self.place, self.agent = folder, server, place, agent
        self.repository = folder / "widgets"
        make_repository(self.repository, {"file": "one\n"})
        self.plugin = folder / "greet-buildkite-plugin"
        make_repository(self.plugin, {"hooks/pre-command": "echo good plugin\n"}, tag="v1")
        self.source = f"{self.plugin.as_uri()}#v1"
        resolved = resolve_plugin(self.source)
        assert resolved is not None
        self.resolved = resolved

    def job(self, command: str, resolved: ResolvedPlugin | None = None) -> dict[str, Any]:
        url = str(self.repository)
        sealing = static_sealing(repository_url=url, bindings={})._replace(
            resolved={self.source: resolved or self.resolved}
        )
        pipeline = Pipeline(steps=[CommandStep(command=command, plugins=[Plugin(self.source)])])
        key = open_signing_key(str(self.place.signing))
        step = sign_pipeline(pipeline, key=key, repository_url=url, sealing=sealing).steps[0]
        assert isinstance(step, CommandStep)
        raw = self.place.job(command, url, BUILDKITE_PLUGINS=json.dumps([{self.source: None}]), **step.env)
        return {**raw, "step": step_value(step)}

    @property
    def clone(self) -> Path:
        (found,) = (path for path in (self.folder / "plugins/tester").iterdir() if "greet" in path.name)
        return found


@pytest.fixture
def ground(tmp_path: Path) -> Iterator[Ground]:
    (tmp_path / "trust").mkdir()
    place = Place(tmp_path / "trust")
    place.write("policy.toml", 'version = 1\nstatic-steps = "any"\n')
    with fake_server(20) as server, agent_process(server, tmp_path, *place.flags()) as agent:
        yield Ground(tmp_path, server, place, agent)


PLANTS = {
    "a link to another clone": """
        here=$PWD
        cp -r . ../../evil
        echo 'echo evil plugin' > ../../evil/hooks/pre-command
        cd ../../evil && git -c user.name=x -c user.email=x@x commit -qam evil
        rm -rf "$here" && ln -s "$PWD" "$here"
        """,
    "a changed hook": "echo 'echo evil plugin' > hooks/pre-command",
    "a changed hook that the index hides": """
        git update-index --assume-unchanged hooks/pre-command
        echo 'echo evil plugin' > hooks/pre-command
        """,
    "a commit of the same name": """
        echo 'echo evil plugin' > hooks/pre-command
        git -c user.name=x -c user.email=x@x commit -qam evil
        git branch "$SEALED" HEAD
        """,
    "an object that is not what its id says": """
        path=.git/objects/$(git rev-parse HEAD:hooks/pre-command | sed 's|..|&/|')
        git unpack-objects -q < "$(ls .git/objects/pack/*.pack)" 2>/dev/null || true
        rm -f .git/objects/pack/* "$path"
        mkdir -p "${path%/*}"
        cp "$EVIL_OBJECT" "$path"
        rm -f .git/index hooks/pre-command
        """,
    "a replacement of the commit": """
        echo 'echo evil plugin' > hooks/pre-command
        git -c user.name=x -c user.email=x@x commit -qam evil
        git replace "$SEALED" HEAD
        """,
    "a hook of git": """
        mkdir -p .git/hooks
        printf '#!/bin/sh\\necho "echo evil plugin" > hooks/pre-command\\n' > .git/hooks/post-checkout
        chmod +x .git/hooks/post-checkout
        """,
}


@pytest.mark.parametrize("name", PLANTS)
def test_what_a_job_plants_in_a_plugins_clone_is_not_run_by_the_next(ground: Ground, name: str) -> None:
    """Attack I12: the clone is the agent user's, and so is a job."""
    honest = run(ground.server, ground.job("echo it ran"), "honest")
    assert outcome(honest) == ("0", "", "") and "good plugin" in honest.text, honest.text
    evil = ground.folder / "evil-object"
    body = b"echo evil plugin\n"
    evil.write_bytes(zlib.compress(b"blob %d\0" % len(body) + body))
    script = textwrap.dedent(
        f"""
        set -e
        cd {ground.clone}
        SEALED={ground.resolved.commit} EVIL_OBJECT={evil}
        {textwrap.dedent(PLANTS[name])}
        echo planted
        """
    )
    planted = run(ground.server, ground.job(script), "plants")
    assert "\nplanted" in planted.text, planted.text
    after = run(ground.server, ground.job("echo it ran"), "after")
    assert outcome(after) == ("0", "", ""), after.text
    assert "good plugin" in after.text and "evil plugin" not in after.text


@pytest.mark.parametrize("when", ["before the first use", "in the clone", "in its place"])
def test_what_is_planted_for_an_unsealed_plugin_is_not_used_either(tmp_path: Path, when: str) -> None:
    """Attack I12, where no seal says what the plugin is: only what this agent itself has cloned is used."""
    plugin, evil, widgets = (tmp_path / name for name in ("greet-buildkite-plugin", "evil", "widgets"))
    make_repository(plugin, {"hooks/pre-command": "echo good plugin\n"}, tag="v1")
    make_repository(evil, {"hooks/pre-command": "echo evil plugin\n"}, tag="v1")
    make_repository(widgets, {"file": "one\n"})
    source = f"{plugin}#v1"
    folder = tmp_path / "plugins" / "tester" / parse_place(source).folder_name
    plant = f"rm -rf {folder} && mkdir -p {folder.parent} && cp -r {evil} {folder}"
    plant += f" && git -C {folder} remote add origin {plugin} && echo planted"
    if when == "in the clone":
        plant = f"cd {folder} && git fetch -q {evil} main && git reset -q --hard FETCH_HEAD"
        plant += " && git tag -f v1 && echo planted"

    def send(server: FakeServer, name: str, command: str, plugins: list[Any]) -> str:
        env = {"BUILDKITE_PLUGINS": json.dumps(plugins)}
        raw = unsigned(command, repository=str(widgets), env=env)
        job = run(server, {**raw, "step": {"command": command, "plugins": plugins}}, name)
        assert outcome(job) == ("0", "", ""), job.text
        return job.text

    with fake_server(20) as server, agent_process(server, tmp_path, "--no-verification"):
        if when != "before the first use":
            assert "good plugin" in send(server, "honest", "echo it ran", [{source: None}])
        assert "\nplanted" in send(server, "plants", plant, [])
        after = send(server, "after", "echo it ran", [{source: None}])
        assert "good plugin" in after and "evil plugin" not in after, after
        again = send(server, "again", "echo it ran", [{source: None}])
        assert "good plugin" in again and "as it was cloned" in again, again


def test_two_plugins_whose_folders_are_called_alike_are_two(tmp_path: Path) -> None:
    """Attack I12: `a/b#1` and `a-b#1` make one name of a folder."""
    one, other = tmp_path / "acme" / "lint", tmp_path / "acme-lint"
    for folder, word in ((one, "one"), (other, "other")):
        make_repository(folder, {"hooks/pre-command": f"echo plugin {word}\n"}, tag="v1")
    widgets = tmp_path / "widgets"
    make_repository(widgets, {"file": "one\n"})
    with fake_server(20) as server, agent_process(server, tmp_path, "--no-verification"):
        for folder, word in ((one, "one"), (other, "other"), (one, "one")):
            plugins = json.dumps([{f"{folder}#v1": None}])
            raw = unsigned("echo it ran", repository=str(widgets), env={"BUILDKITE_PLUGINS": plugins})
            job = run(server, {**raw, "step": {"command": "echo it ran", "plugins": json.loads(plugins)}}, f"{word}")
            assert outcome(job) == ("0", "", ""), job.text
            assert f"plugin {word}" in job.text.splitlines()


def test_submodules_of_a_plugin_are_those_of_the_sealed_commit(ground: Ground) -> None:
    part = ground.folder / "part"
    make_repository(part, {"say": "echo old part\n"})
    old = git(part, "rev-parse", "HEAD")
    git(ground.plugin, "-c", "protocol.file.allow=always", "submodule", "--quiet", "add", str(part), "part")
    (ground.plugin / "hooks/pre-command").write_text('. "$BUILDKITE_PLUGINS_PATH"/*greet*/part/say\n', "utf-8")
    git(ground.plugin, "commit", "-qam", "With a part")
    git(ground.plugin, "tag", "-f", "v1")
    resolved = resolve_plugin(ground.source)
    (part / "say").write_text("echo new part\n", "utf-8")
    git(part, "commit", "-qam", "New")
    git(ground.plugin / "part", "pull", "-q")
    git(ground.plugin, "commit", "-qam", "With the new part")
    assert git(ground.plugin, "rev-parse", "v1:part") == old
    # Submodules come over https or ssh alone, so this one cannot be had: the plugin is refused, not run without it.
    job = run(ground.server, ground.job("echo it ran", resolved), "job")
    assert outcome(job)[0] != "0" and "it ran" not in job.text.splitlines()
    assert "new part" not in job.text

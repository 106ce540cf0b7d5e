"""The demonstration: sign, upload, verify and run a pipeline from a real repository, then lie about it four ways."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from pipeseal.errors import Unavailable
from pipeseal.lab import lies
from pipeseal.lab.lying_server import Lie, LyingServer
from pipeseal.lab.stage import Actors, make_repository

PIPELINE = """\
# Signed where it is uploaded: commands, these variables, the plugin and its settings, the matrix, the repository.
env:
  GREETING: "hello from the pipeline"

steps:
  - label: "lint"
    key: lint
    command: scripts/lint
    plugins:
      - {plugin}#v1.0.0:
          text: "checked by a plugin"

  - label: "test {{{{matrix}}}}"
    key: test
    command: echo "$$GREETING, testing on {{{{matrix}}}}"
    matrix: [alpine, debian]

  - wait

  - label: "package"
    key: package
    depends_on: [lint, test]
    command:
      - echo "packaging $$(git rev-parse --short HEAD) for $$TARGET"
      - echo done
    env:
      TARGET: production
"""

HOOK = """\
#!/bin/bash
echo "$BUILDKITE_PLUGIN_BANNER_TEXT"
"""

LINT = """\
#!/bin/bash
set -eu
test -f README.md
echo "everything is where it should be"
"""


class Attack(NamedTuple):
    """One lie, told to the runner about every job of a build, and the code it must be refused with."""

    title: str
    lie: Lie
    code: str


class Demo:
    """The demonstration in one folder.

    Parameters:
        folder: an empty folder; everything is made below it.
        say: prints one line.
    """

    def __init__(self, folder: Path, say: Callable[[str], object]) -> None:
        self._folder = folder
        self._say = say
        self._sentinel = folder / "attacked"
        self._started = time.monotonic()

    def run(self) -> bool:
        """Play it. True only if the honest build passed and each attack was refused before anything ran."""
        (self._folder / "logs").mkdir()
        environment = {"XDG_CONFIG_HOME": str(self._folder / "config"), "XDG_DATA_HOME": str(self._folder / "data")}
        with Actors(self._folder / "logs", environment) as self._actors:
            self._prepare()
            with LyingServer(self._url) as self._liar:
                self._start_agents()
                results = [self._honest_build(), *(self._attack(n, a) for n, a in enumerate(self._attacks(), 1))]
        self._say("")
        if all(results):
            self._say(f"All of that happened, in {time.monotonic() - self._started:.0f} seconds.")
            self._say("\nNext, on your own repository:")
            self._say("  pipeseal init --repository URL --pipeline SLUG    keys, agent settings, and what to do next")
            self._say("  pipeseal explain signature.mismatch               what a refusal means and what to do")
            self._say("  docs/how-to/sign-your-pipeline.md                 the same, step by step")
            return True
        self._say("Not everything went as it should; run again with --keep and look at the logs.")
        return False

    def _title(self, text: str) -> None:
        self._say(f"\n{click_bold(text)}")

    def _prepare(self) -> None:
        self._title("A repository, keys, a control plane")
        plugin = self._folder / "banner-buildkite-plugin"
        make_repository(plugin, {"hooks/pre-command": HOOK, "plugin.yml": "name: Banner\n"}, tag="v1.0.0")
        self._repository = self._folder / "widgets"
        self._commit = make_repository(
            self._repository,
            {
                ".buildkite/pipeline.yml": PIPELINE.format(plugin=plugin.as_uri()),
                "README.md": "# Widgets\n",
                "scripts/lint": LINT,
            },
        )
        self._say(f"  repository    {self._repository}  at {self._commit[:12]}")
        keys = self._folder / "config" / "pipeseal"
        self._must(
            "init", "--directory", str(keys), "--key-id", "demo-signer",
            "--repository", str(self._repository), "--pipeline", "widgets", "--branch", "main",
        )  # fmt: skip
        self._say(f"  keys          {keys / 'signing.json'}  for the uploader alone")
        self._say(f"                {keys / 'verification.json'}  for every agent")
        self._say(f"  policy        {keys / 'policy.toml'}  only that key's seals, only this repository's main")
        line = self._actors.start(
            "server",
            ["server", "--data", str(self._folder / "server"), "--listen", "127.0.0.1:0"],
            ready="Listening on",
        )
        self._url = line.split()[-1]
        self._say(f"  control plane {self._url}  (not trusted)")
        self._must(
            "pipeline", "create", "widgets", *self._access(),
            "--repository", str(self._repository), "--steps", str(keys / "steps.yml"),
        )  # fmt: skip
        self._say("  pipeline      widgets, whose one step kept in settings (upload) is signed too")

    def _start_agents(self) -> None:
        token = self._folder / "server" / "agent-token"
        keys = self._folder / "config" / "pipeseal"
        common = [
            "--token", f"file://{token}",
            "--verification-jwks-file", str(keys / "verification.json"),
            "--policy-file", str(keys / "policy.toml"),
            "--build-path", str(self._folder / "builds"),
            "--plugins-path", str(self._folder / "plugins"),
        ]  # fmt: skip
        for name, endpoint, extra in (
            ("uploader", self._url, ["--queue", "uploader", "--signing-jwks-file", str(keys / "signing.json")]),
            ("runner", self._liar.url, []),
        ):
            self._actors.start(
                name,
                ["agent", "start", *common, "--endpoint", f"{endpoint}/v3", "--name", name, *extra],
                ready="Waiting for jobs",
            )
        self._say("  agents        uploader (holds the signing key) and runner (only the public key)")

    def _access(self) -> list[str]:
        return ["--server", self._url, "--token-file", str(self._folder / "server" / "api-token")]

    def _must(self, *arguments: str) -> str:
        done = self._actors.run(arguments)
        if done.returncode != 0:
            raise Unavailable(
                "stage.not_ready", f"pipeseal {' '.join(arguments[:2])} failed", evidence={"it said": done.stderr}
            )
        return done.stdout

    def _create(self, message: str) -> list[str]:
        return ["build", "create", "--pipeline", "widgets", *self._access(), "--commit", self._commit,
                "--branch", "main", "--message", message]  # fmt: skip

    def _honest_build(self) -> bool:
        self._title("An honest build: signed by the uploader, verified and run by the runner")
        done = subprocess.run(
            [sys.executable, "-m", "pipeseal", *self._create("An honest build"), "--watch"], check=False
        )
        build = self._show(1)
        ran = [job for job in build["jobs"] if job["type"] == "script" and job["state"] == "passed"]
        ok = done.returncode == 0 and build["state"] == "passed" and len(ran) == 5
        self._say(f"  {'✓' if ok else '✗'} build 1 {build['state']}: {len(ran)} of 5 jobs verified and run")
        return ok

    def _attacks(self) -> list[Attack]:
        lookalike = self._folder / "lookalike"
        touch = f"touch {self._sentinel}"
        make_repository(lookalike, {"scripts/lint": f"#!/bin/bash\n{touch}\n"})
        evil = self._folder / "evil-buildkite-plugin"
        make_repository(evil, {"hooks/environment": f"#!/bin/bash\n{touch}\n"}, tag="v1")
        return [
            Attack("edits the command", lies.edit_command(touch), "signature.mismatch"),
            Attack("adds a plugin", lies.add_plugin(f"{evil.as_uri()}#v1"), "signature.mismatch"),
            Attack("swaps the repository", lies.swap_repository(str(lookalike)), "signature.mismatch"),
            Attack("strips the signature", lies.strip_signature(touch), "signature.missing"),
        ]

    def _attack(self, number: int, attack: Attack) -> bool:
        self._title(f"Attack {number}: the same build, and a control plane that {attack.title}")
        self._liar.lie = attack.lie
        created = json.loads(self._must(*self._create(f"Attack {number}"), "-o", "json"))
        build = self._wait(created["number"])
        self._liar.lie = None
        told = [job for job in build["jobs"] if job.get("step_key") in {"lint", "test"}]
        refusals = [job["refusal"] for job in told if job.get("refusal")]
        ran = self._sentinel.exists() or any(job["state"] == "passed" for job in told)
        ok = len(told) == 3 and len(refusals) == 3 and all(r["code"] == attack.code for r in refusals) and not ran
        for refusal in refusals[:1]:
            self._say(f"  refused[{refusal['code']}]: {refusal['message']}")
            for name, value in refusal.get("evidence", {}).items():
                self._say(f"    {name:<12} {value}")
        self._say(f"  {'✓' if ok else '✗'} {len(refusals)} of {len(told)} jobs refused; "
                  f"{'SOMETHING RAN' if ran else 'nothing ran: no checkout, no hook, no command'}")  # fmt: skip
        return ok

    def _show(self, number: int) -> dict[str, Any]:
        shown = self._must("build", "show", str(number), "--pipeline", "widgets", *self._access(), "-o", "json")
        build: dict[str, Any] = json.loads(shown)
        return build

    def _wait(self, number: int, timeout_seconds: float = 60) -> dict[str, Any]:
        deadline = time.monotonic() + timeout_seconds
        while time.monotonic() < deadline:
            build = self._show(number)
            if build.get("finished_at"):
                return build
            time.sleep(0.2)
        raise Unavailable("stage.not_ready", f"build {number} did not finish in {timeout_seconds:.0f} seconds")


def click_bold(text: str) -> str:
    """`text` in bold where standard output is a terminal that wants it."""
    import os

    plain = not sys.stdout.isatty() or "NO_COLOR" in os.environ or os.environ.get("TERM") == "dumb"
    return text if plain else f"\x1b[1m{text}\x1b[0m"

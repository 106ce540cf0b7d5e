"""Installations to play scenarios on: for each kind of runner one control plane, its agents, and whatever they need.

All of it is real: servers and agents are processes, repositories are git's, keys come from either `tool keygen`.
Everything is started when the first scenario needs it, and shared by all scenarios that a test process plays.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from benchmarks.peers import find_peer
from pipeseal.cli.rest_client import ALL_JOBS, RestClient
from pipeseal.lab.lying_server import Job, Lie, LyingServer
from pipeseal.lab.stage import GIT_ENVIRONMENT, Actors, run_git
from pipeseal.pipeline.plugin_place import parse_place
from tests.interop.reaper import Reaper
from tests.interop.scenario import OURS, STOCK, Scenario

HERE = Path(__file__).resolve().parent
SPAWN = 3  # jobs of one build that run at a time
ALGORITHMS = ("EdDSA", "ES512", "PS512")  # those that sign in stock agents
_END = {"passed", "failed", "canceled", "not_run"}


class Workshop:
    """What both installations share: keys, repositories and plugins.

    Parameters:
        root: an empty folder.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self._lock = threading.RLock()
        self._made: dict[str, str] = {}
        self.stock = find_peer("buildkite-agent").path
        self.reaper = Reaper()
        self.signing_file = root / "signing.json"
        self.verification_file = root / "verification.json"
        self.plugins = root / "plugins"
        for name in ("plugins", "bin", "keys", "repositories"):
            (root / name).mkdir()
        # For git an ssh that goes nowhere and runs the command here.
        ssh = root / "bin" / "no-ssh"
        ssh.write_text('#!/bin/sh\nshift\nexec sh -c "$*"\n', encoding="utf-8")
        ssh.chmod(0o755)
        self.git_config = root / "gitconfig"
        self.git_config.write_text(f"[core]\n  sshCommand = {ssh}\n[ssh]\n  variant = simple\n", encoding="utf-8")
        # A program that was built for the tests may have another name than the one jobs call.
        if self.stock is not None:
            (root / "bin" / "buildkite-agent").symlink_to(self.stock)
        self.environment = {
            "PATH": os.pathsep.join((str(root / "bin"), os.environ["PATH"])),
            "LANG": "C.UTF-8",
            "PLUGINS": self.plugins.as_uri(),
            **GIT_ENVIRONMENT,
            "GIT_CONFIG_GLOBAL": str(self.git_config),
        }

    def make_standins(self) -> dict[str, Path]:
        """Source to repository of each stand-in for a plugin of a public place, with the version that it names."""
        with self._lock:
            folder = HERE / "public" / "plugins"
            sources = json.loads((folder / "sources.json").read_text(encoding="utf-8"))
            found = {source: self.root / "standins" / name for source, name in sources.items()}
            if "standins" in self._made:
                return found
            led: dict[str, Path] = {}
            for source, made in found.items():
                if not made.exists():
                    shutil.copytree(folder / made.name, made)
                    run_git(made, "init", "--quiet", "--initial-branch=main", "--template=")
                    _commit(made)
                place = parse_place(source)
                if place.version:
                    run_git(made, "tag", "--force", place.version)
                led[place.repository] = made
            with self.git_config.open("a", encoding="utf-8") as config:
                config.writelines(f'[url "{made}"]\n\tinsteadOf = {url}\n' for url, made in led.items())
            self._made["standins"] = "made"
            return found

    # --- keys ---------------------------------------------------------------------------------------------------

    def make_keys(self, actors: Actors) -> None:
        """A key of each algorithm from each `tool keygen`, in one file to sign with and one to verify with."""
        with self._lock:
            if "keys" in self._made:
                return
            makers = [OURS, *([STOCK] if self.stock is not None else [])]
            private, public = [], []
            for maker in makers:
                for algorithm in ALGORITHMS:
                    made = self._make_key(actors, maker, algorithm)
                    private += made[0]
                    public += made[1]
            _write_keys(self.signing_file, private)
            _write_keys(self.verification_file, public)
            self._made["keys"] = "made"

    def _make_key(self, actors: Actors, maker: str, algorithm: str) -> tuple[list[Any], list[Any]]:
        kid = key_id(maker, algorithm)
        files = [self.root / "keys" / f"{kid}-{kind}.json" for kind in ("private", "public")]
        arguments = ["tool", "keygen", "--alg", algorithm, "--key-id", kid]
        arguments += ["--private-jwks-file", str(files[0]), "--public-jwks-file", str(files[1])]
        self.must(actors, maker, arguments)
        private, public = (json.loads(path.read_text())["keys"] for path in files)
        return private, public

    def must(self, actors: Actors, whose: str, arguments: list[str]) -> str:
        """Standard output of a command of ours or of the stock agent, which has to work."""
        if whose == OURS:
            done = actors.run(arguments)
        else:
            command = [str(self.stock), *arguments]
            done = subprocess.run(command, env=self.environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, f"{whose}: {' '.join(arguments)}\n{done.stdout}\n{done.stderr}"
        return done.stdout

    # --- repositories -------------------------------------------------------------------------------------------

    def repository(self, scenario: Scenario) -> Path:
        """The scenario's repository, with its pipeline in `.buildkite/pipeline.yml`; its plugins exist too."""
        folder = self.root / "repositories" / scenario.name
        with self._lock:
            if scenario.name in self._made:
                return folder
            files = scenario.folder / "files"
            if files.is_dir():
                shutil.copytree(files, folder)
            (folder / ".buildkite").mkdir(parents=True, exist_ok=True)
            text = (scenario.folder / "pipeline.yml").read_text(encoding="utf-8")
            (folder / ".buildkite" / "pipeline.yml").write_text(text, encoding="utf-8")
            run_git(folder, "init", "--quiet", "--initial-branch=main", "--template=")
            if "submodule" in scenario.options:
                self._add_submodule(scenario, folder)
            _commit(folder)
            if "pull_request" in scenario.options:
                self._add_pull_request(scenario, folder)
            for plugins in (HERE / "plugins", scenario.folder / "plugins"):
                for plugin in sorted(plugins.iterdir()) if plugins.is_dir() else ():
                    if plugin.name in text and not (self.plugins / plugin.name).exists():
                        shutil.copytree(plugin, self.plugins / plugin.name)
                        run_git(self.plugins / plugin.name, "init", "--quiet", "--initial-branch=main", "--template=")
                        _commit(self.plugins / plugin.name)
                        run_git(self.plugins / plugin.name, "tag", "v1.0.0")
            self._made[scenario.name] = "made"
        return folder

    def _add_submodule(self, scenario: Scenario, folder: Path) -> None:
        """A submodule that is fetched over ssh, which agents allow for one, other than a local folder."""
        name = scenario.options["submodule"]
        source = self.root / "repositories" / f"{scenario.name}-{name}"
        shutil.copytree(scenario.folder / "submodule", source)
        run_git(source, "init", "--quiet", "--initial-branch=main", "--template=")
        _commit(source)
        url = f"ssh://git@git.example.test{source}"
        run_git(folder, "-c", f"include.path={self.git_config}", "submodule", "--quiet", "add", url, name)

    def _add_pull_request(self, scenario: Scenario, folder: Path) -> None:
        """A commit that only `refs/pull/N/head` leads to; `files` of the option are what it changes."""
        request = scenario.options["pull_request"]
        run_git(folder, "checkout", "--quiet", "-b", "contribution")
        for name, text in request["files"].items():
            (folder / name).write_text(text, encoding="utf-8")
        _commit(folder)
        run_git(folder, "update-ref", f"refs/pull/{request['number']}/head", "HEAD")
        run_git(folder, "checkout", "--quiet", "main")
        run_git(folder, "branch", "--quiet", "-D", "contribution")


def _commit(folder: Path) -> None:
    run_git(folder, "add", "--all")
    run_git(folder, "commit", "--quiet", "--allow-empty", "--message=Begin")


def _write_keys(path: Path, keys: list[Any]) -> None:
    path.touch(mode=0o600)
    path.write_text(json.dumps({"keys": keys}), encoding="utf-8")


def key_id(maker: str, algorithm: str) -> str:
    """The id of a key: who made it, and for what."""
    return f"{maker}-{algorithm}"


class Installation:
    """A control plane and the agents that connect to it; its runners are all ours, or all stock agents.

    Parameters:
        kind: whose runners.
        workshop: where keys and repositories come from.
    """

    def __init__(self, kind: str, workshop: Workshop) -> None:
        self.kind = kind
        self.workshop = workshop
        self.folder = workshop.root / f"installation-{kind}"
        self._lock = threading.RLock()
        self._stack = ExitStack()
        self._started: set[str] = set()
        self._lies: dict[str, Lie] = {}
        self._liar: LyingServer | None = None
        (self.folder / "logs").mkdir(parents=True)
        (self.folder / "no-hooks").mkdir()
        # Variables of the agent that runs these tests, if one does, are not these agents' business.
        foreign = {name: "" for name in os.environ if name.startswith("BUILDKITE")}
        # Agents put their sockets below it, and the path of a socket may have a hundred bytes.
        home = self._stack.enter_context(TemporaryDirectory(prefix="pipeseal-", ignore_cleanup_errors=True))
        self._environment = {**foreign, **workshop.environment, "HOME": home}
        try:
            self._begin()
        except BaseException:
            self._stack.close()
            raise

    def _begin(self) -> None:
        self._servers = self._stack.enter_context(self._actors())
        self._agents = self._stack.enter_context(self._actors())
        self.workshop.make_keys(self._servers)
        self.url = self._servers.start(
            "server",
            ["server", "--data", str(self.folder / "server"), "--listen", "127.0.0.1:0", "--ping-hold", "50"],
            ready="Listening on",
        ).split()[-1]
        self.workshop.reaper.watch_children()
        self._registration_token = self.folder / "server" / "agent-token"
        self._api_token = (self.folder / "server" / "api-token").read_text(encoding="ascii").strip()
        self._start_runner("runner", ["--tags", "os=linux,system=x86_64-linux,size=large"], spawn=SPAWN)

    def close(self) -> None:
        """Stop everything."""
        self._stack.close()

    def _actors(self) -> Actors:
        return Actors(self.folder / "logs", self._environment)

    def client(self) -> RestClient:
        """A client of the REST API, for one thread."""
        return RestClient(self.url, self._api_token)

    def sign_stored(self, signer: str, scenario: Scenario, slug: str, algorithm: str = "EdDSA") -> str:
        """The scenario's pipeline as `tool sign` of the signer gives it back."""
        arguments = ["tool", "sign", "--jwks-file", str(self.workshop.signing_file)]
        arguments += ["--jwks-key-id", key_id(signer, algorithm), "--repo", str(self.workshop.repository(scenario))]
        if signer == OURS:
            arguments += ["--organization-slug", "local", "--pipeline-slug", slug]
        text = self.workshop.must(self._servers, signer, [*arguments, str(scenario.folder / "pipeline.yml")])
        assert "signed_fields" in text
        return text

    # --- agents ---------------------------------------------------------------------------------------------------

    def need_uploader(self, signer: str) -> str:
        """Have an agent of the signer's that uploads; returns its queue.

        It holds the signing keys. The step that uploads a scenario's pipeline is unsigned, and it only warns of that.
        """
        queue = f"uploader-{signer}"
        with self._lock:
            if queue not in self._started:
                signing = ["--signing-jwks-file", str(self.workshop.signing_file)]
                signing += ["--signing-jwks-key-id", key_id(signer, "EdDSA"), "--queue", queue]
                signing += ["--verification-jwks-file", str(self.workshop.verification_file)]
                signing += ["--verification-failure-behavior", "warn"]
                if signer == OURS:
                    signing += ["--pass-environment", "PLUGINS"]
                self._start(queue, signer, signing, spawn=SPAWN)
                self._started.add(queue)
        return queue

    def need_runner_for(self, scenario: Scenario) -> None:
        """Have the runner of a scenario that wants its own, on the queue that it names or that is named like it."""
        with self._lock:
            agent = scenario.agent or {}
            queue = agent.get("queue", scenario.name)
            if not scenario.has_own_runner or queue in self._started:
                return
            options = ["--queue", queue, *agent.get("options", ()), *agent.get(self.kind, ())]
            if scenario.hooks is not None:
                options += ["--hooks-path", str(scenario.hooks)]
            url = self._need_liar() if "lie" in scenario.options else ""
            self._start_runner(queue, options, url=url, verifies=agent.get("verifies", True))
            self._started.add(queue)

    def need_liar(self, slug: str, lie: Lie) -> None:
        """Have a runner on the queue `lied-to`, and `lie` told about each job of the pipeline `slug`."""
        with self._lock:
            self._lies[slug] = lie
            url = self._need_liar()
            if "lied-to" not in self._started:
                self._start_runner("lied-to", ["--queue", "lied-to"], url=url)
                self._started.add("lied-to")

    def _need_liar(self) -> str:
        """The URL of the lying server."""
        if self._liar is None:
            self._liar = self._stack.enter_context(LyingServer(self.url))
            self._liar.lie = self._lie
            # Agents have to be gone before the liar is.
            self._agents = self._stack.enter_context(self._actors())
        return self._liar.url

    def _lie(self, job: Job) -> Job:
        lie = self._lies.get(job["env"]["BUILDKITE_PIPELINE_SLUG"])
        return job if lie is None else lie(job)

    def _start_runner(
        self, name: str, options: list[str], *, spawn: int = 1, url: str = "", verifies: bool = True
    ) -> None:
        """Start an agent that runs what was signed.

        Parameters:
            url: the server to connect to, when it is the liar.
            verifies: whether it has keys; without them the stock agent needs no option, and ours asks for one.
        """
        if verifies:
            options = ["--verification-jwks-file", str(self.workshop.verification_file), *options]
            if self.kind == OURS and not {"--policy-file", "--verification-failure-behavior"} & set(options):
                policy = self.folder / "policy.toml"
                # Repositories are folders here, and their submodules on a host.
                text = 'version = 1\nstatic-steps = "any"\nsubmodules = "ssh://git@git.example.test/*"\n'
                # Put in its place whole: agents that run already read it before each job.
                partial = self.folder / f"policy.toml.{name}"
                partial.write_text(text, encoding="utf-8")
                partial.chmod(0o600)
                partial.rename(policy)
                options = ["--policy-file", str(policy), *options]
        elif self.kind == OURS:
            options = ["--no-verification", *options]
        if url and self.kind == STOCK:
            options = ["--ping-mode", "poll-only", *options]
        self._start(name, self.kind, options, spawn=spawn, url=url)

    def _start(self, name: str, kind: str, options: list[str], *, spawn: int, url: str = "") -> None:
        arguments = [
            "--name", f"{name}-%spawn", "--spawn", str(spawn), "--endpoint", f"{url or self.url}/v3",
            "--build-path", str(self.folder / "builds"), "--plugins-path", str(self.folder / "plugins"),
            "--cancel-grace-period", "5",
        ]  # fmt: skip
        if "--hooks-path" not in options:
            arguments += ["--hooks-path", str(self.folder / "no-hooks")]
        self._seed_plugins([f"{name}-{number}" for number in range(1, spawn + 1)] if kind == STOCK else [])
        if kind == OURS:
            token = f"file://{self._registration_token}"
            config = ["--git-config-file", str(self.workshop.git_config)]
            command = ["agent", "start", "--token", token, *config, *arguments, *options]
            self._agents.start(name, command, ready="Waiting for jobs")
        else:
            self._stack.enter_context(self._stock_agent(name, [*arguments, *options]))
        self.workshop.reaper.watch_children()

    @contextmanager
    def _stock_agent(self, name: str, arguments: list[str]) -> Iterator[None]:
        token = self._registration_token.read_text(encoding="ascii").strip()
        command = [str(self.workshop.stock), "start", "--no-color", "--token", token, *arguments]
        with (self.folder / "logs" / f"{name}.log").open("wb") as log:
            process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                # Reporting the commit takes two more processes a job; tests/controlplane/test_stock_agent.py has it.
                env={name: value for name, value in self._environment.items() if value}
                | {"BUILDKITE_COMMIT_RESOLVED": "true"},
                start_new_session=True,
            )
            try:
                yield
            finally:
                # It would say goodbye to the server in its own time; these tests have no use for that.
                os.killpg(process.pid, signal.SIGKILL)
                process.wait(10)

    def _seed_plugins(self, agents: list[str]) -> None:
        """Stand-ins for plugins of public places, where a stock agent keeps those that it has cloned before.

        Ours takes no clone that it has not made itself, and is led to the stand-ins by git's configuration.
        """
        for source, made in self.workshop.make_standins().items():
            for agent in agents:
                shutil.copytree(made, self.folder / "plugins" / agent / re.sub(r"[^A-Za-z0-9]+", "-", source))


def wait_for_build(
    client: RestClient, path: tuple[str | int, ...], wanted: Callable[[dict[str, Any]], bool], seconds: float
) -> dict[str, Any]:
    """Wait until a build is as wanted, or has ended."""
    tag = ""
    build: dict[str, Any] = {}
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        seen = client.watch(*path, seen=tag, wait_seconds=5, query=ALL_JOBS)
        if seen is not None:
            build, tag = seen
            if wanted(build) or build["state"] in _END:
                return build
    states = {job["label"] or job["step_key"] or job["type"]: job["state"] for job in build.get("jobs", ())}
    raise AssertionError(f"after {seconds:.0f} seconds the build is {build.get('state')}: {states}")

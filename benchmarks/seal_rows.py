"""Rows about what proof costs: a job from its bytes to its start, verified and not; an upload through the signer."""

from __future__ import annotations

import json
import os
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import Any

from benchmarks.command_rows import STOCK, job_env
from benchmarks.control_plane import LIMITS, PretendAgent, Server, create_build, create_pipeline
from benchmarks.measure import CommandFailed, Sample, Side, alternate, run_command
from benchmarks.report import MILLISECONDS, Row, Target
from benchmarks.workspace import KEY_ID, PIPESEAL, SIZES, Workspace
from pipeseal.agent.jobenvironment import AgentFacts, JobAccess
from pipeseal.agent.ledger.ledger import Ledger
from pipeseal.agent.ledger.sqlite import SqliteLedger
from pipeseal.agent.ledger.started import claim_job
from pipeseal.agent.plan import plan_job
from pipeseal.agent.settings import load_settings
from pipeseal.agent.signer_client import SignerClient
from pipeseal.agentapi.job import parse_job
from pipeseal.lab.ground import Ground, Names
from pipeseal.lab.honest import KINDS, JobDocument, make_job
from pipeseal.lab.stage import make_repository
from pipeseal.policy import ApprovedJob, VerificationSettings, evaluate
from pipeseal.policy.facts import LocalFacts
from pipeseal.policy.file import parse_policy
from pipeseal.signerapi.messages import CAPABILITY_VARIABLE, SOCKET_VARIABLE, GrantRequest
from pipeseal.signing.keys.open import load_verification_keys
from pipeseal.signing.seal.envelope import VARIABLE

JOBS = 100
BATCHES = 15
AGENT = ("runner", "0192f0a4-4444-7000-8000-0000000a9e27")
# What seal, policy, environment and ledger may add to a job; held against the whole, which is more.
ADDED_SECONDS = 0.005
UPLOAD_COMMAND = "buildkite-agent pipeline upload"
SIGNER_SECONDS = 30.0
ORGANIZATION, PIPELINE = "local", "monorepo"
# The plugin of generated pipelines.
PLUGIN_URL, PLUGIN_TAG = "https://github.com/buildkite-plugins/docker-buildkite-plugin", "v5.13.0"


def measure_added(space: Workspace) -> Row:
    """For each job: the bytes received to a `StartedJob`, with seal, policy, environment and ledger; and with none.

    The target is for the whole, so what verification adds is less than that.
    """
    ground = Ground(space.fresh("ground"), Names())
    keys = load_verification_keys(str(ground.keys / "verification.json"))
    proving = VerificationSettings(keys=keys, policy=parse_policy(ground.policy().encode()))
    believing = VerificationSettings(keys=None)
    with closing(SqliteLedger(space.fresh("verify") / "ledger.sqlite")) as ledger:
        sides = [_starting(space, ground, proving, ledger), _starting(space, ground, believing, None)]
        pairs = alternate(*sides, pairs=BATCHES, budget_seconds=space.budget_seconds)
        ground.watch.close()
    return Row("verify.added", pairs, MILLISECONDS, "verification off", Target(limit=ADDED_SECONDS))


def _starting(space: Workspace, ground: Ground, verification: VerificationSettings, ledger: Ledger | None) -> Side:
    settings = load_settings({"token": "t", "build-path": str(space.directory / "builds")}, {"HOME": "/nowhere"})
    base = {"PATH": os.defpath, "HOME": str(space.directory)}

    def start(data: bytes) -> None:
        job, now = parse_job(data), time.time()
        local = LocalFacts(job_id=job.id, agent_id=AGENT[1], agent_name=AGENT[0], now=now, tags=("queue=drill",))
        decision = evaluate(job, verification, local)
        if not isinstance(decision, ApprovedJob):
            raise CommandFailed(f"an honest job was refused: {decision.reason}")
        access = JobAccess("http://127.0.0.1:1/v3", "t")
        facts = AgentFacts(
            id=AGENT[1], name=AGENT[0], folder="runner", job_id=job.id, access=access, launcher=space.directory
        )
        plan = plan_job(decision, settings, facts, base)
        claim_job(decision, plan, ledger, job_id=job.id, agent=AGENT[0], now=now)

    def side() -> Sample:
        # Each job is another one, as in life: one that was seen before is refused.
        jobs = [json.dumps(_job(ground, proven=ledger is not None)).encode() for _ in range(JOBS)]
        begun, cpu = time.monotonic(), time.process_time()
        for data in jobs:
            start(data)
        return Sample((time.monotonic() - begun) / JOBS, (time.process_time() - cpu) / JOBS, 0)

    return side


def _job(ground: Ground, *, proven: bool) -> JobDocument:
    """An honest job; without its proof, which an agent that verifies nothing would refuse."""
    job = make_job(ground, KINDS["sealed"], AGENT)
    if proven:
        return job
    env = {name: value for name, value in job["env"].items() if name != VARIABLE}
    bare = {name: value for name, value in job["step"].items() if name not in ("signature", "env")}
    return {**job, "env": env, "step": {**bare, "env": {"SAFETY": "on"}}}


def measure_signer_upload(space: Workspace, size: str) -> Row:
    """`pipeline upload` from inside a job, through the signer; the stock agent's beside it signs with a key it holds.

    Ours fetches the commit, reads the file from it, signs and seals, in a process that stays. What is granted before
    a job runs is not measured: the agent asks for that, and not the upload.
    """
    with ExitStack() as stack:
        server = stack.enter_context(Server(space.fresh("signed"), space.env, *LIMITS))
        rest = server.rest()
        stack.callback(rest.close)
        workshop = _SignerWorkshop(space, size)
        create_pipeline(rest, PIPELINE, workshop.settings, repository=str(workshop.repository))
        agent = PretendAgent(server)
        stack.callback(agent.close)
        stack.enter_context(workshop.running())

        def side(program: Path, prepare: Callable[[dict[str, Any]], dict[str, str]], *words: Path) -> Sample:
            number = create_build(rest, PIPELINE, workshop.commit)
            job = agent.start_next_job()
            env = job_env(space) | job["env"] | prepare(job) | {
                "BUILDKITE_AGENT_ENDPOINT": server.agent_endpoint,
                "BUILDKITE_AGENT_ACCESS_TOKEN": job["token"],
            }  # fmt: skip
            sample = run_command([program, "pipeline", "upload", *words], env=env, cwd=workshop.repository)
            jobs = len(rest.call("GET", f"/pipelines/{PIPELINE}/builds/{number}")["jobs"])
            if jobs < SIZES[size]:
                raise CommandFailed(f"{program.name} uploaded {SIZES[size]} steps and the build has {jobs} jobs")
            rest.call("PUT", f"/pipelines/{PIPELINE}/builds/{number}/cancel")
            agent.finish(job)
            return sample

        def with_key(_job: dict[str, Any]) -> dict[str, str]:
            return {"BUILDKITE_AGENT_JWKS_FILE": str(space.private_keys), "BUILDKITE_AGENT_JWKS_KEY_ID": KEY_ID}

        stock = space.stock.path
        peer = (lambda: side(stock, with_key, space.pipeline(size))) if stock else None
        pairs = alternate(
            lambda: side(space.job_command, workshop.grant),
            peer,
            pairs=space.pairs,
            budget_seconds=space.budget_seconds,
        )
    return Row(f"upload.signer.{size}", pairs, MILLISECONDS, STOCK)


class _SignerWorkshop:
    """A signer, the repository that it signs pipelines of, and the upload step that it believes.

    Parameters:
        space: where.
        size: of the pipeline, a name in `SIZES`.

    Attributes:
        repository, commit: what builds are of.
        settings: the upload step, signed and sealed.
    """

    def __init__(self, space: Workspace, size: str) -> None:
        self._space = space
        self._folder = space.fresh("signer")
        self._folder.mkdir(mode=0o700)
        self._socket = self._folder / "socket"
        self.repository = self._folder / "monorepo"
        pipeline = space.pipeline(size).read_text(encoding="utf-8")
        self.commit = make_repository(self.repository, {".buildkite/pipeline.yml": pipeline})
        plugin = self._folder / "docker-buildkite-plugin"
        make_repository(plugin, {"hooks/command": "true\n"}, tag=PLUGIN_TAG)
        self._write("gitconfig", f'[url "{plugin}"]\n\tinsteadOf = {PLUGIN_URL}\n')
        self._write("step.yml", f"steps:\n  - label: Upload\n    command: {UPLOAD_COMMAND}\n")
        signed = self._folder / "signed.yml"
        command = [
            PIPESEAL, "tool", "sign", "--jwks-file", space.private_keys, "--repo", self.repository,
            "--organization-slug", ORGANIZATION, "--pipeline-slug", PIPELINE, self._folder / "step.yml",
        ]  # fmt: skip
        run_command(command, env=space.env, cwd=self._folder, stdout=signed)
        self.settings = signed.read_text(encoding="utf-8")
        self._write("keys.json", space.public_keys.read_text(encoding="utf-8"))
        self._write("signing.json", space.private_keys.read_text(encoding="utf-8"))
        self._write("policy.toml", 'version = 1\nproof = "seal"\nbranches = ["main"]\n')
        paths = {
            "key": "signing.json", "verification-keys": "keys.json", "policy": "policy.toml", "state": "state",
            "git-config": "gitconfig",
        }  # fmt: skip
        text = "".join(f"{name} = {json.dumps(str(self._folder / path))}\n" for name, path in paths.items())
        self._write("signer.toml", f"version = 1\n{text}supervisors = [{os.getuid()}]\n")

    def _write(self, name: str, text: str) -> None:
        path = self._folder / name
        path.write_text(text, encoding="utf-8")
        path.chmod(0o600)

    @contextmanager
    def running(self) -> Iterator[None]:
        """The signer, until the end."""
        words = [
            str(PIPESEAL),
            "signer",
            "--config",
            str(self._folder / "signer.toml"),
            "--socket",
            str(self._socket),
        ]
        log = self._folder / "log"
        with log.open("wb") as sink:
            process = subprocess.Popen(words, env=self._space.env, cwd=self._folder, stdout=sink, stderr=sink)
        try:
            end = time.monotonic() + SIGNER_SECONDS
            while "listening at" not in log.read_text(encoding="utf-8"):
                if process.poll() is not None or time.monotonic() > end:
                    raise CommandFailed(f"the signer did not start: {log.read_text(encoding='utf-8')[-600:]}")
                time.sleep(0.02)
            yield
        finally:
            process.terminate()
            process.wait(10)

    def grant(self, job: dict[str, Any]) -> dict[str, str]:
        """What the agent has the signer grant a job before it runs, as the job's variables."""
        env = job["env"]
        request = GrantRequest(
            job=json.dumps(job),
            job_id=job["id"],
            agent_id=env["BUILDKITE_AGENT_ID"],
            agent_name=env["BUILDKITE_AGENT_NAME"],
            tags=("queue=default",),
        )
        granted = SignerClient(self._socket).grant(request)
        if not granted.capability:
            raise CommandFailed(f"the signer granted nothing: {granted.reason}")
        return {SOCKET_VARIABLE: str(self._socket), CAPABILITY_VARIABLE: granted.capability}

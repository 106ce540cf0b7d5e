"""A signer with everything around it: a repository, keys, a policy, a sealed upload step, and jobs that run it."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import replace
from itertools import count
from pathlib import Path
from typing import Any

from pipeseal.controlplane.domain.environment import JobFacts, job_environment
from pipeseal.pipeline.parse import parse_pipeline
from pipeseal.pipeline.render import step_value
from pipeseal.pipeline.steps import CommandStep, GroupStep, Pipeline, Step
from pipeseal.policy.facts import LocalFacts
from pipeseal.signer.service import SignerService
from pipeseal.signer.sign import Resolve
from pipeseal.signer.trust import SignerTrust
from pipeseal.signerapi.messages import Granted, GrantRequest, RevokeRequest, Signed, SignRequest
from pipeseal.signing.bindings import static_bindings
from pipeseal.signing.keys.files import write_key_file
from pipeseal.signing.keys.generate import generate_key_pair
from pipeseal.signing.keys.signing_key import FileSigningKey
from pipeseal.signing.keys.verification_keys import parse_verification_keys
from pipeseal.signing.seal.envelope import VARIABLE, ResolvedPlugin
from pipeseal.signing.seal.make import static_sealing
from pipeseal.signing.seal.verify import VerifiedSeal, verify_seal
from pipeseal.signing.sign import sign_pipeline
from pipeseal.signing.verify import verify_step
from tests.agent.repositories import git, make_repository

SUPERVISOR, JOB, STRANGER = 70001, 70002, 70003
NOW = 1_790_000_000.0
TAGS = ("queue=default",)
UPLOAD = "buildkite-agent pipeline upload"
FILE = ".buildkite/pipeline.yml"
PIPELINE = "steps:\n  - label: Test\n    command: scripts/test\n"
PLUGIN = ResolvedPlugin("a" * 40, "b" * 40)
_ids = count(1)


class Workshop:
    """One signer and its surroundings, all below `folder`.

    Parameters:
        folder: a fresh folder.
        files: of the repository's first commit.
        settings: further text of `signer.toml`.
        policy: further text of `policy.toml`.
        uids: of supervisors and of jobs.
    """

    def __init__(
        self,
        folder: Path,
        files: Mapping[str, str] | None = None,
        *,
        settings: str = "",
        policy: str = 'branches = ["main"]\n',
        uids: tuple[int, int] = (SUPERVISOR, JOB),
        resolved: Mapping[str, ResolvedPlugin] | None = None,
    ) -> None:
        self.folder = folder
        self.remote = folder / "remote"
        self.commit = make_repository(self.remote, {FILE: PIPELINE, "scripts/test": "exit 0\n", **(files or {})})
        self.home = folder / "signer"
        self.home.mkdir(mode=0o700)
        self.now = NOW
        self.said: list[str] = []
        self.resolved = resolved or {}
        # Who signs the upload step that stays in the settings is somebody else than who signs uploads.
        self.author = generate_key_pair("EdDSA", "author")
        self.key = generate_key_pair("EdDSA", "signer")
        write_key_file(self.home / "signing.json", self.key.private_set)
        both = [json.loads(pair.public_set)["keys"][0] for pair in (self.author, self.key)]
        self.public = json.dumps({"keys": both})
        self._write("keys.json", self.public)
        self._write("policy.toml", f'version = 1\nproof = "seal"\n{policy}')
        self.config = self.home / "signer.toml"
        supervisors, jobs = uids
        self.head = (
            f'version = 1\nkey = "{self.home}/signing.json"\nverification-keys = "{self.home}/keys.json"\n'
            f'policy = "{self.home}/policy.toml"\nstate = "{self.home}/state"\n'
            f"supervisors = [{supervisors}]\njobs = [{jobs}]\n"
        )
        self.configure(settings)
        self.trust = SignerTrust(self.config)
        self.service = self.make_service()

    def _write(self, name: str, text: str) -> None:
        path = self.home / name
        path.write_text(text, "utf-8")
        path.chmod(0o600)

    def configure(self, settings: str) -> None:
        """Write `signer.toml` with this after what every one has."""
        self._write("signer.toml", self.head + settings)

    def make_service(self) -> SignerService:
        """A signer that starts now, with what an earlier one left behind."""
        return SignerService(
            SignerTrust(self.config), now=lambda: self.now, tell=self.said.append, resolve=lambda _git: self._resolve
        )

    def _resolve(self, sources: Iterable[str]) -> Mapping[str, ResolvedPlugin]:
        return {source: self.resolved.get(source, PLUGIN) for source in sources}

    # --- jobs ------------------------------------------------------------------------------------------------------

    def upload_step(self, command: str = UPLOAD, **changes: Any) -> CommandStep:
        """The upload step as it is kept in the settings: signed and sealed outside of any build."""
        sealing = changes.pop("sealing", {})
        organization, pipeline = changes.pop("organization", "acme"), changes.pop("pipeline", "widgets")
        step = replace(CommandStep(command=command, label="Upload"), **changes)
        bindings = static_bindings(organization=organization, pipeline=pipeline)
        static = static_sealing(repository_url=str(self.remote), bindings=bindings)._replace(**sealing)
        signed = sign_pipeline(
            Pipeline(steps=[step]),
            key=FileSigningKey(self.author.key),
            repository_url=str(self.remote),
            bindings=bindings,
            sealing=static,
        ).steps[0]
        assert isinstance(signed, CommandStep)
        return signed

    def job(self, step: CommandStep | None = None, *, env: Mapping[str, str] | None = None, **facts: Any) -> Job:
        """A job of the upload step (or another), as our control plane sends it."""
        step = step or self.upload_step()
        number = next(_ids)
        told = JobFacts(
            job_id=f"0193d0a1-0000-7000-8000-{number:012d}",
            build_id="0193d0a1-0000-7000-8000-0000000000b1",
            build_number=7,
            build_url="http://127.0.0.1:8080/acme/widgets/builds/7",
            organization_slug="acme",
            organization_id="0193d0a1-0000-7000-8000-0000000000f1",
            pipeline_slug="widgets",
            pipeline_id="0193d0a1-0000-7000-8000-0000000000f2",
            pipeline_name="Widgets",
            default_branch="main",
            repository=str(self.remote),
            commit=self.commit,
            branch="main",
            tag="",
            pull_request="false",
            message="$(touch /tmp/evil)",
            author="Somebody <s@example.test>",
            source="webhook",
            rebuilt_from_id="",
            rebuilt_from_number="",
            step_id="0193d0a1-0000-7000-8000-0000000000d1",
            step_key=step.key,
            label=step.label,
            command=step.command,
            plugins="",
            artifact_paths="",
            timeout_minutes=None,
            retry_count=0,
            retry_kind="",
            parallel_index=None,
            parallel_count=None,
            agent_id="0193d0a1-0000-7000-8000-0000000000a1",
            agent_name="uploader 1",
            agent_variables={"BUILDKITE_AGENT_META_DATA_QUEUE": "default"},
            pipeline_env={},
            step_env=step.env,
        )
        variables = {**job_environment(replace(told, **facts)), **(env or {})}
        return Job(told.job_id, {"id": told.job_id, "token": "TOKEN", "env": variables, "step": step_value(step)})

    def child_job(self, signed: CommandStep, **facts: Any) -> Job:
        """A job of a step that was signed before."""
        return self.job(signed, **facts)

    # --- asking ----------------------------------------------------------------------------------------------------

    def granted(self, job: Job, uid: int = SUPERVISOR) -> Granted:
        answer = self.service.answer(job.request, uid)
        assert isinstance(answer, Granted)
        return answer

    def grant(self, job: Job) -> str:
        """A capability for a job that gets one."""
        granted = self.granted(job)
        assert granted.capability, (granted.code, granted.reason)
        return granted.capability

    def sign(
        self, job: Job, capability: str, *, uid: int = JOB, file: str = "", generated: str | None = None
    ) -> Signed:
        request = SignRequest(capability=capability, job_id=job.id, file=file, generated=generated)
        answer = self.service.answer(request, uid)
        assert isinstance(answer, Signed)
        return answer

    def upload(self, job: Job | None = None, *, file: str = "", generated: str | None = None) -> list[CommandStep]:
        """What an honest upload comes to: the command steps, each verified as an agent would."""
        job = job or self.job()
        signed = self.sign(job, self.grant(job), file=file, generated=generated)
        return [step for text in signed.pipelines for step in self.verified(text)]

    def revoke(self, job: Job) -> None:
        self.service.answer(RevokeRequest(job_id=job.id), SUPERVISOR)

    def verified(self, text: str) -> list[CommandStep]:
        """The command steps of a signed pipeline; fails when a signature or a seal does not hold."""
        pipeline = parse_pipeline(text)
        keys = parse_verification_keys(self.public.encode())
        found = []
        for step in command_steps(pipeline.steps):
            env = {
                **pipeline.env,
                **step.env,
                "BUILDKITE_ORGANIZATION_SLUG": "acme",
                "BUILDKITE_PIPELINE_SLUG": "widgets",
                **({"BUILDKITE_STEP_KEY": step.key} if step.key else {}),
                **{name: value for name, value in self.seal(step).items() if value is not None},
            }
            verify_step(step, env=env, repository_url=str(self.remote), keys=keys)
            found.append(step)
        return found

    def verified_seal(self, step: CommandStep) -> VerifiedSeal:
        keys = parse_verification_keys(self.public.encode())
        return verify_seal(step.env[VARIABLE], keys, now=self.now)

    def seal(self, step: CommandStep) -> dict[str, str | None]:
        """The build that a step is sealed for, as variables."""
        build = self.verified_seal(step).seal.build
        assert build is not None
        return {
            "BUILDKITE_BUILD_ID": build.id,
            "BUILDKITE_COMMIT": build.commit,
            "BUILDKITE_BRANCH": build.branch,
            "BUILDKITE_TAG": build.tag,
            "BUILDKITE_PULL_REQUEST": build.pull_request,
        }

    # --- the repository --------------------------------------------------------------------------------------------

    def add_commit(self, files: Mapping[str, str], branch: str = "main") -> str:
        """One more commit, on this branch; its object id."""
        if branch != git(self.remote, "rev-parse", "--abbrev-ref", "HEAD"):
            git(self.remote, "checkout", "-q", "-B", branch)
        for name, text in files.items():
            path = self.remote / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, "utf-8")
        git(self.remote, "add", "-A")
        git(self.remote, "commit", "-q", "--allow-empty", "-m", "More")
        self.commit = git(self.remote, "rev-parse", "HEAD")
        return self.commit


class Job:
    """A job's document, and the request that its supervisor makes about it."""

    def __init__(self, job_id: str, document: dict[str, Any]) -> None:
        self.id = job_id
        self.document = document

    @property
    def request(self) -> GrantRequest:
        return GrantRequest(
            job=json.dumps(self.document),
            job_id=self.id,
            agent_id="0193d0a1-0000-7000-8000-0000000000a1",
            agent_name="uploader 1",
            tags=TAGS,
        )


def command_steps(steps: Iterable[Step]) -> list[CommandStep]:
    found: list[CommandStep] = []
    for step in steps:
        if isinstance(step, GroupStep):
            found += command_steps(step.steps)
        elif isinstance(step, CommandStep):
            found.append(step)
    return found


def local_facts(job: Job, now: float = NOW) -> LocalFacts:
    asked = job.request
    return LocalFacts(job_id=job.id, agent_id=asked.agent_id, agent_name=asked.agent_name, now=now, tags=asked.tags)


__all__ = ["FILE", "JOB", "NOW", "PIPELINE", "STRANGER", "SUPERVISOR", "UPLOAD", "Job", "Resolve", "Workshop"]

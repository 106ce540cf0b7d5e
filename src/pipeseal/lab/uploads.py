"""A real signer for the drill, an agent that uploads through it, and branches with pipelines to upload.

The signer is a process of its own. Everything here runs as one user, as drills do on a laptop; what another uid adds
is in the tests.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeseal.agent.signer_client import SignerClient
from pipeseal.errors import PipesealError
from pipeseal.lab.honest import JobDocument, Kind
from pipeseal.lab.hostile_server import JobRecord
from pipeseal.lab.stage import run_git
from pipeseal.pipeline.steps import CommandStep
from pipeseal.signerapi.messages import GrantRequest, SignRequest

if TYPE_CHECKING:
    from pipeseal.lab.drill import Drill
    from pipeseal.lab.ground import Ground

AGENT, SIGNER = "uploader", "upload-signer"
FILE = ".buildkite/pipeline.yml"
UPLOAD = "buildkite-agent pipeline upload"
GENERATE = "scripts/generate | buildkite-agent pipeline upload"
HONEST = "steps:\n  - label: Test\n    command: scripts/test\n"
TEMPLATES = """\
templates:
  shard:
    holes: {SHARD: {from: 1, to: 9}}
    step: {label: "Shard [[SHARD]]", command: "scripts/test [[SHARD]]"}
"""


class Uploads:
    """The signer and its agent, started when first used; they end with the drill.

    Parameters:
        drill: where.
    """

    def __init__(self, drill: Drill) -> None:
        self.drill = drill
        self.folder = drill.folder / "uploads"
        self.socket = self.folder / "socket"
        self.key = self.folder / "signing.json"
        self._work = self.folder / "work"
        self._seen = len(drill.server.uploads)
        if not drill.is_running(SIGNER):
            self._start()

    def _start(self) -> None:
        ground = self.drill.ground
        # What is left of a start that failed must not have the next one fail too.
        shutil.rmtree(self.folder, ignore_errors=True)
        self.folder.mkdir(mode=0o700)
        run_git(self.folder, "clone", "--quiet", ground.repository, str(self._work))
        self._write(self.key, ground.pairs["signer"].private_set)
        policy = (
            f'version = 1\n[[allow]]\nrepository = {json.dumps(ground.repository)}\nproof = "seal"\n'
            f'pipeline = {json.dumps(ground.pipeline)}\nbranches = ["uploads/*"]\n'
        )
        self._write(self.folder / "policy.toml", policy)
        self._write(
            self.folder / "signer.toml",
            f'version = 1\nkey = "{self.key}"\nverification-keys = "{ground.keys}/verification.json"\n'
            f'policy = "{self.folder}/policy.toml"\nstate = "{self.folder}/state"\n'
            f"supervisors = [{os.getuid()}]\n"
            f'[[upload]]\ncommand = "{GENERATE}"\ntemplates = ".buildkite/templates.yml"\n[[upload]]\n',
        )
        words = ["signer", "--config", str(self.folder / "signer.toml"), "--socket", str(self.socket)]
        self.drill.actors.start(SIGNER, words, ready="listening at")
        # Somebody's own settings may name a key, which contradicts a signer.
        keys = dict.fromkeys(("signing-jwks-file", "signing-aws-kms-key", "signing-gcp-kms-key"), "")
        self.drill.start_agent(AGENT, {"signer-socket": str(self.socket), **keys}, policy)

    @staticmethod
    def _write(path: Path, text: str) -> None:
        path.write_text(text, encoding="utf-8")
        path.chmod(0o600)

    def commit(self, name: str, files: Mapping[str, str]) -> str:
        """A commit with these files on the branch `uploads/NAME` of the honest repository; its object id."""
        run_git(self._work, "checkout", "--quiet", "-B", f"uploads/{name}", "origin/main")
        for path, text in files.items():
            target = self._work / path
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_text(text, encoding="utf-8")
            target.chmod(0o755)
        run_git(self._work, "add", "--all")
        run_git(self._work, "commit", "--quiet", "--allow-empty", "--message=Upload")
        run_git(self._work, "push", "--quiet", "--force", "origin", f"uploads/{name}")
        return run_git(self._work, "rev-parse", "HEAD")

    def job(self, name: str, files: Mapping[str, str], command: str = UPLOAD) -> JobDocument:
        """An honest job of the upload step, for a new commit with these files."""
        return self.at(self.commit(name, files), f"uploads/{name}", command)

    def at(self, commit: str, branch: str, command: str = UPLOAD) -> JobDocument:
        """The genuine upload step, at any commit and branch that the server chooses."""

        def step(ground: Ground) -> CommandStep:
            return CommandStep(command=command, label="Upload", rest={"agents": {"queue": ground.queue}})

        kind = Kind(proof="static-seal", step=step, commit=commit, facts={"branch": branch})
        return self.drill.honest(kind, AGENT)

    def send(self, job: JobDocument) -> JobRecord:
        """Have the agent run it."""
        self._seen = len(self.drill.server.uploads)
        return self.drill.send(job, AGENT)

    @property
    def uploaded(self) -> list[dict[str, Any]]:
        """The pipelines that came to the server since the last job was sent."""
        return [upload["pipeline"] for upload in self.drill.server.uploads[self._seen :]]

    def must_upload(self, job: JobDocument, what: str = "the honest twin") -> list[dict[str, Any]]:
        """A job has to run, and have its pipeline signed; its command steps."""
        record = self.send(job)
        exit_status = (record.finish or {}).get("exit_status")
        steps = [step for pipeline in self.uploaded for step in pipeline["steps"] if "command" in step]
        last = record.log[-300:]
        self.drill.must(exit_status == "0", f"{what} ended with {exit_status}: {last}")
        self.drill.must(bool(steps), f"{what} uploaded nothing: {last}")
        self.drill.must(
            all("signature" in step and "PIPESEAL_SEAL" in step["env"] for step in steps),
            f"{what}: a step is unsigned",
        )
        return steps

    def must_not_sign(self, job: JobDocument, code: str, what: str = "") -> JobRecord:
        """A job may run, and the signer has to refuse what it asks for, with this code."""
        record = self.send(job)
        self.drill.attempts += 1
        exit_status = (record.finish or {}).get("exit_status")
        self.drill.must(exit_status != "0", f"{what}: the upload succeeded")
        self.drill.must(code in record.log, f"{what}: the job's log does not say {code}: {record.log[-400:]}")
        self.drill.must(not self.uploaded, f"{what}: something was uploaded", "nothing was signed")
        self.drill.note_code(code)
        return record

    def must_not_sign_directly(self, job: JobDocument, code: str, request: SignRequest | None = None) -> None:
        """The signer itself has to refuse, when somebody in the place of the agent asks it.

        Parameters:
            job: what the signer is told of.
            code: of its refusal.
            request: what is asked for; the job's own pipeline when None.
        """
        drill = self.drill
        drill.attempts += 1
        name, agent_id = drill.agents[AGENT]
        tags = tuple(f"{key}={value}" for key, value in drill.ground.tags.items())
        client = SignerClient(self.socket)
        ask = GrantRequest(job=json.dumps(job), job_id=job["id"], agent_id=agent_id, agent_name=name, tags=tags)
        try:
            granted = client.grant(ask)
            if not granted.capability:
                found = granted.code
            else:
                client.sign(request or SignRequest(capability=granted.capability, job_id=job["id"]))
                found = ""
        except PipesealError as error:
            found = error.code
        drill.must(found == code, f"the signer, asked directly, said {found or 'yes'}, and not {code}")
        drill.note_code(code)
        drill.must(True, "", "the signer refused")

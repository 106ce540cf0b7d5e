"""`pipeline upload` in a job that has a signer: what it asks for, what it refuses to ask, what it sends."""

from __future__ import annotations

import io
import os
import shutil
import sys
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import pytest

from pipeseal.agent import upload_signed as module
from pipeseal.agent.client import AgentClient
from pipeseal.agent.upload_grant import UploadGrant
from pipeseal.agent.upload_options import UploadOptions, read_plain_call
from pipeseal.agent.upload_signed import goes_through_signer, upload_signed
from pipeseal.errors import PipesealError
from pipeseal.signer.server import SignerServer
from tests.signer.workshop import TAGS, Job, Workshop

GENERATE = "make steps | buildkite-agent pipeline upload"
SETTINGS = f'[[upload]]\n[[upload]]\ncommand = "{GENERATE}"\ntemplates = "t.yml"\n'
TEMPLATES = "templates: {a: {step: {command: scripts/test, label: Made}}}\n"


class Place:
    """A signer that listens, and what jobs send to the control plane."""

    def __init__(self, folder: Path, socket: Path) -> None:
        uid = os.getuid()
        self.shop = Workshop(folder, {"t.yml": TEMPLATES}, settings=SETTINGS, uids=(uid, uid))
        self.socket = socket
        self.server = SignerServer(socket, self.shop.service, tell=self.shop.said.append)
        self.thread = threading.Thread(target=self.server.serve)
        self.thread.start()
        self.told: list[str] = []
        self.sent: list[tuple[str, str, bool]] = []

    def grant(self, job: Job) -> UploadGrant:
        return UploadGrant(self.socket, job.id, self.told.append)

    def ask(self, job: Job) -> dict[str, str]:
        """The variables that the job's supervisor gives it."""
        return self.grant(job).ask(
            job.request.job.encode(), agent_id=job.request.agent_id, agent_name="uploader 1", tags=TAGS
        )

    def upload(self, job: Job, variables: dict[str, str], **options: Any) -> list[str]:
        said: list[str] = []
        upload_signed(
            UploadOptions(job=job.id, **options),
            environment=variables,
            client=lambda: cast(AgentClient, None),
            say=said.append,
        )
        return said


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Place]:
    folder = Path(tempfile.mkdtemp(prefix="signer-"))  # a short name: a socket's path may have 107 bytes
    place = Place(tmp_path, folder / "socket")

    def send(_server: AgentClient, job: str, text: str, *, replace: bool) -> None:
        place.sent.append((job, text, replace))

    monkeypatch.setattr(module, "send_pipeline", send)
    monkeypatch.setattr(module, "has_input", lambda: False)
    yield place
    place.server.close()
    place.thread.join()
    shutil.rmtree(folder)


def test_a_granted_job_uploads_what_the_signer_signed(place: Place) -> None:
    job = place.shop.job()
    said = place.upload(job, place.ask(job), replace=True)
    ((sent_for, text, replace),) = place.sent
    assert (sent_for, replace) == (job.id, True)
    assert [step.command for step in place.shop.verified(text)] == ["scripts/test"]
    assert said[-1] == "Uploaded 1 step from .buildkite/pipeline.yml" and "Signed and sealed" in said[-2]


def test_what_is_piped_in_is_a_generated_pipeline(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    def pipe(text: str) -> None:
        monkeypatch.setattr(module, "has_input", lambda: True)
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(text.encode())))

    job = place.shop.job(place.shop.upload_step(GENERATE))
    pipe("steps: [{command: scripts/test, label: Made}]")
    place.upload(job, place.ask(job))
    assert [step.label for step in place.shop.verified(place.sent[0][1])] == ["Made"]
    # A named file wins over what is piped in, and an upload step of a file takes nothing that is piped in.
    job = place.shop.job()
    variables = place.ask(job)
    pipe("steps: [{command: evil}]")
    with pytest.raises(PipesealError) as refused:
        place.upload(job, variables)
    assert refused.value.code == "signer.generated" and len(place.sent) == 1
    monkeypatch.setattr(module, "MAX_GENERATED_BYTES", 10)
    pipe("steps: [{command: evil}]")
    with pytest.raises(PipesealError) as refused:
        place.upload(place.shop.job(), variables)
    assert refused.value.code == "signer.option"


@pytest.mark.parametrize(
    "options",
    [
        {"dry_run": True},
        {"no_interpolation": True},
        {"no_bindings": True},
        {"no_seal": True},
        {"files": ("a.yml", "b.yml")},
    ],
)
def test_nothing_that_changes_what_is_signed_is_even_asked_for(place: Place, options: dict[str, Any]) -> None:
    # G05: options of an upload that signs by itself.
    job = place.shop.job()
    variables = place.ask(job)
    with pytest.raises(PipesealError) as refused:
        place.upload(job, variables, **options)
    assert refused.value.code == "signer.option" and place.sent == []
    place.upload(job, variables)  # and what was granted is still good


def test_variables_of_the_job_that_switch_an_upload_are_refused_too(place: Place) -> None:
    job = place.shop.job()
    variables = {**place.ask(job), "BUILDKITE_PIPELINE_NO_INTERPOLATION": "true", "BUILDKITE_JOB_ID": job.id}
    call = read_plain_call([], variables)
    assert call is not None and goes_through_signer(call.options, variables)
    with pytest.raises(PipesealError) as refused:
        upload_signed(call.options, environment=variables, client=lambda: cast(AgentClient, None), say=print)
    assert refused.value.code == "signer.option"


def test_without_a_grant_nothing_is_asked_for_and_the_reason_is_known(place: Place) -> None:
    job = place.shop.job(place.shop.upload_step("scripts/test"))
    grant = place.grant(job)
    variables = grant.ask(job.request.job.encode(), agent_id=job.request.agent_id, agent_name="uploader 1", tags=TAGS)
    assert "does not allow this step" in grant.reason and not grant.capability
    with pytest.raises(PipesealError) as refused:
        place.upload(job, variables)
    assert refused.value.code == "signer.no_grant"
    with pytest.raises(PipesealError) as refused:
        upload_signed(UploadOptions(), environment=variables, client=lambda: cast(AgentClient, None), say=print)
    assert refused.value.code == "upload.no_job"


def test_a_job_runs_without_a_signer_that_does_not_answer_and_uploads_nothing(place: Place, tmp_path: Path) -> None:
    job = place.shop.job()
    grant = UploadGrant(tmp_path / "none", job.id, place.told.append)
    variables = grant.ask(b"\xff not a job", agent_id="a", agent_name="n", tags=())
    grant.close()
    assert "does not answer" in place.told[0]
    with pytest.raises(PipesealError) as refused:
        place.upload(job, variables)
    assert refused.value.code == "signer.no_grant"


@pytest.mark.parametrize("data", [b"\xff\xfe", b"{}", b"[]", b'{"id": "\\ud800"}'])
def test_jobs_that_are_none_are_granted_nothing(place: Place, data: bytes) -> None:
    grant = place.grant(place.shop.job())
    grant.ask(data, agent_id="a", agent_name="n", tags=TAGS)
    assert not grant.capability and (place.told or grant.reason)


def test_when_the_job_ends_its_grant_does(place: Place) -> None:
    job = place.shop.job()
    grant = place.grant(job)
    variables = grant.ask(job.request.job.encode(), agent_id=job.request.agent_id, agent_name="uploader 1", tags=TAGS)
    grant.close()
    with pytest.raises(PipesealError) as refused:
        place.upload(job, variables)
    assert refused.value.code == "signer.ended"


def test_a_job_with_a_key_of_its_own_signs_by_itself() -> None:
    variables = {"PIPESEAL_SIGNER_SOCKET": "/run/signer"}
    assert goes_through_signer(UploadOptions(), variables)
    assert not goes_through_signer(UploadOptions(jwks_file="key.json"), variables)
    assert not goes_through_signer(UploadOptions(), {})

"""A scene for requests of every kind: a server with something of everything on it, and the ids that lead there."""

from __future__ import annotations

import itertools
import json
import uuid
from typing import Any

from pipeseal.controlplane.http.graphql import GET_PIPELINE
from pipeseal.controlplane.http.openapi.document import described_operations
from pipeseal.controlplane.http.openapi.operation import Proof
from pipeseal.controlplane.services.artifact_links import ANNOTATION, DOWNLOAD, PICTURE, UPLOAD, WHOLE, make_link
from pipeseal.signing.keys.generate import generate_key_pair
from tests.controlplane.job_side import announced, batch, build_of, create, path_of, upload
from tests.controlplane.running import ORGANIZATION, FakeAgent, RunningServer

STEPS = """
steps:
  - command: a
    key: one
  - command: b
    key: two
  - block: Go on?
    key: gate
"""
_numbers = itertools.count(1)


class Scene:
    """A pipeline of its own, with a running job, another one in other hands, and a blocked one.

    Parameters:
        running: the server, which many scenes share.
    """

    def __init__(self, running: RunningServer) -> None:
        self._segments: dict[str, dict[str, Any]] = {}
        self.api = api = running.api
        self.running = running
        self.slug = f"scene-{next(_numbers)}-{uuid.uuid4().hex[:6]}"
        queue = f"queue={self.slug}"
        steps = STEPS.replace("    key: one", f"    key: one\n    agents: {{queue: {self.slug}}}")
        steps = steps.replace("    key: two", f"    key: two\n    agents: {{queue: {self.slug}}}")
        api.create_pipeline(steps, self.slug)
        build = api.create_build(self.slug, branch="main", message="hello")
        self.agent, self.other_agent = FakeAgent(api, queue), FakeAgent(api, queue)
        self.job, self.other_job = self.agent.take(), self.other_agent.take()
        self.build_id: str = build_of(self.job)
        self.job.chunk(1, 0, b"first line\n")
        self.upload_id = str(uuid.uuid4())
        self.job.upload({"steps": [{"block": "Uploaded", "key": "later"}]}, upload_id=self.upload_id)
        self.job.call("POST", "/data/set", {"key": "k", "value": "v"})
        self.job.call("POST", "/annotations", {"body": "note", "context": "note"})
        found = api.rest("GET", f"/pipelines/{self.slug}/builds/1/annotations").json
        self.annotation_id: str = found[0]["id"]
        self.pipeline_id: str = api.rest("GET", f"/pipelines/{self.slug}").json["id"]
        self.artifact_id = upload(self.job, "out/a.txt", b"bytes")
        self.secret = f"S{uuid.uuid4().hex[:8].upper()}"
        api.rest("PUT", f"/secrets/{self.secret}", {"value": "hidden-value"})
        self.schedule_id: str = api.rest("POST", f"/pipelines/{self.slug}/schedules", {"cronline": "@yearly"}).json[
            "id"
        ]
        self.public_set: str = generate_key_pair("EdDSA", "").public_set
        self.key_id: str = api.rest("POST", "/keys", {"jwks": json.loads(self.public_set)}).json[0]["id"]
        hook = api.rest("POST", f"/pipelines/{self.slug}/webhooks", {"provider": "git"}).json
        self.webhook_id: str = hook["id"]
        self.webhook_secret: str = hook["secret"]
        self.webhook_token: str = hook["webhook_url"].rpartition("/")[2]
        jobs = api.build(build["number"], self.slug)["jobs"]
        self.blocked_id: str = next(job["id"] for job in jobs if job["type"] == "manual")

    def expected_artifact(self) -> dict[str, Any]:
        """Another artifact that was announced, and how to send it."""
        artifact_id, instructions = create(self.job, announced(f"out/{uuid.uuid4().hex}", b"bytes"))
        return {"id": artifact_id, "path": path_of(instructions["action"]["path"])}

    def narrow_tokens(self) -> list[str]:
        """Two API tokens that may do little, and nothing in common."""
        made = [
            self.api.rest("POST", "/tokens", {"description": "narrow", "scopes": [scope]})
            for scope in ("read_agents", "read_pipelines")
        ]
        return [str(answer.json["token"]) for answer in made]

    def token(self, proof: Proof, key: str = "") -> str | None:
        """What to send as `Authorization` with an operation."""
        if key == "DELETE /v2/access-token":  # which is the end of it
            made = self.api.rest("POST", "/tokens", {"description": "short-lived"}).json
            return f"Bearer {made['token']}"
        match proof:
            case Proof.REGISTRATION:
                return f"Token {self.api.registration_token}"
            case Proof.SESSION:
                return f"Token {self.agent.token}"
            case Proof.JOB | Proof.ANY_AGENT:
                return f"Token {self.job.token}"
            case Proof.API:
                return f"Bearer {self.api.api_token}"
            case _:
                return None

    def segments(self, key: str) -> dict[str, Any]:
        """The values of the path's segments that lead to something, for an operation; the same each time."""
        if key not in self._segments:
            self._segments[key] = self._make_segments(key)
        return self._segments[key]

    def link(self, purpose: str, named: str) -> dict[str, Any]:
        """The segments of an address that carries its own permission, for a while."""
        *_, expires, mac = make_link(self.running.plane, purpose, named, WHOLE, seconds=3600).split("/")
        return {"artifact_id": named, "expires": int(expires), "mac": mac}

    def _make_segments(self, key: str) -> dict[str, Any]:
        link = {"artifact_id": self.artifact_id, "part": 1, "expires": 1, "mac": "x"}
        if key.startswith(f"GET /artifacts/{DOWNLOAD}"):
            job_path = f"/pipelines/{self.slug}/builds/1/jobs/{self.job.id}"
            found = self.api.rest("GET", f"{job_path}/artifacts/{self.artifact_id}/download")
            *_, expires, mac = path_of(found.headers["location"]).split("/")
            link |= {"expires": int(expires), "mac": mac}
        elif key.startswith(f"POST /artifacts/{UPLOAD}"):
            *_, artifact_id, _part, expires, mac = self.expected_artifact()["path"].split("/")
            link |= {"artifact_id": artifact_id, "expires": int(expires), "mac": mac}
        for purpose, named in ((ANNOTATION, self.annotation_id), (PICTURE, self.artifact_id)):
            if key.startswith(f"GET /artifacts/{purpose}/"):
                link |= self.link(purpose, named)
        return {
            "organization": ORGANIZATION,
            "slug": self.slug,
            "number": 1,
            "job_id": self.blocked_id if key.endswith("/unblock") else self.job.id,
            "build_id": self.build_id,
            "agent_id": self.agent.id,
            "annotation_id": self.annotation_id,
            "pipeline_id": self.pipeline_id,
            "upload_id": self.upload_id,
            "schedule_id": self.schedule_id,
            "webhook_id": self.webhook_id,
            "context": "note",
            "step": "one",
            "key": self.secret,
            "key_id": self.key_id,
            "provider": "git",
            "token": self.webhook_token,
            **link,
        }


def proper_body(key: str, scene: Scene) -> Any:
    """A JSON body that the operation takes; None when it needs none."""
    operation = described_operations()[key]
    return {
        "register": {"name": "x"},
        "heartbeat": {"sent_at": "2026-01-01T00:00:00Z"},
        "finish_job": {"exit_status": "0", "finished_at": "2026-01-01T00:00:01Z", "chunks_failed_count": 0},
        "header_times": {"header_times": {"0": "2026-01-01T00:00:00Z"}},
        "upload_pipeline": {"uuid": str(uuid.uuid4()), "pipeline": {"steps": [{"block": "x"}]}},
        "set_meta_data": {"key": "a", "value": "b"},
        "get_meta_data": {"key": "k"},
        "has_meta_data": {"key": "k"},
        "set_meta_data_batch": {"items": [{"key": "a", "value": "b"}]},
        "get_build_meta_data": {"key": "k"},
        "has_build_meta_data": {"key": "k"},
        "update_job": {"timeout_in_minutes": 5},
        "promise_failure": {"exit_status": 3},
        "annotate": {"body": "text"},
        "export_step": {"attribute": "key", "build_id": scene.build_id},
        "update_step": {
            "idempotency_uuid": str(uuid.uuid4()),
            "build_id": scene.build_id,
            "attribute": "label",
            "value": "New",
            "append": False,
        },
        "cancel_step": {"build_id": scene.build_id, "force": False, "force_grace_period": 5},
        "create_artifacts": batch(announced("b.txt", b"bytes")),
        "update_artifacts": {"artifacts": [{"id": scene.artifact_id, "state": "finished"}]},
        "create_pipeline": {"name": f"n-{uuid.uuid4().hex}", "repository": "https://git.example.test/r.git"},
        "update_pipeline": {"description": "new"},
        "create_build": {"message": "m"},
        "unblock": {"fields": {}},
        "create_annotation": {"body": "text"},
        "update_build_meta_data": {"a": "b"},
        "set_secret": {"value": "some value"},
        "create_schedule": {"cronline": "@yearly"},
        "update_schedule": {"label": "new"},
        "create_webhook": {"provider": "github"},
        "add_keys": {"jwks": json.loads(scene.public_set)},
        "update_key": {"revoked": False},
        "execute_graphql": {"query": GET_PIPELINE, "variables": {"orgPipelineSlug": f"{ORGANIZATION}/{scene.slug}"}},
    }.get(operation.name)

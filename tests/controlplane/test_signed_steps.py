"""What readers check signatures with: signed steps, public keys, and how signing stands, over the REST API."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from pipeseal.pipeline.parse import parse_pipeline
from pipeseal.pipeline.render import pipeline_value
from pipeseal.signing.payload import render_payload
from pipeseal.signing.sign import sign_pipeline
from tests.controlplane.running import Api, FakeAgent, RunningServer, running_server
from tests.controlplane.test_public import publish, stranger
from tests.signing.material import pair_of, signing_key, verification_keys

REPOSITORY = "https://git.example.test/r.git"
STEPS = """
env: {COLOUR: green}
steps:
  - {key: one, command: make, env: {LEVEL: "2"}}
  - {key: two, command: make test}
  - {key: three, command: make docs}
"""
KEY: dict[str, str] = json.loads(pair_of("EdDSA").public_set)["keys"][0]


@pytest.fixture(scope="module")
def api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    running: RunningServer
    with running_server(tmp_path_factory.mktemp("signed") / "data") as running:
        yield running.api


def signed(api: Api, slug: str, steps: str = STEPS, *, sealed: str = "") -> list[dict[str, Any]]:
    """A build of a signed pipeline whose last step lost its signature; what readers get of each of its jobs.

    Parameters:
        sealed: key of a step that looks as if it carried a seal.
    """
    pipeline = parse_pipeline(steps)
    done = sign_pipeline(pipeline, key=signing_key(), repository_url=REPOSITORY, pipeline_env=pipeline.env)
    value = json.loads(json.dumps(pipeline_value(done)))
    del value["steps"][-1]["signature"]
    for step in value["steps"]:
        if step["key"] == sealed:
            step["env"] = {"PIPESEAL_SEAL": "sealed-names"}
    api.create_pipeline(json.dumps(value), slug)
    api.create_build(slug)
    found: list[dict[str, Any]] = api.rest("GET", f"/pipelines/{slug}/builds/1/signed-steps").json
    return found


def test_what_was_signed_is_shown_with_its_signature_and_the_keys_of_its_name(api: Api) -> None:
    assert api.rest("POST", "/keys", {"jwks": {"keys": [KEY]}, "description": "the uploader"}).status == 201
    one, two, three = signed(api, "shown")
    assert one["payload"]["values"]["command"] == "make"
    assert one["payload"]["values"]["env"] == {"LEVEL": "2"}
    assert one["payload"]["values"]["env::COLOUR"] == "green"
    assert two["payload"]["values"]["repository_url"] == REPOSITORY
    assert [key["jwk"]["x"] for key in one["keys"]] == [KEY["x"]]
    assert (three["signature"], three["payload"], three["problem"]) == (None, None, None)
    # It is enough to check with.
    from pipeseal.signing.jws import verify_jws

    payload = render_payload(one["payload"]["alg"], one["payload"]["values"])
    verify_jws(one["signature"]["value"], payload, verification_keys(), algorithm="EdDSA")
    alone = api.rest("GET", f"/pipelines/shown/builds/1/jobs/{one['job_id']}/signed-step")
    assert alone.json == one


def test_pages_of_signed_steps_follow_the_build(api: Api) -> None:
    signed(api, "paged")
    first = api.rest("GET", "/pipelines/paged/builds/1/signed-steps?per_page=2")
    second = api.rest("GET", "/pipelines/paged/builds/1/signed-steps?per_page=2&page=2")
    assert (len(first.json), len(second.json)) == (2, 1)
    assert 'rel="next"' in first.headers["link"]
    assert api.rest("GET", "/pipelines/paged/builds/2/signed-steps").status == 404


def test_a_field_that_is_not_there_is_said_and_not_made_up(api: Api) -> None:
    steps = STEPS.replace("COLOUR", "BUILDKITE_AGENT_META_DATA_REGION")
    one, _, _ = signed(api, "lacking", steps)
    assert one["payload"]["values"]["env::BUILDKITE_AGENT_META_DATA_REGION"] == "green"
    api.create_pipeline("steps: [{command: a}]", "odd")
    step = {"command": "a", "signature": {"algorithm": "EdDSA", "signed_fields": ["command", "later"], "value": "x"}}
    api.rest("PATCH", "/pipelines/odd", {"configuration": json.dumps({"steps": [step]})})
    api.create_build("odd")
    (odd,) = api.rest("GET", "/pipelines/odd/builds/1/signed-steps").json
    assert (odd["payload"], odd["problem"]["code"], odd["keys"]) == (None, "field.unknown", [])


def test_strangers_see_what_is_signed_only_where_all_of_it_can_be_seen_elsewhere(api: Api) -> None:
    steps = """
env: {COLOUR: green}
steps:
  - {key: plain, command: make}
  - {key: hidden, command: make, env: {DEPLOY_TOKEN: tok-1234567890}}
  - {key: secret, command: make, secrets: [HIDDEN_NAME]}
  - {key: seal, command: make}
  - {key: bare, command: make}
"""
    pipeline = parse_pipeline(steps)
    env = {**pipeline.env, "EXTRA": "build-env-value"}
    signed(api, "open", steps, sealed="seal")
    publish(api, "open", public_since="all")
    root = "/v2/organizations/local/pipelines/open/builds/1"
    found = stranger(api, f"{root}/signed-steps")
    plain, hidden, secret, seal, bare = found.json
    assert plain["payload"]["values"]["command"] == "make"
    assert plain["withheld"] is None
    for one in (hidden, secret, seal):
        assert one["payload"] is None
        assert one["withheld"]
        assert one["signature"]["value"]
    assert bare["signature"] is None
    for word in (b"tok-1234567890", b"HIDDEN_NAME", b"sealed-names"):
        assert word not in found.body
        assert word in api.rest("GET", "/pipelines/open/builds/1/signed-steps").body
    # What whoever made a build set is nobody's business, signed or not.
    done = sign_pipeline(pipeline, key=signing_key(), repository_url=REPOSITORY, pipeline_env=env)
    text = json.dumps(pipeline_value(done) | {"env": dict(pipeline.env)})
    api.create_pipeline(text, "made")
    api.create_build("made", env={"EXTRA": "build-env-value"})
    publish(api, "made", public_since="all")
    answer = stranger(api, "/v2/organizations/local/pipelines/made/builds/1/signed-steps")
    assert {one["payload"] is None for one in answer.json} == {True}
    assert b"build-env-value" not in answer.body


@pytest.mark.parametrize(
    ("jwks", "code"),
    [
        (json.loads(pair_of("EdDSA").private_set), "key.private"),
        (json.loads(pair_of("HS256").public_set), "key.private"),
        ({"keys": [{**KEY, "x": "AA"}]}, "key.malformed"),
        ({"keys": [{name: value for name, value in KEY.items() if name != "alg"}]}, "key.no_algorithm"),
        ({"keys": [{**KEY, "use": "enc"}]}, "key.no_algorithm"),
    ],
)
def test_only_public_keys_for_signing_are_taken(api: Api, jwks: Any, code: str) -> None:
    answer = api.rest("POST", "/keys", {"jwks": jwks})
    assert (answer.status, answer.json["code"]) == (422, code)
    assert b'"d"' not in api.rest("GET", "/keys").body


def test_key_lives_is_revoked_and_forgotten(api: Api) -> None:
    key = json.loads(pair_of("ES256").public_set)["keys"][0]
    (made,) = api.rest("POST", "/keys", {"jwks": key, "description": " one  more "}).json
    assert (made["id"], made["description"]) == (pair_of("ES256").key.thumbprint(), "one more")
    again = api.rest("POST", "/keys", {"jwks": key, "description": "renamed"}).json[0]
    assert again == {**made, "description": "renamed"}
    revoked = api.rest("PATCH", f"/keys/{made['id']}", {"revoked": True}).json
    assert revoked["revoked_at"]
    assert api.rest("PATCH", f"/keys/{made['id']}", {"revoked": True}).json == revoked
    assert api.rest("PATCH", f"/keys/{made['id']}", {"revoked": False}).json["revoked_at"] is None
    assert api.rest("DELETE", f"/keys/{made['id']}").status == 204
    assert api.rest("DELETE", f"/keys/{made['id']}").status == 404
    assert stranger(api, "/v2/organizations/local/keys").status == 401


def test_key_says_what_names_it(api: Api) -> None:
    (made,) = api.rest("POST", "/keys", {"jwks": KEY}).json
    signed(api, "uses")
    uses = api.rest("GET", f"/keys/{made['id']}/steps?per_page=100").json
    assert [(one["number"], one["step"]) for one in uses if one["pipeline"] == "uses"] == [(1, "one"), (1, "two")]


def test_report_counts_steps_by_what_they_carry_and_refusals_by_code(api: Api) -> None:
    steps = STEPS.replace("command: make", "agents: {queue: r}, command: make")
    signed(api, "report", steps, sealed="one")
    agent = FakeAgent(api, "queue=r")
    refusal = {"code": "signature.missing", "message": "the step has no signature"}
    agent.run(-1, signal_reason="signature_rejected", refusal=refusal)
    agent.run(0)
    report = api.rest("GET", "/pipelines/report/signing").json
    assert (report["sealed_steps"], report["signed_steps"], report["unsigned_steps"]) == (1, 1, 1)
    assert (report["jobs"], report["days"], report["keys"]) == (2, 30, [KEY["kid"]])
    assert [(one["code"], one["number"]) for one in report["refused"]] == [("signature.missing", 1)]
    assert api.rest("GET", "/pipelines/gone/signing").status == 404

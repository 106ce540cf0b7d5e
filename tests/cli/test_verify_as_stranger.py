"""`pipeseal verify` without a token: public builds, keys that a link pins, and no token for who only asks."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from hashlib import sha256
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from pipeseal.cli.exits import CANNOT_CHECK, KEY_REVOKED, NOT_SIGNED, UNKNOWN_SIGNER
from pipeseal.cli.keys_publish import keys_publish
from pipeseal.cli.verify import verify
from pipeseal.errors import ConfigurationError, MalformedInput, PipesealError, Unavailable
from pipeseal.signing.delivered_keys import find_pinned_keys, parse_pin
from tests.controlplane.running import Api, running_server
from tests.controlplane.test_public import publish
from tests.controlplane.test_signed_steps import signed
from tests.signing.material import pair_of, verification_keys

PIN = pair_of("EdDSA").key.thumbprint()
KEY: dict[str, str] = json.loads(pair_of("EdDSA").public_set)["keys"][0]
STEPS = "steps: [{key: one, command: make}, {key: two, command: make test}, {key: three, command: make docs}]"


@pytest.fixture(scope="module")
def api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    """A server with a public build whose last step is not signed, one that is sealed in part, and a private one."""
    with running_server(tmp_path_factory.mktemp("public") / "data") as running:
        api = running.api
        assert api.rest("POST", "/keys", {"jwks": {"keys": [KEY]}}).status == 201
        signed(api, "open", STEPS)
        signed(api, "sealed", STEPS, sealed="one")
        signed(api, "private", STEPS)
        for slug in ("open", "sealed"):
            publish(api, slug, public_since="all")
        yield api


@pytest.fixture
def nobody(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A home without tokens or keys, and no settings."""
    for name in (
        "PIPESEAL_TOKEN",
        "PIPESEAL_TOKEN_FILE",
        "PIPESEAL_SERVER",
        "BUILDKITE_AGENT_VERIFICATION_JWKS_FILE",
    ):
        monkeypatch.delenv(name, raising=False)
    for name in ("HOME", "XDG_CONFIG_HOME", "XDG_DATA_HOME"):
        monkeypatch.setenv(name, str(tmp_path))


def run(*words: str) -> Result:
    return CliRunner().invoke(verify, list(words))


def said(*words: str) -> Any:
    result = run(*words, "-o", "json")
    assert result.stdout, result.exception
    return json.loads(result.stdout)


@pytest.mark.usefixtures("nobody")
def test_a_link_with_a_pin_is_all_that_a_stranger_needs(api: Api) -> None:
    found = said(f"{api.url}/local/open/builds/1#pin={PIN}")
    assert [job["state"] for job in found["jobs"]] == ["verified", "verified", "unsigned"]
    assert (found["exit"], found["keys"], found["read_as"]) == (NOT_SIGNED, "pinned", "stranger")
    assert {job["thumbprint"] for job in found["jobs"]} == {PIN, ""}
    assert any("without a token" in sentence for sentence in found["not_checked"])
    # The address of a page below the build, and a thumbprint as people write it down.
    grouped = " ".join(PIN[at : at + 4] for at in range(0, 43, 4))
    assert said(f"{api.url}/local/open/builds/1/trust?view=table", "--pin", grouped)["jobs"] == found["jobs"]
    text = run(f"{api.url}/local/open/builds/1#L3&pin={PIN}").stdout
    assert "with the keys you pinned" in text and "Not checked:" in text and "logs and artifacts are" in text


@pytest.mark.usefixtures("nobody")
def test_what_strangers_do_not_get_is_said_and_is_not_called_missing(api: Api) -> None:
    found = said(f"{api.url}/local/sealed/builds/1#pin={PIN}")
    assert [(job["state"], job["code"]) for job in found["jobs"]][:2] == [
        ("cannot_check", "evidence.withheld"),
        ("verified", ""),
    ]
    assert found["exit"] == CANNOT_CHECK
    assert found["not_checked"][0].startswith("1 of 3 steps: the server shows strangers no seals")


@pytest.mark.usefixtures("nobody")
def test_another_key_than_the_pinned_one_is_an_unknown_signer(api: Api) -> None:
    other = pair_of("ES256").key.thumbprint()
    found = said(f"{api.url}/local/open/builds/1#pin={other}")
    assert (found["exit"], found["jobs"][0]["code"]) == (UNKNOWN_SIGNER, "key.unknown")


@pytest.mark.usefixtures("nobody")
def test_with_a_pin_the_keys_of_a_file_count_only_if_they_are_pinned(api: Api, tmp_path: Path) -> None:
    (tmp_path / "keys.json").write_text(pair_of("EdDSA").public_set)
    target = f"{api.url}/local/open/builds/1"
    assert said(target, "--jwks-file", str(tmp_path / "keys.json"))["jobs"][0]["state"] == "verified"
    other = pair_of("ES256").key.thumbprint()
    found = said(target, "--jwks-file", str(tmp_path / "keys.json"), "--pin", other)
    assert found["jobs"][0]["state"] == "unknown_signer"


@pytest.mark.usefixtures("nobody")
def test_who_says_no_key_is_told_to(api: Api, tmp_path: Path) -> None:
    target = f"{api.url}/local/open/builds/1"
    result = run(target)
    assert isinstance(result.exception, ConfigurationError) and result.exception.code == "evidence.keys"
    # What `pipeseal init` wrote is one's own.
    (tmp_path / "pipeseal").mkdir()
    (tmp_path / "pipeseal" / "verification.json").write_text(pair_of("EdDSA").public_set)
    assert said(target)["jobs"][0]["state"] == "verified"


@pytest.mark.usefixtures("nobody")
def test_a_pin_is_enough_where_the_key_is_listed_or_one_s_own(api: Api, tmp_path: Path) -> None:
    target = f"{api.url}/local/open/builds/1#pin={PIN}"
    assert api.rest("DELETE", f"/keys/{PIN}").status == 204
    result = run(target)
    assert result.exit_code == UNKNOWN_SIGNER and "no key with the pinned thumbprint is here" in result.stderr
    # One's own file is asked too, as far as the pin allows.
    (tmp_path / "pipeseal").mkdir()
    own = tmp_path / "pipeseal" / "verification.json"
    own.write_text(pair_of("EdDSA").public_set)
    assert said(target)["jobs"][0]["state"] == "verified"
    # Listed by the command, it is everybody's.
    (tmp_path / "token").write_text(api.api_token)
    words = ["--server", api.url, "--token-file", str(tmp_path / "token"), "--description", "the uploader"]
    done = CliRunner().invoke(keys_publish, words)
    assert done.stdout == f"Listed {KEY['kid']} ({PIN}) on {api.url}\n", done.exception
    own.unlink()
    assert said(target)["jobs"][0]["state"] == "verified"
    (row,) = api.rest("GET", "/keys").json
    assert (row["id"], row["description"]) == (PIN, "the uploader")


@pytest.mark.usefixtures("nobody")
@pytest.mark.parametrize(
    ("algorithm", "half", "code"), [("EdDSA", "private_set", "key.private"), ("HS256", "public_set", "key.symmetric")]
)
def test_keys_that_can_sign_are_not_published(api: Api, tmp_path: Path, algorithm: str, half: str, code: str) -> None:
    (tmp_path / "keys.json").write_text(getattr(pair_of(algorithm), half))
    (tmp_path / "keys.json").chmod(0o600)
    (tmp_path / "token").write_text(api.api_token)
    before = api.rest("GET", "/keys").json
    words = ["--server", api.url, "--token-file", str(tmp_path / "token"), "--keys", str(tmp_path / "keys.json")]
    done = CliRunner().invoke(keys_publish, words)
    assert isinstance(done.exception, ConfigurationError) and done.exception.code == code
    assert api.rest("GET", "/keys").json == before


@pytest.mark.usefixtures("nobody")
def test_private_builds_and_those_that_are_not_there_look_the_same(api: Api) -> None:
    errors = []
    for slug in ("private", "nothing"):
        result = run(f"{api.url}/local/{slug}/builds/1#pin={PIN}")
        assert isinstance(result.exception, Unavailable), result.output
        assert result.exception.code == "client.refused" and "--token-file" in result.exception.help
        errors.append((result.exception.message, result.exception.status))
    assert errors[0] == errors[1]


@pytest.mark.usefixtures("nobody")
def test_a_token_that_is_named_reads_what_members_read(api: Api, tmp_path: Path) -> None:
    (tmp_path / "token").write_text(api.api_token)
    found = said(f"{api.url}/local/private/builds/1#pin={PIN}", "--token-file", str(tmp_path / "token"))
    assert (found["read_as"], found["jobs"][0]["state"]) == ("member", "verified")


@pytest.mark.usefixtures("nobody")
def test_a_key_that_the_server_calls_revoked_is_no_verified_one(api: Api) -> None:
    target = f"{api.url}/local/open/builds/1#pin={PIN}"
    assert api.rest("PATCH", f"/keys/{PIN}", {"revoked": True}).status == 200
    try:
        found = said(target)
    finally:
        assert api.rest("PATCH", f"/keys/{PIN}", {"revoked": False}).status == 200
    assert [job["code"] for job in found["jobs"]][:2] == ["key.revoked", "key.revoked"]
    assert found["exit"] == KEY_REVOKED
    assert said(target)["jobs"][0]["state"] == "verified"


class _Collector(BaseHTTPRequestHandler):
    """Writes down what it is sent, and has nothing."""

    def do_GET(self) -> None:
        self.server.seen.append((self.path, self.headers.get("Authorization")))  # type: ignore[attr-defined]  # set by the test
        self.send_response(404)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def collector() -> Iterator[Any]:
    server: Any = ThreadingHTTPServer(("127.0.0.1", 0), _Collector)
    server.seen = []
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@pytest.mark.usefixtures("nobody")
def test_an_address_from_anybody_collects_no_token(
    collector: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Tokens of settings, and of a server on this machine, are for that server alone."""
    url = f"http://127.0.0.1:{collector.server_port}"
    folder = tmp_path / "pipeseal" / "server"
    folder.mkdir(parents=True)
    (folder / "api-token").write_text("local-token")
    (tmp_path / "token").write_text("named-token")
    address = f"{url}/acme/app/builds/1#pin={PIN}"
    run(address)
    monkeypatch.setenv("PIPESEAL_TOKEN_FILE", str(tmp_path / "token"))
    run(address)
    monkeypatch.setenv("PIPESEAL_TOKEN", "token-of-a-variable")
    run(address)
    monkeypatch.setenv("PIPESEAL_SERVER", "https://ci.example.org")
    run(address)
    assert [header for _, header in collector.seen] == [None] * 4
    assert all("pin" not in path for path, _ in collector.seen)
    # The same settings, for the server they are of; and a file that is named for this address.
    monkeypatch.setenv("PIPESEAL_SERVER", f"{url}/")
    run(address)
    monkeypatch.delenv("PIPESEAL_TOKEN")
    monkeypatch.delenv("PIPESEAL_TOKEN_FILE")
    run(address)
    monkeypatch.delenv("PIPESEAL_SERVER")
    run(address, "--token-file", str(tmp_path / "token"))
    assert [header for _, header in collector.seen[4:]] == [
        "Bearer named-token",
        "Bearer local-token",
        "Bearer named-token",
    ]


@pytest.mark.parametrize(
    "text",
    ["", PIN[:-1], PIN + "A", "16271 27852 84959 72347 02659 58654", "uploader-1", PIN[:-1] + "="],
    ids=["nothing", "short", "long", "digits", "id", "padded"],  # keys differ from one process to the next
)
def test_only_a_whole_thumbprint_is_a_pin(text: str) -> None:
    with pytest.raises(MalformedInput) as caught:
        parse_pin(text)
    assert caught.value.code == "key.pin"


def test_only_pinned_public_keys_are_taken_from_a_server() -> None:
    secret = json.loads(pair_of("HS256").public_set)["keys"][0]
    private = json.loads(pair_of("ES256").private_set)["keys"][0]
    pins = {PIN, pair_of("HS256").key.thumbprint(), pair_of("ES256").key.thumbprint()}
    other = json.loads(pair_of("PS256").public_set)["keys"][0]
    entries = [
        *({"jwk": jwk} for jwk in (secret, private, {**other, "kid": KEY["kid"]}, {**KEY, "alg": ""}, {"kty": "x"})),
        {"jwk": None},
        None,
        {"jwk": KEY},
        {"jwk": KEY},
    ]
    found = find_pinned_keys([{"keys": entries}, {"keys": None}, {}], pins)
    assert [key.thumbprint() for key in found] == [PIN]
    assert found.key(KEY["kid"]).thumbprint == verification_keys().key(KEY["kid"]).thumbprint


def test_the_one_file_verifier_is_written_with_its_digest(tmp_path: Path, api: Api) -> None:
    page = tmp_path / "verify.html"
    result = run("--page", str(page))
    digest = sha256(page.read_bytes()).hexdigest()
    assert result.stdout == f"{digest}  {page}\n"
    assert run("--page-digest").stdout == f"{digest}  verify.html\n"
    # The server's own is the same file, and so is the digest beside it.
    assert api.call("GET", "/web/verify.html").body == page.read_bytes()
    assert api.call("GET", "/web/verify.html.sha256").body.decode() == f"{digest}  verify.html\n"
    again = run("--page", str(page))
    assert isinstance(again.exception, PipesealError) and again.exception.code == "evidence.page"
    assert run("--page-digest", "1.json").exit_code == 2 and run().exit_code == 2

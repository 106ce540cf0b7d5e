"""Signing in at a provider of OpenID Connect: a small real one, and what nobody gets away with."""

from __future__ import annotations

import base64
import dataclasses
import hashlib
import hmac
import json
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

import pytest
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.rsa import generate_private_key
from cryptography.hazmat.primitives.hashes import SHA256
from hypothesis import given, settings
from hypothesis import strategies as st
from joserfc import jwt
from joserfc.jwk import ECKey, RSAKey

from pipeseal.controlplane.domain import id_tokens
from pipeseal.controlplane.domain.id_tokens import PublicJwk, verify_id_token
from pipeseal.controlplane.domain.sign_in_provider import SignInProvider, make_provider
from pipeseal.controlplane.http.sign_in import BEGIN_PATH
from pipeseal.controlplane.services.sign_in_oidc import CALLBACK_PATH
from pipeseal.errors import ConfigurationError, VerificationError
from pipeseal.signing.base64url import render_base64url
from tests.controlplane.running import QUICK, Answer, RunningServer, running_server
from tests.controlplane.test_accounts import MARIA, Browser, first_owner

CLIENT, SECRET = "pipeseal", "s3cret/with+signs"
KEY = RSAKey.generate_key(2048, {"kid": "one", "use": "sig"}, private=True)
EC_KEY = ECKey.generate_key("P-256", {"kid": "two", "use": "sig"}, private=True)
OTHER_KEY = RSAKey.generate_key(2048, {"kid": "one", "use": "sig"}, private=True)
PERSON = {"sub": "42", "email": "lee@example.org", "email_verified": True, "name": "Lee"}


class Provider:
    """A provider: it asks nobody for a password, and keeps to the standard in everything else."""

    def __init__(self) -> None:
        self.person: dict[str, Any] = dict(PERSON)
        self.key: Any = KEY
        self.change: Callable[[dict[str, Any]], None] = lambda claims: None
        self.forge: Callable[[str], str] = lambda token: token
        self.codes: dict[str, dict[str, str]] = {}
        provider = self

        class Handler(BaseHTTPRequestHandler):
            def log_message(self, *_: Any) -> None:
                """Say nothing."""

            def _answer(self, status: int, body: Any, **headers: str) -> None:
                data = json.dumps(body).encode()
                self.send_response(status)
                for name, value in {"Content-Length": str(len(data)), **headers}.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(data)

            def do_GET(self) -> None:
                path, query = urlsplit(self.path).path, parse_qs(urlsplit(self.path).query)
                if path == "/authorize":
                    code = hashlib.sha256(self.path.encode()).hexdigest()
                    provider.codes[code] = {name: values[0] for name, values in query.items()}
                    back = urlencode({"code": code, "state": query["state"][0]})
                    self._answer(302, {}, Location=f"{query['redirect_uri'][0]}?{back}")
                elif path == "/keys":
                    keys = [key.as_dict(private=False) for key in (KEY, EC_KEY)]
                    self._answer(200, {"keys": [*keys, {"kty": "OKP", "crv": "Ed25519", "x": "x"}]})
                else:
                    self._answer(200, provider.discovery())

            def do_POST(self) -> None:
                form = parse_qs(self.rfile.read(int(self.headers["Content-Length"])).decode())
                asked = provider.codes.pop(form["code"][0], None)
                challenge = base64.urlsafe_b64encode(hashlib.sha256(form["code_verifier"][0].encode()).digest())
                pair = base64.b64encode(f"{CLIENT}:s3cret%2Fwith%2Bsigns".encode()).decode()
                if self.headers["Authorization"] != f"Basic {pair}":
                    self._answer(401, {"error": "invalid_client"})
                elif asked is None or asked["code_challenge"] != challenge.decode().rstrip("="):
                    self._answer(400, {"error": "invalid_grant"})
                else:
                    self._answer(200, {"access_token": "a", "id_token": provider.token(asked["nonce"])})

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        self._thread = threading.Thread(
            target=self._server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True
        )
        self._thread.start()

    def discovery(self) -> dict[str, str]:
        return {
            "issuer": self.url,
            "authorization_endpoint": f"{self.url}/authorize",
            "token_endpoint": f"{self.url}/token",
            "jwks_uri": f"{self.url}/keys",
        }

    def token(self, nonce: str) -> str:
        now = int(time.time())
        claims = {"iss": self.url, "aud": CLIENT, "exp": now + 300, "iat": now, "nonce": nonce, **self.person}
        self.change(claims)
        algorithm = "ES256" if self.key is EC_KEY else "RS256"
        header = {"alg": algorithm, "kid": self.key.kid}
        return self.forge(jwt.encode(header, claims, self.key, algorithms=["RS256", "ES256"]))

    def reset(self) -> None:
        self.person, self.key = dict(PERSON), KEY
        self.change, self.forge = (lambda claims: None), (lambda token: token)

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


@pytest.fixture(scope="module")
def shared_provider() -> Iterator[Provider]:
    provider = Provider()
    yield provider
    provider.close()


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory, shared_provider: Provider) -> Iterator[RunningServer]:
    made = make_provider(
        shared_provider.url, CLIENT, SECRET, domains=("Example.org",), role="reader", owners=("Boss@elsewhere.test",)
    )
    with running_server(tmp_path_factory.mktemp("data"), dataclasses.replace(QUICK, sign_in_provider=made)) as server:
        first_owner(server)
        yield server


@pytest.fixture
def provider(shared_provider: Provider) -> Provider:
    shared_provider.reset()
    return shared_provider


def to_provider(browser: Browser) -> str:
    """Begin, and go to the provider: where it sends the browser back to."""
    begun = browser.ask("GET", BEGIN_PATH)
    assert begun.status == 303
    address = urlsplit(begun.headers["location"])
    import http.client

    connection = http.client.HTTPConnection(address.hostname or "", address.port, timeout=60)
    connection.request("GET", f"{address.path}?{address.query}")
    back = connection.getresponse().getheader("location") or ""
    connection.close()
    return back.removeprefix(browser.running.api.url)


def sign_in(running: RunningServer) -> tuple[Browser, Answer]:
    browser = Browser(running)
    return browser, browser.ask("GET", to_provider(browser))


def problem(answer: Answer) -> str:
    assert answer.status == 303
    found = parse_qs(urlsplit(answer.headers["location"]).query)
    return found.get("problem", [""])[0]


def by_token(running: RunningServer, email: str) -> dict[str, Any] | None:
    people: list[dict[str, Any]] = running.api.rest("GET", "/members?per_page=100").json
    return next((one for one in people if one["email"] == email), None)


def test_person_of_the_domain_gets_an_account_and_keeps_it(running: RunningServer, provider: Provider) -> None:
    provider.person |= {"sub": "7", "email": "New@Example.org", "name": "New  One"}
    _, answer = sign_in(running)
    assert problem(answer) == ""
    assert answer.headers["location"] == "/"
    made = by_token(running, "new@example.org")
    assert made is not None
    assert (made["name"], made["role"]) == ("New One", "reader")
    # The subject is the person, whatever their address is by then.
    provider.person |= {"email": "renamed@example.org"}
    assert problem(sign_in(running)[1]) == ""
    assert by_token(running, "renamed@example.org") is None
    changes = running.api.rest("GET", "/changes?per_page=1").json
    assert (changes[0]["by"], changes[0]["subject"]) == ("New One", CALLBACK_PATH)


def test_browser_is_signed_in_and_page_says_where_one_can(running: RunningServer, provider: Provider) -> None:
    assert Browser(running).ask("GET", "/session").json["sign_in_at"] == "127.0.0.1"
    browser = Browser(running)
    back = to_provider(browser)
    assert browser.cookie.startswith("pipeseal-sign-in=")
    raw = running.api.call("GET", back, headers={"Cookie": browser.cookie})
    assert problem(raw) == ""


def test_keys_of_both_kinds_prove(running: RunningServer, provider: Provider) -> None:
    provider.key = EC_KEY
    assert problem(sign_in(running)[1]) == ""


def test_owner_by_rule_and_known_address(running: RunningServer, provider: Provider) -> None:
    provider.person |= {"sub": "boss", "email": "boss@elsewhere.test"}
    assert problem(sign_in(running)[1]) == ""
    made = by_token(running, "boss@elsewhere.test")
    assert made is not None
    assert made["role"] == "owner"
    before = len(running.api.rest("GET", "/members?per_page=100").json)
    provider.person |= {"sub": "maria", "email": MARIA["email"]}
    assert problem(sign_in(running)[1]) == ""
    assert len(running.api.rest("GET", "/members?per_page=100").json) == before, "she had an account already"


@pytest.mark.parametrize(
    "person",
    [
        {"sub": "a", "email": "x@evil.test"},
        {"sub": "b", "email": "x@evil.test@example.org"},
        {"sub": "c", "email": "x@sub.example.org"},
        {"sub": "d", "email": "unverified@example.org", "email_verified": False},
        {"sub": "e", "email": MARIA["email"], "email_verified": "yes"},
        {"sub": "f", "email": "", "email_verified": True},
    ],
)
def test_strangers_get_no_account(running: RunningServer, provider: Provider, person: dict[str, Any]) -> None:
    before = running.api.rest("GET", "/members?per_page=100").json
    provider.person |= person
    assert problem(sign_in(running)[1]) in ("access.oidc_stranger", "account.email")
    assert running.api.rest("GET", "/members?per_page=100").json == before


def test_account_that_is_switched_off_stays_off(running: RunningServer, provider: Provider) -> None:
    provider.person |= {"sub": "off", "email": "off@example.org"}
    assert problem(sign_in(running)[1]) == ""
    account = by_token(running, "off@example.org")
    assert account is not None
    running.api.rest("PATCH", f"/members/{account['id']}", {"disabled": True})
    assert problem(sign_in(running)[1]) == "access.oidc_stranger"
    provider.person["sub"] = "another one"
    assert problem(sign_in(running)[1]) == "access.oidc_stranger"


CHANGES: dict[str, Callable[[dict[str, Any]], None]] = {
    "another sign-in": lambda claims: claims.update(nonce="x" * 43),
    "no sign-in": lambda claims: claims.pop("nonce"),
    "another client": lambda claims: claims.update(aud="other"),
    "several clients": lambda claims: claims.update(aud=[CLIENT, "other"]),
    "used by another": lambda claims: claims.update(azp="other"),
    "another issuer": lambda claims: claims.update(iss="https://login.evil.test"),
    "over": lambda claims: claims.update(exp=int(time.time()) - 500),
    "to come": lambda claims: claims.update(iat=int(time.time()) + 500),
    "nobody": lambda claims: claims.update(sub=""),
    "no end": lambda claims: claims.pop("exp"),
}


@pytest.mark.parametrize("what", sorted(CHANGES))
def test_token_with_other_claims_proves_nothing(running: RunningServer, provider: Provider, what: str) -> None:
    provider.change = CHANGES[what]
    assert problem(sign_in(running)[1]) == "access.id_token"


def segment(value: Any) -> str:
    return base64.urlsafe_b64encode(json.dumps(value).encode()).decode().rstrip("=")


def unsigned(token: str) -> str:
    return f"{segment({'alg': 'none'})}.{token.split('.')[1]}."


def mac_with_public_key(token: str) -> str:
    signed = f"{segment({'alg': 'HS256', 'kid': 'one'})}.{token.split('.')[1]}"
    mac = hmac.digest(KEY.as_pem(private=False), signed.encode(), "sha256")
    return f"{signed}.{base64.urlsafe_b64encode(mac).decode().rstrip('=')}"


def other_payload(token: str) -> str:
    head, payload, signature = token.split(".")
    claims = json.loads(base64.urlsafe_b64decode(payload + "=="))
    return f"{head}.{segment({**claims, 'email': 'boss@elsewhere.test', 'sub': 'boss'})}.{signature}"


@pytest.mark.parametrize(
    "forge", [unsigned, mac_with_public_key, other_payload, lambda token: token[:-6], lambda _: "x"]
)
def test_forged_token_proves_nothing(running: RunningServer, provider: Provider, forge: Callable[[str], str]) -> None:
    provider.forge = forge
    assert problem(sign_in(running)[1]) == "access.id_token"


def test_key_that_the_provider_does_not_have_proves_nothing(running: RunningServer, provider: Provider) -> None:
    provider.key = OTHER_KEY
    assert problem(sign_in(running)[1]) == "access.id_token"


def test_answer_is_worth_nothing_in_another_browser_and_no_second_time(
    running: RunningServer, provider: Provider
) -> None:
    mine, theirs = Browser(running), Browser(running)
    back = to_provider(mine)
    to_provider(theirs)
    assert problem(theirs.ask("GET", back)) == "access.oidc_state", "nobody is signed in as somebody else"
    assert problem(Browser(running).ask("GET", back)) == "access.oidc_state"
    cookie = mine.cookie
    assert problem(mine.ask("GET", back)) == ""
    mine.cookie = cookie
    assert problem(mine.ask("GET", back)) == "server.oidc_provider", "the code was used"


def test_code_of_another_sign_in_is_not_redeemed(running: RunningServer, provider: Provider) -> None:
    """Whoever gets hold of a code cannot put it into a sign-in of their own: the provider asks for its verifier."""
    victim, attacker = Browser(running), Browser(running)
    stolen = parse_qs(urlsplit(to_provider(victim)).query)["code"][0]
    own = parse_qs(urlsplit(to_provider(attacker)).query)["state"][0]
    answer = attacker.ask("GET", f"{CALLBACK_PATH}?{urlencode({'code': stolen, 'state': own})}")
    assert problem(answer) == "server.oidc_provider"


def test_server_without_provider_knows_no_such_address(tmp_path: Path) -> None:
    with running_server(tmp_path / "data", QUICK) as running:
        assert running.api.call("GET", BEGIN_PATH).status == 404
        assert running.api.call("GET", CALLBACK_PATH).status == 404
        assert running.api.call("GET", "/session").json["sign_in_at"] is None


def test_provider_that_is_away_or_calls_itself_something_else(tmp_path: Path, provider: Provider) -> None:
    for issuer in ("http://127.0.0.1:9", provider.url.replace("127.0.0.1", "localhost")):
        made = SignInProvider(issuer, CLIENT, SECRET)
        with running_server(tmp_path / issuer[-5:], dataclasses.replace(QUICK, sign_in_provider=made)) as running:
            assert problem(running.api.call("GET", BEGIN_PATH)) == "server.oidc_provider"


@pytest.mark.parametrize(
    ("issuer", "more"),
    [
        ("http://login.example.org", {}),
        ("login.example.org", {}),
        ("https://user@login.example.org", {}),
        ("https://[login", {}),
        ("https://login.example.org", {"client_id": ""}),
        ("https://login.example.org", {"role": "king"}),
        ("https://login.example.org", {"domains": ("org",)}),
    ],
)
def test_settings_that_cannot_be_meant_are_refused(issuer: str, more: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError) as caught:
        make_provider(
            issuer,
            more.get("client_id", CLIENT),
            "",
            domains=more.get("domains", ()),
            role=more.get("role", "member"),
            owners=(),
        )
    assert caught.value.code == "server.oidc"


@settings(deadline=None)
@given(
    st.one_of(
        st.text(max_size=200), st.binary(max_size=200).map(lambda data: f"{segment({'alg': 'RS256'})}.{data!r}.x")
    )
)
def test_no_text_proves_anything_and_none_is_a_fault(token: str) -> None:
    keys = [PublicJwk(kty="RSA", n="AQAB", e="AQAB"), PublicJwk(kty="EC", crv="P-256", x="AA", y="AA")]
    with pytest.raises(VerificationError) as caught:
        verify_id_token(token, keys, issuer="i", client_id="c", nonce="n", now=0)
    assert caught.value.code == "access.id_token"


def test_weak_keys_prove_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    weak = generate_private_key(65_537, 1024)
    numbers, now = weak.public_key().public_numbers(), int(time.time())
    claims = {"iss": "i", "aud": "c", "exp": now + 60, "iat": now, "nonce": "n", "sub": "s"}
    signed = f"{segment({'alg': 'RS256'})}.{segment(claims)}"
    token = f"{signed}.{render_base64url(weak.sign(signed.encode(), PKCS1v15(), SHA256()))}"
    key = PublicJwk(kty="RSA", n=render_base64url(numbers.n.to_bytes(128)), e="AQAB")
    with pytest.raises(VerificationError):
        verify_id_token(token, [key], issuer="i", client_id="c", nonce="n", now=now)
    monkeypatch.setattr(id_tokens, "_MIN_RSA_BITS", 1024)
    assert verify_id_token(token, [key], issuer="i", client_id="c", nonce="n", now=now).subject == "s"

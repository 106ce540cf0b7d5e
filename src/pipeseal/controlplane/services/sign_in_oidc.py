"""Signing in at a provider of OpenID Connect: authorization code flow with PKCE, and who gets an account by it."""

from __future__ import annotations

import asyncio
import hashlib
import json
from base64 import b64encode
from collections.abc import Mapping
from dataclasses import dataclass
from hmac import compare_digest
from http.client import HTTPConnection, HTTPException, HTTPSConnection
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote, urlencode, urlsplit

import msgspec

from pipeseal.controlplane.domain.id_tokens import PublicJwk, VerifiedIdentity, verify_id_token
from pipeseal.controlplane.domain.sign_in_provider import SignInProvider, check_address
from pipeseal.controlplane.services.accounts import open_session, parse_email
from pipeseal.controlplane.store import accounts as account_store
from pipeseal.controlplane.store.database import Transaction
from pipeseal.errors import ConfigurationError, Unavailable, VerificationError
from pipeseal.signing.base64url import render_base64url

if TYPE_CHECKING:
    from pipeseal.controlplane.services.plane import ControlPlane

CALLBACK_PATH: Final = "/session/oidc/callback"
ATTEMPT_SECONDS: Final = 600
_TIMEOUT_SECONDS: Final = 10.0
_MAX_ANSWER: Final = 1 << 20
_MAX_NAME: Final = 80


class _Discovery(msgspec.Struct):
    issuer: str
    authorization_endpoint: str
    token_endpoint: str
    jwks_uri: str


class _Keys(msgspec.Struct):
    keys: list[PublicJwk]


class _Tokens(msgspec.Struct):
    id_token: str


@dataclass(frozen=True, slots=True)
class Attempt:
    """One sign-in under way. Only the browser holds it, in a cookie of its own.

    Parameters:
        state: ties the provider's answer to this browser. # RFC 6749 10.12
        nonce: ties the ID token to this sign-in.
        verifier: proves to the provider that the code is redeemed by whoever asked for it. # RFC 7636
    """

    state: str
    nonce: str
    verifier: str

    def render(self) -> str:
        """As text for the cookie."""
        return f"{self.state}.{self.nonce}.{self.verifier}"


async def begin(plane: ControlPlane, provider: SignInProvider) -> tuple[Attempt, str]:
    """A sign-in that begins: what the browser keeps, and the provider's address that it goes to.

    Raises:
        Unavailable: `server.oidc_provider`.
    """
    found = await _discover(provider)
    attempt = Attempt(*(render_base64url(plane.randomness(32)) for _ in range(3)))
    query = {
        "response_type": "code",
        "client_id": provider.client_id,
        "redirect_uri": plane.url + CALLBACK_PATH,
        "scope": "openid email profile",
        "state": attempt.state,
        "nonce": attempt.nonce,
        "code_challenge": render_base64url(hashlib.sha256(attempt.verifier.encode()).digest()),  # RFC 7636 4.2
        "code_challenge_method": "S256",
    }
    joint = "&" if urlsplit(found.authorization_endpoint).query else "?"
    return attempt, found.authorization_endpoint + joint + urlencode(query)


async def finish(
    plane: ControlPlane, provider: SignInProvider, *, cookie: str, state: str, code: str, browser: str
) -> str:
    """The token for a browser that comes back from the provider.

    Parameters:
        cookie: what `begin` gave to the browser.
        state, code: of the provider's answer.
        browser: what it calls itself.

    Raises:
        VerificationError: `access.oidc_state`, the answer is to nothing that this browser asked; `access.id_token`;
            `access.oidc_stranger`, nobody who may sign in here.
        Unavailable: `server.oidc_provider`.
    """
    parts = cookie.split(".")
    if len(parts) != 3 or not all(parts) or not compare_digest(parts[0].encode(), state.encode()):
        raise VerificationError(
            "access.oidc_state", "this browser has not asked to sign in there, or not lately", help="sign in again"
        )
    attempt = Attempt(*parts)
    found = await _discover(provider)
    form = {
        "grant_type": "authorization_code",
        "code": code,
        "redirect_uri": plane.url + CALLBACK_PATH,
        "client_id": provider.client_id,
        "code_verifier": attempt.verifier,
    }
    tokens = await _ask(found.token_endpoint, _Tokens, form=form, headers=_authorization(provider))
    keys = await _ask(found.jwks_uri, _Keys)
    identity = verify_id_token(
        tokens.id_token,
        keys.keys,
        issuer=found.issuer,
        client_id=provider.client_id,
        nonce=attempt.nonce,
        now=plane.clock.now(),
    )
    account_id = await plane.database.write(lambda tx: _account_of(tx, plane, provider, identity))
    return await open_session(plane, account_id, browser=browser)


def _account_of(tx: Transaction, plane: ControlPlane, provider: SignInProvider, identity: VerifiedIdentity) -> str:
    """The account of a person: the one from before, the one with their address, or a new one if rules allow it."""
    account = account_store.find_account_by_identity(tx, identity.issuer, identity.subject)
    known = account is not None
    if account is None and identity.email:
        # Who has an account with this address is the same person: the provider has verified the address.
        account = account_store.find_account_by_email(tx, identity.email)
    if account is not None and account["disabled_at"] is not None:
        raise _stranger("the account is switched off")
    account_id = str(account["id"]) if account is not None else _new_account(tx, plane, provider, identity)
    if not known:
        account_store.insert_identity(
            tx, issuer=identity.issuer, subject=identity.subject, account_id=account_id, now=plane.now()
        )
    return account_id


def _new_account(tx: Transaction, plane: ControlPlane, provider: SignInProvider, identity: VerifiedIdentity) -> str:
    if not identity.email:
        raise _stranger("the provider has not verified your e-mail address")
    is_owner = identity.email in provider.owners
    if not is_owner and identity.email.rpartition("@")[2] not in provider.domains:
        raise _stranger("nobody has invited your address")
    account_id = plane.new_id()
    account_store.insert_account(
        tx,
        id=account_id,
        email=parse_email(identity.email),
        name=" ".join(identity.name.split())[:_MAX_NAME] or identity.email.partition("@")[0],
        role="owner" if is_owner else provider.role,
        password="",
        now=plane.now(),
    )
    return account_id


def _stranger(why: str) -> VerificationError:
    return VerificationError("access.oidc_stranger", f"you cannot sign in here: {why}", help="ask an owner")


def _authorization(provider: SignInProvider) -> dict[str, str]:
    """How this server shows its secret. # RFC 6749 2.3.1"""
    if not provider.client_secret:
        return {}
    pair = f"{quote(provider.client_id, safe='')}:{quote(provider.client_secret, safe='')}"
    return {"Authorization": "Basic " + b64encode(pair.encode()).decode()}


async def _discover(provider: SignInProvider) -> _Discovery:
    """Where the provider's endpoints are. # OpenID Connect Discovery 4.3"""
    found: _Discovery = await _ask(provider.issuer + "/.well-known/openid-configuration", _Discovery)
    if found.issuer.rstrip("/") != provider.issuer:
        raise Unavailable("server.oidc_provider", "the sign-in provider calls itself something else than its URL")
    return found


async def _ask(address: str, type_: Any, *, form: Mapping[str, str] | None = None, headers: Any = None) -> Any:
    return await asyncio.to_thread(_fetch, address, type_, form, dict(headers or {}))


def _fetch(address: str, type_: Any, form: Mapping[str, str] | None, headers: dict[str, str]) -> Any:
    """A JSON answer of the provider: one time limit for each step, a bounded size, no redirects."""
    try:
        check_address(address)
        parts = urlsplit(address)
        kind = HTTPSConnection if parts.scheme == "https" else HTTPConnection
        connection = kind(parts.hostname or "", parts.port, timeout=_TIMEOUT_SECONDS)
        try:
            headers |= {"Accept": "application/json"}
            body = None
            if form is not None:
                body = urlencode(form)
                headers["Content-Type"] = "application/x-www-form-urlencoded"
            path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
            connection.request("GET" if form is None else "POST", path, body, headers)
            answer = connection.getresponse()
            data = answer.read(_MAX_ANSWER + 1)
        finally:
            connection.close()
        if answer.status != 200 or len(data) > _MAX_ANSWER:
            raise Unavailable("server.oidc_provider", f"the sign-in provider answered {answer.status}{_why(data)}")
        return msgspec.json.decode(data, type=type_)
    except (OSError, HTTPException, ValueError, RecursionError, ConfigurationError) as error:
        raise Unavailable(
            "server.oidc_provider", f"the sign-in provider's answer cannot be used: {type(error).__name__}"
        ) from error


def _why(data: bytes) -> str:
    """The error that a provider tells, in its own few words. # RFC 6749 5.2"""
    try:
        said = json.loads(data[:10_000])
    except (ValueError, RecursionError):
        return ""
    code = said.get("error") if isinstance(said, dict) else None
    return f" ({code[:60]!r})" if isinstance(code, str) else ""

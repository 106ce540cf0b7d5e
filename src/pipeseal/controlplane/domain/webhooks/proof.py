"""Is a delivery really from the provider? Decided on its bytes, before anything in it is read."""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from pipeseal.errors import ConfigurationError, VerificationError

WINDOW_SECONDS = 300  # how far a signed time may be from ours
MIN_SECRET_LENGTH = 16  # characters
_STANDARD_PREFIX = "whsec_"
_SIGNED_TIME = re.compile(r"timestamp=([0-9]{1,12}),\s*signature=([0-9a-f]{64})")
_SECONDS = re.compile(r"[0-9]{1,12}")
_PRINTABLE = re.compile(r"[!-~]{1,128}")


class Provider(StrEnum):
    """Who sends webhooks."""

    GITHUB = "github"
    GITLAB = "gitlab"
    BITBUCKET = "bitbucket"  # the cloud service
    BITBUCKET_SERVER = "bitbucket_server"  # Data Center and Server
    GIT = "git"  # a `post-receive` hook of our own


@dataclass(frozen=True, slots=True)
class VerifiedDelivery:
    """A delivery whose body comes from a holder of the secret: made by `verify_delivery`.

    Parameters:
        event: the provider's name for what happened, from a header that no signature covers.
        identifier: the provider's name for this delivery, for logs; empty when it gave none.
        replay_key: what to remember, so that the same delivery does not count twice; made of proven bytes wherever
            the provider proves any.
    """

    provider: Provider
    event: str
    identifier: str
    replay_key: str
    content_type: str
    body: bytes


# Header names, in lower case, of the event and of the delivery.
_EVENT_HEADERS = {
    Provider.GITHUB: ("x-github-event", "x-github-delivery"),
    Provider.GITLAB: ("x-gitlab-event", "x-gitlab-event-uuid"),
    Provider.BITBUCKET: ("x-event-key", "x-request-uuid"),
    Provider.BITBUCKET_SERVER: ("x-event-key", "x-request-id"),
    Provider.GIT: ("", "x-pipeseal-delivery"),
}


def verify_delivery(
    provider: Provider, headers: Mapping[str, str], body: bytes, *, secrets: Sequence[str], now: float
) -> VerifiedDelivery:
    """A delivery that was made by a holder of one of `secrets`.

    1. There is a secret, and every secret is long enough to be one.
    2. The header that proves the delivery is there and well formed.
    3. A signed time is at most five minutes from ours.
    4. The proof is right for one of the secrets; all of them are tried, in constant time.

    How each provider proves a delivery:
        GitHub: `X-Hub-Signature-256`, HMAC-SHA256 of the body.
        Bitbucket, cloud and server: `X-Hub-Signature`, the same.
        GitLab: a secret that starts with `whsec_` is a signing token, and the proof follows Standard Webhooks
            (HMAC-SHA256 of `id.timestamp.body`); any other is a token that GitLab sends along in `X-Gitlab-Token`.
        Plain git: `X-Pipeseal-Signature: timestamp=...,signature=...`, HMAC-SHA256 of `timestamp.body`.

    Parameters:
        headers: of the request; names in any case.
        body: of the request, byte for byte.
        secrets: the current one, and during a change the former one too.
        now: seconds since 1970-01-01T00:00:00Z.

    Does not check: whether the delivery was seen before (remember `replay_key`), which event it is (headers are not
    signed), whether it is about the pipeline's repository, and anything it says.

    Raises:
        ConfigurationError: `webhook.secret`.
        VerificationError: `webhook.unsigned`, `webhook.signature`, `webhook.stale`.
    """
    lowered = {name.lower(): value for name, value in headers.items()}
    # 1. Usable secrets.
    _check_secrets(provider, secrets)
    # 2. to 4. The proof of this provider.
    replay_key = _PROOFS[provider](lowered, body, secrets, now)
    event_header, delivery_header = _EVENT_HEADERS[provider]
    identifier = lowered.get(delivery_header) or lowered.get("webhook-id", "")
    return VerifiedDelivery(
        provider=provider,
        event=lowered.get(event_header, "push" if provider is Provider.GIT else "")[:128],
        identifier=identifier if _PRINTABLE.fullmatch(identifier) else "",
        replay_key=f"{provider}:{replay_key}",
        content_type=lowered.get("content-type", "").split(";", 1)[0].strip().lower(),
        body=body,
    )


def _check_secrets(provider: Provider, secrets: Sequence[str]) -> None:
    if not secrets:
        raise ConfigurationError(
            "webhook.secret",
            "there is no secret for this webhook, so no delivery can be told from a forged one",
            help="set a secret here and at the provider",
        )
    for secret in secrets:
        if len(secret) < MIN_SECRET_LENGTH:
            raise ConfigurationError(
                "webhook.secret",
                f"the secret of this webhook has {len(secret)} characters, at least {MIN_SECRET_LENGTH} are needed",
                help="make a random one: python3 -c 'import secrets; print(secrets.token_urlsafe(32))'",
            )
        if provider is Provider.GITLAB and secret.startswith(_STANDARD_PREFIX):
            standard_key(secret)


def standard_key(secret: str) -> bytes:
    """The key inside a `whsec_` secret (Standard Webhooks, "Signature scheme").

    Raises:
        ConfigurationError: `webhook.secret`, it is not base64.
    """
    try:
        return base64.b64decode(secret.removeprefix(_STANDARD_PREFIX), validate=True)
    except (binascii.Error, ValueError) as error:
        raise ConfigurationError(
            "webhook.secret",
            "a secret that starts with whsec_ must go on in base64",
            help="copy it again, whole, from the provider",
        ) from error


def _prove_hub(header: str) -> Callable[[Mapping[str, str], bytes, Sequence[str], float], str]:
    def prove(headers: Mapping[str, str], body: bytes, secrets: Sequence[str], _now: float) -> str:
        # 2. `sha256=` and 64 hexadecimal digits.
        given = _header(headers, header)
        if not re.fullmatch(r"sha256=[0-9a-fA-F]{64}", given):
            raise _wrong(f"{header} is not of the form sha256=...")
        # 4. HMAC-SHA256 of the body.
        expected = [hmac.digest(secret.encode(), body, "sha256") for secret in secrets]
        _compare(bytes.fromhex(given[7:]), expected)
        # Headers are not covered, the delivery's own id neither: the body is all there is to recognise it by.
        return hashlib.sha256(body).hexdigest()

    return prove


def _prove_gitlab(headers: Mapping[str, str], body: bytes, secrets: Sequence[str], now: float) -> str:
    signing = [secret for secret in secrets if secret.startswith(_STANDARD_PREFIX)]
    tokens = [secret for secret in secrets if not secret.startswith(_STANDARD_PREFIX)]
    if signing and ("webhook-signature" in headers or not tokens):
        return _prove_standard(headers, body, signing, now)
    # 2. The token itself, in the clear.
    given = _header(headers, "x-gitlab-token")
    # 4. Hashes are compared, so that lengths do not show either.
    _compare(_sha256(given), [_sha256(token) for token in tokens])
    # Whoever replays this has the token, so a key that cannot be varied would protect nothing.
    identifier = headers.get("x-gitlab-event-uuid", "")
    return identifier if _PRINTABLE.fullmatch(identifier) else hashlib.sha256(body).hexdigest()


def _prove_standard(headers: Mapping[str, str], body: bytes, secrets: Sequence[str], now: float) -> str:
    # 2. Id, time and one or more `v1,` signatures.
    identifier, moment = _header(headers, "webhook-id"), _header(headers, "webhook-timestamp")
    given = [
        signature[3:] for signature in _header(headers, "webhook-signature").split(" ") if signature.startswith("v1,")
    ]
    if not given or not _PRINTABLE.fullmatch(identifier):
        raise _wrong("webhook-signature has no v1 signature")
    # 3. The time it was signed.
    _check_time(moment, now)
    # 4. HMAC-SHA256 of `id.timestamp.body`.
    signed = f"{identifier}.{moment}.".encode() + body
    expected = [base64.b64encode(hmac.digest(standard_key(secret), signed, "sha256")) for secret in secrets]
    _compare_any([signature.encode() for signature in given[:16]], expected)
    return identifier


def _prove_git(headers: Mapping[str, str], body: bytes, secrets: Sequence[str], now: float) -> str:
    # 2. Time and signature.
    match = _SIGNED_TIME.fullmatch(_header(headers, "x-pipeseal-signature"))
    if match is None:
        raise _wrong("x-pipeseal-signature is not of the form timestamp=...,signature=...")
    # 3. The time it was signed.
    _check_time(match[1], now)
    # 4. HMAC-SHA256 of `timestamp.body`.
    signed = match[1].encode() + b"." + body
    _compare(bytes.fromhex(match[2]), [hmac.digest(secret.encode(), signed, "sha256") for secret in secrets])
    return match[2]


_PROOFS = {
    Provider.GITHUB: _prove_hub("x-hub-signature-256"),
    Provider.GITLAB: _prove_gitlab,
    Provider.BITBUCKET: _prove_hub("x-hub-signature"),
    Provider.BITBUCKET_SERVER: _prove_hub("x-hub-signature"),
    Provider.GIT: _prove_git,
}


def _header(headers: Mapping[str, str], name: str) -> str:
    value = headers.get(name, "")
    if not value:
        raise VerificationError(
            "webhook.unsigned",
            f"the delivery has no header {name}",
            help="set the same secret at the provider; deliveries without one are refused",
        )
    return value


def _check_time(text: str, now: float) -> None:
    if not _SECONDS.fullmatch(text):
        raise _wrong("the signed time is not a number of seconds")
    away = int(text) - now
    if abs(away) > WINDOW_SECONDS:
        raise VerificationError(
            "webhook.stale",
            f"the delivery was signed {abs(away):.0f} seconds {'ahead of' if away > 0 else 'before'} our time, "
            f"more than {WINDOW_SECONDS}",
            help="set the clocks of both machines; an old delivery must be sent anew",
        )


def _compare(given: bytes, expected: Sequence[bytes]) -> None:
    _compare_any([given], expected)


def _compare_any(given: Sequence[bytes], expected: Sequence[bytes]) -> None:
    # Every pair is compared, so that the time it takes says nothing about which one was nearly right.
    matches = [hmac.compare_digest(one, other) for one in given for other in expected]
    if not any(matches):
        raise _wrong("it was not made with this webhook's secret, or the body was changed on the way")


def _wrong(reason: str) -> VerificationError:
    return VerificationError(
        "webhook.signature",
        f"the delivery's signature is wrong: {reason}",
        help="compare the secret here with the one at the provider",
    )


def _sha256(text: str) -> bytes:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()

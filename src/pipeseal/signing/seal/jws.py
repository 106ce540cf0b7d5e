"""JWS with its content inside, as seals are (RFC 7515 section 7.1): the only place where they are made and read.

One spelling: `BASE64URL(header).BASE64URL(payload).BASE64URL(signature)` without padding, the header exactly `alg`,
`kid` and `typ` in canonical JSON. `typ` keeps a seal from passing for another thing that the same key signed, and
other things from passing for a seal (RFC 8725 section 3.11).
"""

from __future__ import annotations

from base64 import urlsafe_b64encode
from typing import Final, NamedTuple

import orjson

from pipeseal.errors import ConfigurationError, MalformedInput
from pipeseal.signing.base64url import parse_base64url, render_base64url
from pipeseal.signing.keys.algorithms import ALGORITHMS
from pipeseal.signing.keys.signing_key import SigningKey
from pipeseal.signing.payload import render_canonical
from pipeseal.signing.seal.envelope import MAX_SEAL_CHARACTERS

TYP: Final = "pipeseal-seal+jws"
MAX_KID_CHARACTERS: Final = 256


class SealJws(NamedTuple):
    """A seal's outermost layer, read and not verified.

    Parameters:
        alg, kid: what its header says.
        payload: the bytes inside.
        signature: raw signature bytes.
        signing_input: the bytes that were signed (RFC 7515 section 5.1 step 8).
    """

    alg: str
    kid: str
    payload: bytes
    signature: bytes
    signing_input: bytes


class JwsSigner:
    """Signs payloads with one key; the header, the same every time, is rendered once.

    Parameters:
        key: signs, and names the algorithm and key id of the header.

    Raises:
        ConfigurationError: `seal.key`: the key has no id, or one that is too long.
    """

    __slots__ = ("_prefix", "_sign")

    def __init__(self, key: SigningKey) -> None:
        if not key.kid or len(key.kid) > MAX_KID_CHARACTERS:
            raise ConfigurationError(
                "seal.key",
                f"the key has {'an id that is too long' if key.kid else 'no id (`kid`)'}, and seals name their key",
                help="make a key with `pipeseal tool keygen`, or leave the seals out with --no-seal",
            )
        self._prefix = urlsafe_b64encode(_header(key.alg, key.kid)).rstrip(b"=") + b"."
        self._sign = key.sign

    def sign(self, payload: bytes) -> str:
        """The compact JWS of `payload`.

        Raises:
            MalformedInput: `seal.too_large`.
            Unavailable: the key's home did not answer.
        """
        signing_input = self._prefix + urlsafe_b64encode(payload).rstrip(b"=")
        text = f"{signing_input.decode('ascii')}.{render_base64url(self._sign(signing_input))}"
        check_size(text)
        return text


def _header(alg: str, kid: str) -> bytes:
    return render_canonical({"alg": alg, "kid": kid, "typ": TYP})


def check_size(text: str) -> None:
    """Refuse a seal that is too long to travel as a variable.

    Raises:
        MalformedInput: `seal.too_large`.
    """
    if len(text) > MAX_SEAL_CHARACTERS:
        raise MalformedInput(
            "seal.too_large",
            f"the seal is {len(text):,} characters long; no variable should exceed {MAX_SEAL_CHARACTERS:,}",
            help="move long commands into scripts of the repository; --no-seal leaves the seals out",
        )


def parse_seal_jws(text: str) -> SealJws:
    """The outermost layer of a seal, in the one spelling it has. The payload is not looked at.

    Parameters:
        text: the seal.

    Raises:
        MalformedInput: `seal.too_large`; `seal.malformed`: not three segments of base64url; `seal.type`: a JWS of
            another kind; `seal.header`: any other header than algorithm, key id and type.
    """
    check_size(text)
    segments = text.split(".")
    if len(segments) != 3 or not all(segments):
        # RFC 7515 section 7.1: three segments, none of them empty; there is no JSON serialisation here.
        raise _malformed("it is not three segments with dots between them")
    try:
        header, payload, signature = map(parse_base64url, segments)
    except ValueError:
        raise _malformed("a segment is not base64url in its one spelling") from None
    alg, kid = _parse_header(header)
    signing_input = text[: -len(segments[2]) - 1].encode("ascii")
    return SealJws(alg, kid, payload, signature, signing_input)


def _parse_header(data: bytes) -> tuple[str, str]:
    try:
        members = orjson.loads(data)
    except orjson.JSONDecodeError:
        raise _bad_header("is not JSON") from None
    if not isinstance(members, dict):
        raise _bad_header("is not a JSON object")
    if members.get("typ") != TYP:
        raise MalformedInput(
            "seal.type",
            f"this is not a seal: its header does not say `typ` {TYP}",
            help="sign the step again; a signature that was made for something else seals nothing",
        )
    alg, kid = members.get("alg"), members.get("kid")
    if not isinstance(alg, str) or alg not in ALGORITHMS:
        raise _bad_header("names no algorithm that steps are signed with")
    if not isinstance(kid, str) or not 0 < len(kid) <= MAX_KID_CHARACTERS:
        raise _bad_header("names no key")
    if data != _header(alg, kid):
        # Duplicates, other members (`crit`, `b64`, `jwk`, `jku`, ...), other orders, spaces and escapes all end here.
        raise _bad_header("is not exactly `alg`, `kid` and `typ` in canonical JSON")
    return alg, kid


def _bad_header(why: str) -> MalformedInput:
    return MalformedInput("seal.header", f"the seal's header {why}", help="sign the step again")


def _malformed(why: str) -> MalformedInput:
    return MalformedInput("seal.malformed", f"the seal is malformed: {why}", help="sign the step again")

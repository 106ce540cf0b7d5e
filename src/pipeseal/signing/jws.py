"""JWS with detached content: the only place where they are made and read (RFC 7515 section 7.1 and appendix F).

One spelling, the one that signers of this format write: `BASE64URL(header)..BASE64URL(signature)`, the header exactly
`{"alg":A,"kid":K}` without spaces and in that order. Everything else that a JOSE library might accept (other members,
other orders, padding, white space, JSON serialisation, unencoded payloads) is refused, so that nothing in a signature
can mean two things.
"""

from __future__ import annotations

import json
from base64 import urlsafe_b64encode
from typing import NamedTuple

from pipeseal.errors import MalformedInput, VerificationError
from pipeseal.signing.base64url import parse_base64url, render_base64url
from pipeseal.signing.keys.crypto import SignatureMismatch
from pipeseal.signing.keys.signing_key import SigningKey
from pipeseal.signing.keys.verification_keys import TrustedKey, VerificationKeys

MAX_JWS_CHARACTERS = 16_384


class JwsHeader(NamedTuple):
    """What a signature says of itself, untrusted until it is verified.

    Parameters:
        alg: the algorithm name.
        kid: the key id.
    """

    alg: str
    kid: str


class ParsedJws(NamedTuple):
    """A detached JWS, read and not verified.

    Parameters:
        header: what it says of itself.
        protected: the header's segment as it stands, the first part of the signing input.
        signature: raw signature bytes.
    """

    header: JwsHeader
    protected: str
    signature: bytes


def render_header(alg: str, kid: str | None) -> str:
    """The header's exact text, as `encoding/json` writes it; `kid` is left out when there is none.

    Parameters:
        alg: algorithm name.
        kid: key id, or None, or empty.
    """
    return f'{{"alg":{_quote(alg)},"kid":{_quote(kid)}}}' if kid else f'{{"alg":{_quote(alg)}}}'


def _quote(text: str) -> str:
    if text.isascii() and text.replace("-", "").replace("_", "").isalnum():
        return f'"{text}"'
    quoted = json.dumps(text, ensure_ascii=False)
    for character in "<>&\u2028\u2029":
        quoted = quoted.replace(character, f"\\u{ord(character):04x}")
    return quoted


def sign_jws(payload: bytes, key: SigningKey) -> str:
    """A detached JWS over `payload` (RFC 7515 section 5.1, appendix F).

    Parameters:
        payload: the exact bytes to sign; they are not part of the result.
        key: signs, and names the algorithm and key id of the header.

    Returns:
        `BASE64URL(header)..BASE64URL(signature)`.

    Raises:
        Unavailable: the key's home did not answer.
    """
    return DetachedSigner(key).sign(payload)


class DetachedSigner:
    """Makes detached JWS with one key; the header, the same every time, is rendered once.

    Parameters:
        key: signs, and names the algorithm and key id of the header.
    """

    __slots__ = ("_prefix", "_protected", "_sign")

    def __init__(self, key: SigningKey) -> None:
        self._protected = render_base64url(render_header(key.alg, key.kid).encode())
        self._prefix = self._protected.encode("ascii") + b"."
        self._sign = key.sign

    def sign(self, payload: bytes) -> str:
        """As `sign_jws`."""
        # RFC 7515 section 5.1 step 8
        signature = self._sign(self._prefix + urlsafe_b64encode(payload).rstrip(b"="))
        return f"{self._protected}..{render_base64url(signature)}"


def parse_jws(text: str) -> ParsedJws:
    """A detached JWS in the one spelling this format has.

    Parameters:
        text: the signature's `value`.

    Raises:
        MalformedInput: `signature.malformed`: any other spelling, or a header without `kid`.
    """
    if len(text) > MAX_JWS_CHARACTERS:
        raise _malformed(f"it is {len(text)} characters long; the limit is {MAX_JWS_CHARACTERS}")
    segments = text.split(".")
    if len(segments) != 3:
        # RFC 7515 section 7.1: exactly three segments; the JSON serialisations are not part of the format.
        raise _malformed("it is not three segments with dots between them")
    protected, content, signature = segments
    if content:
        # RFC 7515 appendix F: the payload is detached; one inside the signature could be another step's.
        raise _malformed("it carries a payload of its own")
    if not signature:
        raise _malformed("its signature segment is empty")
    try:
        return ParsedJws(_parse_header(parse_base64url(protected)), protected, parse_base64url(signature))
    except (ValueError, RecursionError):
        raise _malformed("a segment is not base64url of what it should be") from None


def _parse_header(data: bytes) -> JwsHeader:
    # UnicodeDecodeError is a ValueError, as is what the JSON reader raises.
    text = data.decode("utf-8")
    header = json.loads(text)
    if not isinstance(header, dict):
        raise _malformed("its header is not a JSON object")
    alg, kid = header.get("alg"), header.get("kid")
    if not isinstance(alg, str) or not isinstance(kid, str) or not kid:
        # A verifier picks the key by its id alone: a signature without one names no key.
        raise _malformed("its header does not name both an algorithm (`alg`) and a key id (`kid`)")
    if text != render_header(alg, kid):
        # Duplicates, other members (`crit`, `b64`, `jwk`, `jku`, ...), other orders, spaces and escapes all end here.
        raise _malformed("its header is not exactly an algorithm and a key id, in the format's spelling")
    return JwsHeader(alg, kid)


def _malformed(why: str) -> MalformedInput:
    return MalformedInput(
        "signature.malformed",
        f"the signature is malformed: {why}",
        help="sign the step again, with `pipeseal tool sign` or at upload",
    )


def verify_jws(text: str, payload: bytes, keys: VerificationKeys, *, algorithm: str) -> TrustedKey:
    """The trusted key that made the detached JWS `text` over `payload`.

    Plan:
        1. `text` is a detached JWS in the one spelling this format has.
        2. `keys` has a key with the header's key id, and that key is for verifying signatures.
        3. The header's algorithm, the key's algorithm and `algorithm` are one and the same.
        4. The signature over header and `payload` is right by the key's algorithm.

    Does not check: what the payload says; the key's age, or what it may sign.

    Parameters:
        text: the signature's `value`.
        payload: the bytes that should have been signed.
        keys: the trusted keys.
        algorithm: the algorithm that the signature's surroundings name.

    Raises:
        VerificationError: `signature.malformed`, `key.unknown`, `key.unsuitable`, `algorithm.mismatch`,
            `signature.mismatch`.
    """
    # 1.
    try:
        jws = parse_jws(text)
    except MalformedInput as error:
        raise VerificationError(error.code, error.message, help=error.help) from None
    # 2.
    key = keys.key(jws.header.kid)
    # 3. RFC 8725 section 3.1: the key decides, and whoever disagrees with it is refused.
    if not jws.header.alg == key.alg == algorithm:
        raise VerificationError(
            "algorithm.mismatch",
            f"the signature is for {jws.header.alg} and {algorithm}, its key {key.kid!r} for {key.alg}",
            evidence=signer_evidence(key),
        )
    # 4.
    signing_input = f"{jws.protected}.".encode("ascii") + urlsafe_b64encode(payload).rstrip(b"=")
    try:
        key.verifier(jws.signature, signing_input)
    except SignatureMismatch:
        raise VerificationError(
            "signature.mismatch",
            f"the step is not the one that {key.kid!r} signed",
            evidence=signer_evidence(key),
        ) from None
    return key


def signer_evidence(key: TrustedKey) -> dict[str, str]:
    """Who signed, for logs and pages: key id with the beginning of its thumbprint."""
    return {"signed by": f"{key.kid} ({key.thumbprint[:8]}…)"}

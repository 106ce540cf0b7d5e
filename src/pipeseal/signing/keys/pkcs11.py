"""Keys in an HSM or token: `pkcs11:token=T;object=K?module-path=/path/to/module.so&pin-source=file:/path` (RFC 7512).

The PIN is read from the file that `pin-source` names, or from the variable PIPESEAL_PKCS11_PIN. `pin-value` is not
taken: URIs are seen in process lists, settings and logs.
"""

from __future__ import annotations

import os
import re
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import unquote, unquote_to_bytes

from pipeseal.errors import ConfigurationError, Unavailable, escape_control
from pipeseal.signing.keys.algorithms import CURVE_BYTES
from pipeseal.signing.keys.files import read_key_file
from pipeseal.signing.keys.jwk import Jwk
from pipeseal.signing.keys.kept import (
    KeptSigningKey,
    digest_of,
    hash_name,
    make_public_jwk,
    read_public_pem,
    refuse_key,
    row_of,
)

if TYPE_CHECKING:
    import pkcs11

HOME = "the PKCS #11 token"
PIN_VARIABLE = "PIPESEAL_PKCS11_PIN"
# RFC 7512 section 2.3: attributes of the path and of the query, as far as they say which key and how to get at it.
_PATH_ATTRIBUTES = frozenset({"token", "serial", "manufacturer", "model", "object", "id", "type", "slot-id"})
_QUERY_ATTRIBUTES = frozenset({"module-path", "pin-source", "alg"})
_ED25519_BYTES = 32


class TokenUri(NamedTuple):
    """A PKCS #11 URI.

    Parameters:
        token, serial, manufacturer, model: of the token; None where the URI does not say.
        slot: number of its slot; None where the URI does not say.
        label: of the key (CKA_LABEL); None where the URI does not say.
        id: of the key (CKA_ID); None where the URI does not say.
        module: the library.
        pin_source: where the PIN is; empty where the URI does not say.
        alg: chosen among the algorithms of an RSA key; may be empty.
    """

    token: str | None
    serial: str | None
    manufacturer: str | None
    model: str | None
    slot: int | None
    label: str | None
    id: bytes | None
    module: Path
    pin_source: str
    alg: str


def parse_token_uri(text: str) -> TokenUri:
    """A PKCS #11 URI, taken apart (RFC 7512 section 2.3).

    Raises:
        ConfigurationError: `key.home`: it is none, or says nothing that names a key.
    """
    path, _, query = text.partition(":")[2].partition("?")
    attributes = _attributes(path, ";", _PATH_ATTRIBUTES)
    settings = _attributes(query, "&", _QUERY_ATTRIBUTES)
    module = unquote(settings.get("module-path", ""))
    if not module.startswith("/"):
        raise _not_a_uri("does not say where the token's library is", "add ?module-path=/path/to/module.so")
    if "object" not in attributes and "id" not in attributes:
        raise _not_a_uri("names no key", "add object=LABEL or id=%01, as the token has it")
    if attributes.get("type", "private") != "private":
        raise _not_a_uri("is not of a private key", "leave `type` out, or write type=private")
    slot = attributes.get("slot-id")
    if slot is not None and not re.fullmatch(r"[0-9]{1,9}", slot):
        raise _not_a_uri("has a slot-id that is not a number", "leave it out, and name the token")

    def text_of(name: str) -> str | None:
        return unquote(attributes[name]) if name in attributes else None

    return TokenUri(
        token=text_of("token"),
        serial=text_of("serial"),
        manufacturer=text_of("manufacturer"),
        model=text_of("model"),
        slot=None if slot is None else int(slot),
        label=text_of("object"),
        # Section 2.4: an id is bytes, all of them percent-encoded where need be.
        id=unquote_to_bytes(attributes["id"]) if "id" in attributes else None,
        module=Path(module),
        pin_source=unquote(settings.get("pin-source", "")),
        alg=settings.get("alg", ""),
    )


def _attributes(text: str, separator: str, known: frozenset[str]) -> dict[str, str]:
    found: dict[str, str] = {}
    for part in filter(None, text.split(separator)):
        name, equals, value = part.partition("=")
        if name == "pin-value":
            raise _not_a_uri(
                "has the PIN in it, where process lists and logs show it",
                f"write the PIN to a file and use pin-source=file:/path, or set {PIN_VARIABLE}",
            )
        # Section 2.3: an attribute occurs at most once; unknown ones could be what tells two keys apart.
        if not equals or name in found or name not in known:
            raise _not_a_uri(
                f"has {escape_control(name)!r}, twice or not known", f"known: {', '.join(sorted(known))}"
            )
        found[name] = value
    return found


def _not_a_uri(what: str, fix: str) -> ConfigurationError:
    return ConfigurationError("key.home", f"the pkcs11 URI {what}", help=fix)


def open_pkcs11(uri: str, key_id: str, *, environment: Mapping[str, str] | None = None) -> KeptSigningKey:
    """The signing key that a PKCS #11 URI names.

    Parameters:
        uri: see the first line of this module; one key must match it.
        key_id: the `kid` of its signatures; empty for one made of the thumbprint.
        environment: where the PIN may be; None for this process's variables.

    Raises:
        ConfigurationError: `key.home`, `key.credentials` (no PIN, or a wrong one), `key.not_found` (no such token or
            key, or several), `key.unusable`.
        Unavailable: `key.service`: the token cannot be used.
    """
    parts = parse_token_uri(uri)
    try:
        import pkcs11
        from pkcs11 import exceptions
    except ImportError:
        raise ConfigurationError(
            "key.home",
            "keys in PKCS #11 tokens need python-pkcs11, which is not installed",
            help="pip install 'pipeseal[pkcs11]'",
        ) from None
    pin = _read_pin(parts, os.environ if environment is None else environment)
    try:
        library = pkcs11.lib(str(parts.module))
    except (exceptions.PKCS11Error, RuntimeError) as error:
        raise ConfigurationError(
            "key.home",
            f"the PKCS #11 library {parts.module} cannot be loaded: {escape_control(str(error)[:200])}",
            help="check `module-path`",
        ) from None
    try:
        token = _find_token(library, parts)
        try:
            session = token.open(user_pin=pin)
        except exceptions.UserAlreadyLoggedIn:
            # PKCS #11 3.1 section 5.6.8: a process is logged in once, for all of its sessions with a token.
            session = token.open()
        private = _find_one(session, parts, pkcs11.ObjectClass.PRIVATE_KEY)
        public = _read_public(session, private)
        jwk = make_public_jwk(public, alg=parts.alg, kid=key_id, home=HOME)
    except (exceptions.PinIncorrect, exceptions.PinInvalid, exceptions.PinLenRange, exceptions.PinLocked) as error:
        raise ConfigurationError(
            "key.credentials",
            f"the token did not take the PIN ({type(error).__name__})",
            help="check the PIN; tokens lock themselves after a few wrong ones",
        ) from None
    except exceptions.PKCS11Error as error:
        raise _unavailable(error) from None
    return KeptSigningKey(HOME, jwk, _signer(private, jwk))


def _read_pin(parts: TokenUri, variables: Mapping[str, str]) -> str:
    if not parts.pin_source:
        pin = variables.get(PIN_VARIABLE, "")
        if not pin:
            raise ConfigurationError(
                "key.credentials",
                "there is no PIN for the token",
                help=f"write it to a file and add &pin-source=file:/path to the URI, or set {PIN_VARIABLE}",
            )
        return pin
    # Section 2.4: a `file:` URI, or a path.
    path = Path(parts.pin_source.removeprefix("file:").replace("///", "/", 1))
    if not path.is_absolute():
        raise _not_a_uri("has a pin-source that is not an absolute path", "write pin-source=file:/path/to/pin")
    try:
        return read_key_file(path).decode("utf-8").rstrip("\r\n")
    except UnicodeDecodeError:
        raise ConfigurationError(
            "key.credentials", f"the PIN in {path} is not text", help="write the PIN alone into it, in UTF-8"
        ) from None


def _find_token(library: Any, parts: TokenUri) -> Any:
    found = []
    for slot in library.get_slots(token_present=True):
        token = slot.get_token()
        if (
            (parts.slot is None or slot.slot_id == parts.slot)
            and (parts.token is None or _plain(token.label) == parts.token)
            and (parts.serial is None or _plain(token.serial) == parts.serial)
            and (parts.manufacturer is None or _plain(token.manufacturer_id) == parts.manufacturer)
            and (parts.model is None or _plain(token.model) == parts.model)
        ):
            found.append(token)
    return found[0] if len(found) == 1 else _refuse_count(len(found), "tokens", "token= or serial=")


def _plain(text: str | bytes) -> str:
    if isinstance(text, bytes):
        text = text.decode("utf-8", "replace")
    return text.rstrip(" \0")


def _find_one(session: pkcs11.Session, parts: TokenUri, kind: pkcs11.ObjectClass) -> Any:
    from pkcs11 import Attribute

    wanted: dict[Any, Any] = {Attribute.CLASS: kind}
    if parts.label is not None:
        wanted[Attribute.LABEL] = parts.label
    if parts.id is not None:
        wanted[Attribute.ID] = parts.id
    found = list(session.get_objects(wanted))
    return found[0] if len(found) == 1 else _refuse_count(len(found), "private keys", "id= as well as object=")


def _refuse_count(count: int, what: str, fix: str) -> Any:
    raise ConfigurationError(
        "key.not_found",
        f"{'no' if count == 0 else count} {what} match the pkcs11 URI, and it has to be one",
        help=f"name it with {fix}",
    )


def _read_public(session: pkcs11.Session, private: Any) -> Any:
    """The public key beside a private one: the object of the same CKA_ID, of which a pair has one."""
    from pkcs11 import Attribute, KeyType, ObjectClass
    from pkcs11.exceptions import PKCS11Error
    from pkcs11.util.rsa import encode_rsa_public_key

    kind = private.key_type
    if kind not in {KeyType.EC, KeyType.EC_EDWARDS, KeyType.RSA}:
        refuse_key(HOME, f"is of type {kind}, which steps are not signed with")
    wanted = {Attribute.CLASS: ObjectClass.PUBLIC_KEY, Attribute.KEY_TYPE: kind, Attribute.ID: private.id}
    found = list(session.get_objects(wanted)) if private.id else []
    if len(found) != 1:
        _refuse_count(len(found), "public keys", "a CKA_ID that it shares with its public key alone, on the token,")
    public: Any = found[0]
    if kind == KeyType.RSA:
        return read_public_pem(encode_rsa_public_key(public), home=HOME)
    try:
        point, parameters = bytes(public[Attribute.EC_POINT]), bytes(public[Attribute.EC_PARAMS])
    except PKCS11Error:
        refuse_key(HOME, "has a public key without its point")
    return _read_ed25519(point) if kind == KeyType.EC_EDWARDS else _read_ec(point, parameters)


def _read_ed25519(point: bytes) -> Any:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

    # PKCS #11 3.1 section 6.3.5: the point is in a DER octet string; some tokens leave that out.
    if point[:2] == bytes([4, _ED25519_BYTES]) and len(point) == _ED25519_BYTES + 2:
        point = point[2:]
    if len(point) != _ED25519_BYTES:
        refuse_key(HOME, "is on another Edwards curve than Ed25519")
    return Ed25519PublicKey.from_public_bytes(point)


def _read_ec(point: bytes, parameters: bytes) -> Any:
    from cryptography.hazmat.primitives.asymmetric import ec

    from pipeseal.signing.keys.crypto import curve

    # The curve by name: DER object identifiers (RFC 5480 section 2.1.1.1).
    curves = {
        bytes.fromhex("06082a8648ce3d030107"): "P-256",
        bytes.fromhex("06052b81040022"): "P-384",
        bytes.fromhex("06052b81040023"): "P-521",
    }
    name = curves.get(parameters)
    if name is None:
        refuse_key(HOME, "is on a curve that steps are not signed on")
    # PKCS #11 3.1 section 6.3.3: the point is in a DER octet string; some tokens leave that out.
    point = point[-(1 + 2 * CURVE_BYTES[name]) :]
    try:
        return ec.EllipticCurvePublicKey.from_encoded_point(curve(name), point)
    except ValueError:
        refuse_key(HOME, "has a public key that cannot be read")


def _signer(private: Any, jwk: Jwk) -> Callable[[bytes], bytes]:
    from pkcs11 import MGF, Mechanism
    from pkcs11.exceptions import PKCS11Error

    alg = jwk.alg or ""
    # One session does one thing at a time.
    lock = threading.Lock()

    def call(signing_input: bytes) -> bytes:
        match jwk.kty:
            case "OKP":
                return bytes(private.sign(signing_input, mechanism=Mechanism.EDDSA))
            case "EC":
                # Hashed here: not every token hashes for ECDSA. The signature is R and S at full size already.
                return bytes(private.sign(digest_of(alg, signing_input), mechanism=Mechanism.ECDSA))
            case _:
                # RFC 7518 section 3.5: MGF1 with the same hash, and a salt as long as the hash.
                name = hash_name(alg)
                parameters = (Mechanism[name], MGF[name], row_of(alg).hash_bits // 8)
                return bytes(
                    private.sign(
                        digest_of(alg, signing_input), mechanism=Mechanism.RSA_PKCS_PSS, mechanism_param=parameters
                    )
                )

    def sign(signing_input: bytes) -> bytes:
        try:
            with lock:
                return call(signing_input)
        except PKCS11Error as error:
            raise _unavailable(error) from None

    return sign


def _unavailable(error: Exception) -> Unavailable:
    return Unavailable(
        "key.service",
        f"the PKCS #11 token cannot be used: {type(error).__name__} {escape_control(str(error)[:200])}".rstrip(),
        help="check that the token is there and not locked, and try again",
    )

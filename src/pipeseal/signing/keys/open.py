"""The door to keys: a key is a URI, and its scheme says where it is kept. Today that is a file.

A new home for keys is one new module beside this one and one line in `_HOMES`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from urllib.parse import unquote, urlsplit

from pipeseal.errors import ConfigurationError, MalformedInput
from pipeseal.signing.keys.algorithms import ALGORITHMS
from pipeseal.signing.keys.files import read_key_file
from pipeseal.signing.keys.jwk import Jwk, parse_jwks
from pipeseal.signing.keys.signing_key import FileSigningKey, SigningKey
from pipeseal.signing.keys.verification_keys import VerificationKeys, parse_verification_keys


def open_signing_key(uri: str, key_id: str = "") -> SigningKey:
    """The key to sign with.

    Parameters:
        uri: a path, or `file:///path`, of a JWK Set or a bare JWK.
        key_id: which key of the set; empty when it holds exactly one.

    Raises:
        ConfigurationError: no such home (`key.home`), file (`key.unreadable`, `key.permissions`) or key
            (`key.id_needed`, `key.not_found`), or one that does not sign (`key.unusable`, `key.not_private`).
        MalformedInput: `key.set` or `key.malformed`, naming the file.
    """
    scheme, location = _split(uri)
    return _HOMES[scheme](location, key_id)


def load_verification_keys(uri: str) -> VerificationKeys:
    """The trusted keys to verify with, fit for starting an agent.

    Parameters:
        uri: a path, or `file:///path`, of a JWK Set or a bare JWK.

    Raises:
        ConfigurationError: `key.home`, `key.unreadable`, `key.permissions`, `key.set_empty`, `key.no_algorithm`.
        MalformedInput: `key.set` or `key.malformed`, naming the file.
    """
    _, location = _split(uri)
    try:
        return parse_verification_keys(read_key_file(Path(location)))
    except MalformedInput as error:
        raise _in_file(error, location) from None


def select_signing_key(keys: Sequence[Jwk], key_id: str = "") -> Jwk:
    """The key of a set to sign uploads with, by the stock agent's rules: those keys and algorithms, no others.

    A public key is selected like any other and fails when a signer is made of it.

    Parameters:
        keys: the set.
        key_id: which key, the first with that id; empty when the set holds exactly one.

    Raises:
        ConfigurationError: `key.id_needed`, `key.not_found`, `key.no_algorithm`, `key.unusable`.
    """
    if key_id:
        key = next((key for key in keys if key.kid == key_id), None)
        if key is None:
            known = ", ".join(repr(key.kid) for key in keys if key.kid) or "none with an id"
            raise ConfigurationError(
                "key.not_found",
                f"the signing key file has no key {key_id!r}",
                help=f"it holds: {known}",
            )
    elif len(keys) != 1:
        raise ConfigurationError(
            "key.id_needed",
            f"the signing key file holds {len(keys)} keys; which one?",
            help="name it with --jwks-key-id",
        )
    else:
        key = keys[0]
    if not key.alg:
        raise ConfigurationError(
            "key.no_algorithm", f"the signing key {key.kid!r} has no algorithm (`alg`)", help="add it to the key file"
        )
    row = ALGORITHMS.get(key.alg)
    if row is None or not row.uploads or row.kty != key.kty:
        usable = ", ".join(f"{row.name} ({row.kty})" for row in ALGORITHMS.values() if row.uploads)
        raise ConfigurationError(
            "key.unusable",
            f"the signing key {key.kid!r} is for {key.alg} with a key of type {key.kty}",
            help=f"pipelines are signed with {usable}",
        )
    return key


def _open_file(location: str, key_id: str) -> SigningKey:
    path = Path(location)
    try:
        keys = parse_jwks(read_key_file(path))
    except MalformedInput as error:
        raise _in_file(error, location) from None
    return FileSigningKey(select_signing_key(keys, key_id))


def _in_file(error: MalformedInput, location: str) -> MalformedInput:
    return MalformedInput(error.code, f"{location}: {error.message}", help=error.help)


_HOMES: dict[str, Callable[[str, str], SigningKey]] = {"file": _open_file}


def _split(uri: str) -> tuple[str, str]:
    if "://" not in uri:
        return "file", uri
    parts = urlsplit(uri)
    if parts.scheme not in _HOMES or (parts.scheme == "file" and parts.netloc not in ("", "localhost")):
        raise ConfigurationError(
            "key.home",
            f"keys are not kept at {parts.scheme}://{parts.netloc}",
            help=f"give a path, or one of: {', '.join(f'{home}:///...' for home in _HOMES)}",
        )
    return parts.scheme, unquote(parts.path)

"""The door to keys: a key is a URI, and its scheme says where it is kept: a file, a token, a key service.

A new home for keys is one new module beside this one, one line in `_HOMES`, and one in `uri.HOMES`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from pipeseal.errors import ConfigurationError, MalformedInput
from pipeseal.signing.keys.algorithms import ALGORITHMS
from pipeseal.signing.keys.files import read_key_file
from pipeseal.signing.keys.jwk import Jwk, parse_jwks
from pipeseal.signing.keys.signing_key import FileSigningKey, PublishedSigningKey
from pipeseal.signing.keys.uri import split_key_uri
from pipeseal.signing.keys.verification_keys import VerificationKeys, parse_verification_keys


def open_signing_key(uri: str, key_id: str = "") -> PublishedSigningKey:
    """The key to sign with.

    Parameters:
        uri: a path, or `file:///path`, of a JWK Set or a bare JWK; or the URI of a key that is kept elsewhere:
            `pkcs11:`, `awskms:`, `gcpkms:`, `vault:`, `openbao:`, see the modules of those names.
        key_id: of a file: which key of the set, empty when it holds exactly one. Elsewhere: the key id that
            signatures name, empty for one made of the key's thumbprint.

    Raises:
        ConfigurationError: no such home (`key.home`), file (`key.unreadable`, `key.permissions`) or key
            (`key.id_needed`, `key.not_found`), or one that does not sign (`key.unusable`, `key.not_private`); no way
            to prove who is asking (`key.credentials`).
        MalformedInput: `key.set` or `key.malformed`, naming the file.
        Unavailable: `key.service`: the key's home did not answer, or refused.
    """
    scheme, location = split_key_uri(uri)
    return _HOMES[scheme](location, key_id)


def load_verification_keys(uri: str) -> VerificationKeys:
    """The trusted keys to verify with, fit for starting an agent.

    Parameters:
        uri: a path, or `file:///path`, of a JWK Set or a bare JWK.

    Raises:
        ConfigurationError: `key.home`, `key.unreadable`, `key.permissions`, `key.set_empty`, `key.no_algorithm`.
        MalformedInput: `key.set` or `key.malformed`, naming the file.
    """
    scheme, location = split_key_uri(uri)
    if scheme != "file":
        raise ConfigurationError(
            "key.home",
            f"verification keys are public keys in a file, not at {scheme}:",
            help="write the public key to a file: pipeseal tool keygen --key URI --public-jwks-file FILE",
        )
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


def _open_file(location: str, key_id: str) -> PublishedSigningKey:
    path = Path(location)
    try:
        keys = parse_jwks(read_key_file(path))
    except MalformedInput as error:
        raise _in_file(error, location) from None
    return FileSigningKey(select_signing_key(keys, key_id))


def _in_file(error: MalformedInput, location: str) -> MalformedInput:
    return MalformedInput(error.code, f"{location}: {error.message}", help=error.help)


def _kept(module: str) -> Callable[[str, str], PublishedSigningKey]:
    """Opens keys of a home whose module is imported only when it is asked for."""

    def open_kept(uri: str, key_id: str) -> PublishedSigningKey:
        from importlib import import_module

        opened: PublishedSigningKey = getattr(import_module(f"{__package__}.{module}"), f"open_{module}")(uri, key_id)
        return opened

    return open_kept


_HOMES: dict[str, Callable[[str, str], PublishedSigningKey]] = {
    "file": _open_file,
    "pkcs11": _kept("pkcs11"),
    "awskms": _kept("awskms"),
    "gcpkms": _kept("gcpkms"),
    "vault": _kept("vault"),
    "openbao": _kept("vault"),
}

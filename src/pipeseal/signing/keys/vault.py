"""Keys in the transit engine of HashiCorp Vault or OpenBao: `vault://MOUNT/KEY?version=N`, `openbao://MOUNT/KEY`.

The address and the token are those of the services' own tools: `VAULT_ADDR`, `VAULT_TOKEN` or `~/.vault-token`, and
`VAULT_NAMESPACE`; `BAO_*` and `~/.bao-token` for OpenBao. The API is that of the transit secrets engine, v1.
"""

from __future__ import annotations

import base64
import os
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from pipeseal.errors import ConfigurationError, Unavailable, escape_control
from pipeseal.signing.base64url import parse_base64url
from pipeseal.signing.keys.jwk import Jwk
from pipeseal.signing.keys.kept import (
    KeptSigningKey,
    digest_of,
    make_public_jwk,
    parse_key_uri,
    read_public_pem,
    refuse_key,
    row_of,
)
from pipeseal.signing.keys.rest import KeyService, member

_SETTINGS = frozenset({"alg", "version"})
_PATH = re.compile(r"(?P<mount>[A-Za-z0-9_.-]+(?:/[A-Za-z0-9_.-]+)*)/(?P<key>[A-Za-z0-9_.-]+)")
# Types of transit keys, as far as steps are signed with them.
_TYPES = frozenset({"ed25519", "ecdsa-p256", "ecdsa-p384", "ecdsa-p521", "rsa-2048", "rsa-3072", "rsa-4096"})


class _Product(NamedTuple):
    """What the two services call things."""

    name: str
    prefix: str
    token_file: str


_PRODUCTS = {
    "vault": _Product("Vault", "VAULT", ".vault-token"),
    "openbao": _Product("OpenBao", "BAO", ".bao-token"),
}


def open_vault(uri: str, key_id: str, *, environment: Mapping[str, str] | None = None) -> KeptSigningKey:
    """The signing key that a URI names.

    Parameters:
        uri: see the first line of this module. The version is the newest one when none is said, and stays the one
            that it was when the key was opened; `alg` chooses among the algorithms of an RSA key.
        key_id: the `kid` of its signatures; empty for one made of the thumbprint.
        environment: where address and token are; None for this process's variables.

    Raises:
        ConfigurationError: `key.home`, `key.unusable`, `key.not_found`, or `key.credentials`: no token.
        Unavailable: `key.service`: the service did not answer, or refused.
    """
    variables = os.environ if environment is None else environment
    parts = parse_key_uri(uri, settings=_SETTINGS)
    product = _PRODUCTS[parts.home]
    place = _PATH.fullmatch(parts.path)
    if place is None or ".." in parts.path.split("/"):
        raise ConfigurationError(
            "key.home", f"{uri} names no key of a transit engine", help=f"write {parts.home}://transit/KEY"
        )
    service = _service(product, variables)
    data = service.call("GET", f"/v1/{place['mount']}/keys/{place['key']}").get("data")
    if not isinstance(data, dict):
        raise Unavailable("key.service", f"{product.name} answered without 'data'")
    kind = member(data, "type", product.name)
    if kind not in _TYPES:
        refuse_key(product.name, f"is of type {escape_control(kind)}, which steps are not signed with")
    version = parts.query.get("version") or str(data.get("latest_version", ""))
    keys = data.get("keys")
    entry = keys.get(version) if isinstance(keys, dict) and re.fullmatch(r"[1-9][0-9]{0,8}", version) else None
    if not isinstance(entry, dict):
        raise ConfigurationError(
            "key.not_found",
            f"the key {place['key']!r} in {product.name} has no version {escape_control(version)!r}",
            help=f"write {parts.home}://{parts.path}?version=N with one that it has, or no version for the newest",
        )
    text = member(entry, "public_key", product.name)
    jwk = make_public_jwk(
        _read_public(kind, text, product.name), alg=parts.query.get("alg", ""), kid=key_id, home=product.name
    )
    path = f"/v1/{place['mount']}/sign/{place['key']}"
    return KeptSigningKey(product.name, jwk, _signer(service, path, int(version), jwk))


def _service(product: _Product, variables: Mapping[str, str]) -> KeyService:
    address = variables.get(f"{product.prefix}_ADDR", "")
    if not address:
        raise ConfigurationError(
            "key.home",
            f"it is not known where {product.name} is",
            help=f"set {product.prefix}_ADDR, such as https://kms.example.org:8200",
        )
    token = variables.get(f"{product.prefix}_TOKEN", "").strip()
    if not token and variables.get("HOME"):
        try:
            token = (Path(variables["HOME"]) / product.token_file).read_text("ascii").strip()
        except (OSError, ValueError):
            token = ""
    if not token or not token.isascii() or not token.isprintable():
        raise ConfigurationError(
            "key.credentials",
            f"there is no token for {product.name}",
            help=f"set {product.prefix}_TOKEN, or write it to ~/{product.token_file}",
        )
    headers = {"X-Vault-Token": token, "X-Vault-Request": "true"}
    if namespace := variables.get(f"{product.prefix}_NAMESPACE", ""):
        headers["X-Vault-Namespace"] = namespace
    return KeyService(product.name, address, headers)


def _read_public(kind: str, text: str, home: str) -> Any:
    if kind != "ed25519":
        return read_public_pem(text, home=home)
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

    try:
        return Ed25519PublicKey.from_public_bytes(base64.b64decode(text, validate=True))
    except ValueError:
        refuse_key(home, "has a public key that cannot be read")


def _signer(service: KeyService, path: str, version: int, jwk: Jwk) -> Callable[[bytes], bytes]:
    alg = jwk.alg or ""
    body: dict[str, Any] = {"key_version": version}
    if jwk.kty != "OKP":
        body |= {"prehashed": True, "hash_algorithm": f"sha2-{row_of(alg).hash_bits}"}
    if jwk.kty == "EC":
        # R and S at full size, base64url: as JOSE has it.
        body["marshaling_algorithm"] = "jws"
    if jwk.kty == "RSA":
        # RFC 7518 section 3.5: PSS, with a salt as long as the hash.
        body |= {"signature_algorithm": "pss", "salt_length": "hash"}

    def sign(signing_input: bytes) -> bytes:
        wanted = signing_input if jwk.kty == "OKP" else digest_of(alg, signing_input)
        answer = service.call("POST", path, body | {"input": base64.b64encode(wanted).decode()}).get("data")
        text = member(answer if isinstance(answer, dict) else {}, "signature", service.name)
        # vault:v1:SIGNATURE
        prefix, _, signature = text.rpartition(":")
        try:
            if prefix != f"vault:v{version}":
                raise ValueError
            return parse_base64url(signature) if jwk.kty == "EC" else base64.b64decode(signature, validate=True)
        except ValueError:
            raise Unavailable(
                "key.service", f"{service.name} answered with something that is not a signature of version {version}"
            ) from None

    return sign

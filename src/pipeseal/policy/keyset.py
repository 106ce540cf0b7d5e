"""Which key sets an agent may start with: public, strong, each key once; nothing that a verifier could sign with."""

from __future__ import annotations

from pipeseal.errors import ConfigurationError
from pipeseal.signing.keys.algorithms import ALGORITHMS
from pipeseal.signing.keys.jwk import Jwk
from pipeseal.signing.keys.verification_keys import VerificationKeys


def check_key_set(keys: VerificationKeys, *, shared_secrets: bool = False) -> VerificationKeys:
    """The keys, if an agent may start with them.

    Parameters:
        keys: the verification set.
        shared_secrets: whether the operator has said that keys may be secrets shared with the signer.

    Raises:
        ConfigurationError: the first key that will not do: `key.duplicate` (two keys with one id), `key.symmetric` (a
            shared secret), `key.private`, `key.weak` (too short, or for an algorithm that is not verified here).
    """
    seen: set[str] = set()
    for jwk in keys:
        name = f"the verification key {jwk.kid!r}"
        if jwk.kid and jwk.kid in seen:
            raise ConfigurationError(
                "key.duplicate",
                f"{name} is there twice",
                help="give each key an id of its own; `pipeseal tool keygen` makes one from the thumbprint",
            )
        seen.add(jwk.kid or "")
        if jwk.kty == "oct":
            if not shared_secrets:
                raise ConfigurationError(
                    "key.symmetric",
                    f"{name} is a secret that signer and agent share: every agent that verifies could sign",
                    help="use an EdDSA key, or say --allow-shared-secrets (shared-secrets = true in the policy)",
                )
        elif jwk.is_private:
            raise ConfigurationError(
                "key.private",
                f"{name} is private: whoever reads this file could sign",
                help="give agents the public file, and keep the private one where pipelines are uploaded",
            )
        if weakness := _weakness(jwk):
            raise ConfigurationError(
                "key.weak", f"{name} {weakness}", help="replace it by an EdDSA key (`pipeseal tool keygen`)"
            )
    return keys


def _weakness(jwk: Jwk) -> str:
    # RSA keys under 2048 bits do not even load (RFC 7518 section 3.5).
    algorithm = ALGORITHMS.get(jwk.alg or "")
    if algorithm is None or algorithm.kty != jwk.kty or jwk.use not in (None, "", "sig"):
        return f"is for {jwk.alg or 'no algorithm'}, which no step is verified with"
    if algorithm.name.startswith("RS"):
        return f"is for {algorithm.name}: RSA with the padding of PKCS #1 v1.5, which only old systems use"
    if jwk.ambiguous:
        return "has a member twice, so it is one key to one reader and another to the next"
    return ""

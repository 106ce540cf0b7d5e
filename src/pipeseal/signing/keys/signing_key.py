"""`SigningKey`: something that signs bytes and says by which algorithm and under which key id."""

from __future__ import annotations

from typing import Protocol

from pipeseal.errors import ConfigurationError
from pipeseal.signing.keys.crypto import make_signer
from pipeseal.signing.keys.jwk import Jwk


class SigningKey(Protocol):
    """What signing needs of a key, wherever it is kept.

    Attributes:
        alg: the JOSE algorithm name, which is also signed.
        kid: key id for the signature's header; None or empty leaves it out.
        thumbprint: SHA-256 thumbprint of the public key, base64url (RFC 7638); empty when the key's home gives none.
    """

    @property
    def alg(self) -> str: ...
    @property
    def kid(self) -> str | None: ...
    @property
    def thumbprint(self) -> str: ...

    def sign(self, signing_input: bytes) -> bytes:
        """The raw signature over `signing_input`.

        Raises:
            Unavailable: the key's home did not answer.
        """
        ...


class PublishedSigningKey(SigningKey, Protocol):
    """A signing key that knows its public half."""

    def public_jwk(self) -> dict[str, str]:
        """The public key as a JWK with `alg`, `kid` and `use`, for verification key files.

        Raises:
            ConfigurationError: `key.unusable`: a shared secret, which has no public half.
        """
        ...


class FileSigningKey:
    """A signing key whose private part is in this process.

    Parameters:
        key: a private JWK with an algorithm that steps are signed with.

    Raises:
        ConfigurationError: `key.unusable` or `key.not_private`.
    """

    __slots__ = ("_jwk", "alg", "kid", "sign")

    def __init__(self, key: Jwk) -> None:
        self.sign = make_signer(key)
        assert key.alg is not None  # `make_signer` refuses a key without an algorithm
        self.alg: str = key.alg
        self.kid: str | None = key.kid
        self._jwk = key

    @property
    def thumbprint(self) -> str:
        return self._jwk.thumbprint()

    def public_jwk(self) -> dict[str, str]:
        """The public key as a JWK with `alg` and `use`, and `kid` where it has one.

        Raises:
            ConfigurationError: `key.unusable`: a shared secret, which has no public half.
        """
        if self._jwk.kty == "oct":
            raise ConfigurationError(
                "key.unusable",
                f"the key {self.kid!r} is a shared secret, which has no public half",
                help="use an EdDSA key",
            )
        named = {"kid": self.kid} if self.kid else {}
        return {**self._jwk.public_material(), "alg": self.alg, **named, "use": "sig"}

    def __repr__(self) -> str:
        return f"<FileSigningKey {self.alg} kid={self.kid!r}>"

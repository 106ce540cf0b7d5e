"""`VerificationKeys`: the trusted set that signatures are checked against, looked up by key id."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from pipeseal.errors import ConfigurationError, VerificationError
from pipeseal.signing.keys.algorithms import ALGORITHMS
from pipeseal.signing.keys.crypto import UnusableKey, Verifier, make_verifier
from pipeseal.signing.keys.jwk import Jwk, parse_jwks


class TrustedKey:
    """One key of the set, ready to verify.

    Parameters:
        jwk: the key as its file has it.
        verifier: checks raw signatures by the key's own algorithm.
    """

    __slots__ = ("_thumbprint", "jwk", "verifier")

    def __init__(self, jwk: Jwk, verifier: Verifier) -> None:
        self.jwk = jwk
        self.verifier = verifier
        self._thumbprint = ""

    @property
    def alg(self) -> str:
        return self.jwk.alg or ""

    @property
    def kid(self) -> str:
        return self.jwk.kid or ""

    @property
    def thumbprint(self) -> str:
        """SHA-256 thumbprint of the key, base64url (RFC 7638)."""
        self._thumbprint = self._thumbprint or self.jwk.thumbprint()
        return self._thumbprint


class VerificationKeys:
    """The keys whose signatures are believed, in file order.

    Parameters:
        keys: any keys; those that cannot verify are kept, so that a signature that names one says why it failed.
    """

    __slots__ = ("_by_kid", "_keys", "_ready")

    def __init__(self, keys: Iterable[Jwk]) -> None:
        self._keys = tuple(keys)
        self._by_kid: dict[str, Jwk] = {}
        self._ready: dict[str, TrustedKey] = {}
        for key in self._keys:
            if key.kid:
                # The first key with an id counts, always: what comes later under the same id is never tried.
                self._by_kid.setdefault(key.kid, key)

    def __len__(self) -> int:
        return len(self._keys)

    def __iter__(self) -> Iterator[Jwk]:
        return iter(self._keys)

    def __repr__(self) -> str:
        return f"<VerificationKeys {', '.join(repr(key.kid) for key in self)}>"

    def key(self, kid: str) -> TrustedKey:
        """The first key called `kid`, ready to verify.

        Raises:
            VerificationError: `key.unknown`: no such key here; `key.unsuitable`: there is, and it verifies nothing.
        """
        ready = self._ready.get(kid)
        if ready is not None:
            return ready
        jwk = self._by_kid.get(kid)
        if jwk is None:
            raise VerificationError(
                "key.unknown",
                f"the step was signed by the key {kid!r}, which is not among the verification keys",
                help="add the signer's public key to the verification key file, if you trust that signer",
                evidence={"signed by": kid},
            )
        if jwk.use not in (None, "", "sig"):
            # RFC 7517 section 4.2
            raise _unsuitable(kid, f"is for use {jwk.use!r}, not for signatures")
        try:
            verifier = make_verifier(jwk)
        except UnusableKey as error:
            raise _unsuitable(kid, str(error)) from None
        self._ready[kid] = ready = TrustedKey(jwk, verifier)
        return ready

    def weaknesses(self) -> list[str]:
        """One sentence for each key that will not do what its owner may expect, for a start-up banner."""
        sentences = []
        for jwk in self:
            name = f"the verification key {jwk.kid!r}"
            algorithm = ALGORITHMS.get(jwk.alg or "")
            if algorithm is None or algorithm.kty != jwk.kty or jwk.use not in (None, "", "sig") or jwk.ambiguous:
                sentences.append(f"{name} ({jwk.alg or 'no algorithm'}) cannot verify anything")
            elif not jwk.kid:
                sentences.append("a verification key has no key id (`kid`), so no signature can name it")
            elif self._by_kid[jwk.kid] is not jwk:
                sentences.append(f"{name} is there twice; only the first one counts")
            elif jwk.kty == "oct" and len(jwk.material["k"]) * 8 < algorithm.hash_bits:
                # RFC 7518 section 3.2
                sentences.append(f"{name} is a shared secret shorter than {algorithm.hash_bits} bits")
            elif jwk.is_private:
                sentences.append(f"{name} is private: whoever reads this file can sign; use the public file")
        return sentences


def parse_verification_keys(data: bytes) -> VerificationKeys:
    """The verification keys of a key file, fit for starting an agent with.

    Parameters:
        data: a JWK Set, or one bare JWK.

    Raises:
        MalformedInput: not a sound key file (`key.set`, `key.malformed`).
        ConfigurationError: `key.set_empty`: no key at all; `key.no_algorithm`: a key without `alg`.
    """
    keys = parse_jwks(data)
    if not keys:
        raise ConfigurationError(
            "key.set_empty",
            "the verification key file holds no keys",
            help="put the public keys of your signers into it, as `pipeseal tool keygen` writes them",
        )
    for index, key in enumerate(keys):
        if not key.alg:
            raise ConfigurationError(
                "key.no_algorithm",
                f"key number {index + 1} of the verification key file has no algorithm (`alg`)",
                help="every key must say its algorithm, so that no signature can choose it",
            )
    return VerificationKeys(keys)


def _unsuitable(kid: str, why: str) -> VerificationError:
    return VerificationError(
        "key.unsuitable",
        f"the step was signed by the key {kid!r}, which {why}",
        help="put the signer's right public key into the verification key file",
        evidence={"signed by": kid},
    )

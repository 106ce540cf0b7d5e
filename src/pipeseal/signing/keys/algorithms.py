"""Which algorithms there are, and what key each needs.

One table. A signature's verifier is chosen by the algorithm written in the trusted key, never by what the signature
says of itself (RFC 8725 section 3.1). RS256, RS384 and RS512 are here for keys held in cloud key services; none are
made.
"""

from __future__ import annotations

from typing import Literal, NamedTuple


class Algorithm(NamedTuple):
    """One algorithm.

    Parameters:
        name: the JOSE name (RFC 7518 section 3.1, RFC 8037 section 3.1, RFC 9864).
        kty: the JWK key type it needs.
        hash_bits: size of its SHA-2 hash; 0 when the algorithm brings its own.
        uploads: whether `pipeline upload` and `tool sign` take such a key from a file, as the stock agent does.
    """

    name: str
    kty: Literal["OKP", "EC", "RSA", "oct"]
    hash_bits: int
    uploads: bool = False


ALGORITHMS: dict[str, Algorithm] = {
    row.name: row
    for row in (
        Algorithm("EdDSA", "OKP", 0, uploads=True),
        Algorithm("Ed25519", "OKP", 0),
        Algorithm("ES256", "EC", 256),
        Algorithm("ES384", "EC", 384),
        Algorithm("ES512", "EC", 512, uploads=True),
        Algorithm("PS256", "RSA", 256),
        Algorithm("PS384", "RSA", 384),
        Algorithm("PS512", "RSA", 512, uploads=True),
        Algorithm("HS256", "oct", 256),
        Algorithm("HS384", "oct", 384),
        Algorithm("HS512", "oct", 512),
        Algorithm("RS256", "RSA", 256),
        Algorithm("RS384", "RSA", 384),
        Algorithm("RS512", "RSA", 512),
    )
}

# What a JWK's `alg` may say without spoiling its set: the registered names of JWA, usable here or not (RFC 7518
# sections 3.1, 4.1 and 5.1; RFC 8037; RFC 9864). A key for another purpose is kept and never verifies anything.
REGISTERED_NAMES = frozenset(ALGORITHMS) | {
    *("none", "ES256K"),
    *("RSA1_5", "RSA-OAEP", "RSA-OAEP-256", "RSA-OAEP-384", "RSA-OAEP-512", "dir"),
    *("A128KW", "A192KW", "A256KW", "A128GCMKW", "A192GCMKW", "A256GCMKW"),
    *("ECDH-ES", "ECDH-ES+A128KW", "ECDH-ES+A192KW", "ECDH-ES+A256KW"),
    *("PBES2-HS256+A128KW", "PBES2-HS384+A192KW", "PBES2-HS512+A256KW"),
    *("A128GCM", "A192GCM", "A256GCM", "A128CBC-HS256", "A192CBC-HS384", "A256CBC-HS512"),
}

# RFC 7518 section 6.2.1.2: curve name to the size of a coordinate in bytes.
CURVE_BYTES = {"P-256": 32, "P-384": 48, "P-521": 66}

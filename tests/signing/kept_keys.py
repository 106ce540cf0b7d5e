"""What holds of every signing key that is kept elsewhere: what it signs verifies with its public key alone."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, NamedTuple, Protocol

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa, utils

from pipeseal.errors import VerificationError
from pipeseal.pipeline.steps import CommandStep
from pipeseal.policy.keyset import check_key_set
from pipeseal.signing.keys.signing_key import PublishedSigningKey
from pipeseal.signing.keys.verification_keys import VerificationKeys, parse_verification_keys
from pipeseal.signing.seal.envelope import Audience, Parent
from pipeseal.signing.seal.make import make_seal
from pipeseal.signing.seal.verify import verify_seal
from pipeseal.signing.sign import sign_step
from pipeseal.signing.verify import verify_step
from tests.signing.material import REPOSITORY

LONG = "echo " + "x" * 20_000


def public_set(key: PublishedSigningKey) -> VerificationKeys:
    """The key set that an agent would have of it: an agent starts with it."""
    return check_key_set(parse_verification_keys(json.dumps({"keys": [key.public_jwk()]}).encode()))


def assert_signs_steps(key: PublishedSigningKey) -> None:
    """Signatures and seals of the key verify with its public set, as if it were kept in a file; others do not.

    A step of 20 kB is part of it, except where a service signs no long texts (Ed25519).
    """
    keys = public_set(key)
    command = "echo short" if key.alg == "EdDSA" else LONG
    step = sign_step(CommandStep(command), key=key, repository_url=REPOSITORY)
    assert verify_step(step, env={}, keys=keys, repository_url=REPOSITORY).key.kid == key.kid
    step.command += "; id"
    with pytest.raises(VerificationError):
        verify_step(step, env={}, keys=keys, repository_url=REPOSITORY)
    sealed = make_seal(
        CommandStep(command), key=key, audience=Audience(repository=REPOSITORY), build=None, parent=Parent(),
        not_before=100, expires=200,
    )  # fmt: skip
    assert verify_seal(sealed, keys, now=150).seal.kid == key.kid
    with pytest.raises(VerificationError):
        verify_seal(sealed[:-8] + sealed[-4:] + sealed[-8:-4], keys, now=150)


# --- a key service of our own ---------------------------------------------------------------------------------------

HASHES: dict[int, Any] = {256: hashes.SHA256(), 384: hashes.SHA384(), 512: hashes.SHA512()}


def sign_digest(private: Any, digest: bytes, bits: int) -> bytes:
    """What a key service does with a digest: ECDSA in DER, or RSA with PSS and a salt as long as the hash."""
    scheme = utils.Prehashed(HASHES[bits])
    if isinstance(private, ec.EllipticCurvePrivateKey):
        return private.sign(digest, ec.ECDSA(scheme))
    assert isinstance(private, rsa.RSAPrivateKey)
    pss = padding.PSS(mgf=padding.MGF1(HASHES[bits]), salt_length=bits // 8)
    return private.sign(digest, pss, scheme)


def new_private_key(kind: str) -> Any:
    """A key of a kind: `ed25519`, `p256`, `p384`, `p521`, `secp256k1` or `rsa-BITS`."""
    curves: dict[str, Any] = {
        "p256": ec.SECP256R1,
        "p384": ec.SECP384R1,
        "p521": ec.SECP521R1,
        "secp256k1": ec.SECP256K1,
    }
    if kind == "ed25519":
        return ed25519.Ed25519PrivateKey.generate()
    if kind in curves:
        return ec.generate_private_key(curves[kind]())
    return rsa.generate_private_key(65537, int(kind.removeprefix("rsa-")))


class Call(NamedTuple):
    """A call that a service was sent."""

    method: str
    path: str
    headers: dict[str, str]
    body: Any


class Service(Protocol):
    """Answers calls: status and JSON, or bytes as they are."""

    def answer(self, call: Call) -> tuple[int, Any]: ...


@contextmanager
def serve(service: Service) -> Iterator[str]:
    """The URL of a server on this machine that answers as `service` does."""

    class Handler(BaseHTTPRequestHandler):
        def do(self) -> None:
            length = int(self.headers.get("Content-Length") or 0)
            data = self.rfile.read(length)
            kind = self.headers.get("Content-Type", "")
            body = json.loads(data) if data and "json" in kind else data
            call = Call(self.command, self.path, {k.lower(): v for k, v in self.headers.items()}, body)
            status, answer = service.answer(call)
            content = answer if isinstance(answer, bytes) else json.dumps(answer).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(content)))
            if 300 <= status < 400:
                self.send_header("Location", "http://127.0.0.1:9/")
            self.end_headers()
            self.wfile.write(content)

        do_GET = do_POST = do_PUT = do_LIST = do

        def log_message(self, format: str, *arguments: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()

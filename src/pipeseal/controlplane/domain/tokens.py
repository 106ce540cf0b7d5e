"""Tokens: random enough that a plain SHA-256 digest of them is safe to store.

A slow password hash protects secrets that people choose, by making each guess dear. These tokens hold 256 random
bits: no number of guesses finds one, so a fast digest gives away nothing and costs nothing on each request.
Prefixes let secret scanners recognise a token that leaked, and say what it opens.
"""

from __future__ import annotations

import hashlib
import hmac
from base64 import urlsafe_b64encode
from collections.abc import Callable

from pipeseal.agentapi.routes import Token

PREFIXES: dict[Token, str] = {Token.REGISTRATION: "psrt_", Token.SESSION: "psag_", Token.JOB: "psjb_"}
API_PREFIX = "psua_"
WEB_PREFIX = "psws_"
LINK_PREFIX = "psln_"

Randomness = Callable[[int], bytes]


def make_token(prefix: str, randomness: Randomness) -> str:
    """A new token.

    Parameters:
        prefix: what it opens, from this module.
        randomness: gives that many random bytes, such as `os.urandom`.
    """
    return prefix + _text(randomness(32))


def derive_job_token(secret: bytes, job_id: str, agent_id: str) -> str:
    """The token of one job in the hands of one agent: the same each time it is asked for.

    An agent whose `accept` was answered but never heard asks again and must get the same working token, also after a
    restart of the server; only the digest of the token is stored, so it is derived from the server's own secret.

    Parameters:
        secret: 32 random bytes, kept in a file of their own beside the database.
        job_id: the job.
        agent_id: the agent that accepted it.
    """
    # RFC 2104; the two ids are UUIDs, so the separator cannot occur in them.
    mac = hmac.digest(secret, f"job-token/{job_id}/{agent_id}".encode(), "sha256")
    return PREFIXES[Token.JOB] + _text(mac)


def digest_token(token: str) -> str:
    """What is stored of a token: its SHA-256 digest in hexadecimal."""
    return hashlib.sha256(token.encode("utf-8", "surrogatepass")).hexdigest()


def _text(raw: bytes) -> str:
    return urlsafe_b64encode(raw).rstrip(b"=").decode("ascii")

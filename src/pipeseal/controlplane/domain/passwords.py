"""Passwords that people choose, kept as slow digests: a tenth of a second for each guess at a stolen database."""

from __future__ import annotations

import hashlib
import hmac
from base64 import b64decode, b64encode
from collections.abc import Callable
from typing import Final

from pipeseal.errors import MalformedInput, VerificationError

# RFC 7914 section 2; 64 MiB and about 0.1 s for each guess.
_COST: Final = 2**16
_BLOCK: Final = 8
_LANES: Final = 1
_MEMORY_BYTES: Final = 128 * _BLOCK * (_COST + _LANES) + (1 << 20)
MIN_CHARACTERS: Final = 12
# Longer texts cost nobody but us.
MAX_CHARACTERS: Final = 256


def check_new_password(password: str, *personal: str) -> None:
    """Refuse a password that is guessed first; length counts, kinds of characters do not (NIST SP 800-63B 5.1.1.2).

    Parameters:
        personal: texts it must not be, such as the person's e-mail address.

    Raises:
        MalformedInput: code `account.password`.
    """
    problem = ""
    if len(password) < MIN_CHARACTERS:
        problem = f"has {len(password)} characters; {MIN_CHARACTERS} are the fewest"
    elif len(password) > MAX_CHARACTERS:
        problem = f"has {len(password)} characters; {MAX_CHARACTERS} are the most"
    elif len(set(password)) < 4:
        problem = "is the same few characters over and over"
    elif password.casefold() in {text.casefold() for text in personal}:
        problem = "is your address or name"
    if problem:
        raise MalformedInput("account.password", f"the password {problem}", help="take a few words of your own")


def digest_password(password: str, randomness: Callable[[int], bytes]) -> str:
    """What is stored of a password: parameters, salt and digest as text. Takes a tenth of a second."""
    salt = randomness(16)
    digest = _scrypt(password, salt, _COST)
    return f"scrypt${_COST}${b64encode(salt).decode()}${b64encode(digest).decode()}"


def verify_password(password: str, stored: str) -> str:
    """The password, when it is the one that was stored.

    Plan:
        1. Something is stored.
        2. Its digest with the stored salt and cost is the stored one.

    Does not check: whether the account may sign in.

    Takes as long for an account that does not exist (an empty `stored`) as for any other.

    Raises:
        VerificationError: `access.sign_in`.
    """
    scheme, cost, salt, digest = stored.split("$") if stored else ("", str(_COST), "", "")
    found = _scrypt(password[:MAX_CHARACTERS], b64decode(salt), int(cost))
    if scheme != "scrypt":  # 1
        raise wrong_password()
    if not hmac.compare_digest(found, b64decode(digest)):  # 2
        raise wrong_password()
    return password


def wrong_password() -> VerificationError:
    """The error for a sign-in that fails, whatever the reason: it does not say whether the account exists."""
    return VerificationError("access.sign_in", "no account has this address and password")


def _scrypt(password: str, salt: bytes, cost: int) -> bytes:
    secret = password.encode("utf-8", "surrogatepass")
    return hashlib.scrypt(secret, salt=salt, n=cost, r=_BLOCK, p=_LANES, maxmem=_MEMORY_BYTES, dklen=32)

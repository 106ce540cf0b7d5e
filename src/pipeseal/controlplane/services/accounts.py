"""People: the first link, invitations, signing in and out, and what a signed-in browser may do."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Sequence
from sqlite3 import Row
from typing import TYPE_CHECKING, Final

from pipeseal.controlplane.domain.access import ROLES, SCOPES, Reader, scopes_of_text
from pipeseal.controlplane.domain.passwords import (
    check_new_password,
    digest_password,
    verify_password,
    wrong_password,
)
from pipeseal.controlplane.domain.tokens import API_PREFIX, LINK_PREFIX, WEB_PREFIX, digest_token, make_token
from pipeseal.controlplane.services.authenticate import not_found, unknown_token
from pipeseal.controlplane.store import accounts as account_store
from pipeseal.controlplane.store.database import Transaction
from pipeseal.errors import MalformedInput, VerificationError

if TYPE_CHECKING:
    from pipeseal.controlplane.services.plane import ControlPlane

_DAY: Final = 86_400_000_000
# A browser that was not here for a week, or that signed in a month ago, signs in again.
IDLE_MICROSECONDS: Final = 7 * _DAY
SESSION_MICROSECONDS: Final = 30 * _DAY
LINK_MICROSECONDS: Final = 2 * _DAY
_SEEN_EVERY: Final = 300_000_000
# RFC 5321 leaves more open than anybody uses; what matters is that it is one line that can be shown.
_EMAIL: Final = re.compile(r"[^\s@<>\"'\x00-\x1f]{1,64}@[^\s@<>\"'\x00-\x1f]{1,190}")
_MAX_NAME: Final = 80
_MAX_BROWSER: Final = 200
# So much of a token's digest is its name: enough to be one of a kind, and of no use for anything else.
TOKEN_ID: Final = 16


def make_first_link(plane: ControlPlane) -> str | None:
    """A link token that makes the first owner, while there is no account; None when there is one. Before serving.

    Links of earlier starts are forgotten, so that only the newest line of a log is worth anything.
    """
    token = make_token(LINK_PREFIX, plane.randomness)
    now = plane.now()

    def make(tx: Transaction) -> str | None:
        account_store.delete_expired(tx, now)
        account_store.delete_first_links(tx)
        if account_store.count_accounts(tx):
            return None
        account_store.insert_link(
            tx,
            digest=digest_token(token),
            account_id=None,
            email="",
            role="owner",
            now=now,
            expires=now + LINK_MICROSECONDS,
        )
        return token

    return plane.database.submit(make).result()


async def invite(plane: ControlPlane, email: str, role: str) -> str:
    """A link token for a new person, or for a known one who needs another password.

    Raises:
        MalformedInput: `account.email`, `account.role`.
    """
    address = parse_email(email)
    if role not in ROLES:
        raise MalformedInput("account.role", f"{role[:40]!r} is no role: {', '.join(ROLES)}")
    token = make_token(LINK_PREFIX, plane.randomness)
    now = plane.now()

    def insert(tx: Transaction) -> None:
        known = account_store.find_account_by_email(tx, address)
        account_store.insert_link(
            tx,
            digest=digest_token(token),
            account_id=None if known is None else known["id"],
            email=address,
            role=role,
            now=now,
            expires=now + LINK_MICROSECONDS,
        )

    await plane.database.write(insert)
    return token


async def use_link(
    plane: ControlPlane, token: str, *, email: str, name: str, password: str, browser: str = ""
) -> str:
    """Make the account of a link, or give it another password; signs in.

    Parameters:
        email: chosen by the first owner; an invited person's is in the link.
        name: for people to see.
        browser: what it calls itself.

    Returns:
        The token for the browser.

    Raises:
        VerificationError: `access.link_used`, the link is unknown, used or too old.
        MalformedInput: `account.email`, `account.name`, `account.password`.
    """
    now = plane.now()
    shown = " ".join(name.split())
    if not 1 <= len(shown) <= _MAX_NAME:
        raise MalformedInput("account.name", f"a name has 1 to {_MAX_NAME} characters")
    check_new_password(password, shown, email)
    digest = await _in_lane(plane, lambda: digest_password(password, plane.randomness))

    def use(tx: Transaction) -> str:
        link = account_store.take_link(tx, digest_token(token))
        if link is None or link["expires_at"] <= now:
            raise VerificationError(
                "access.link_used", "this link was used already, or is too old", help="ask for another one"
            )
        if not link["email"] and account_store.count_accounts(tx):
            raise VerificationError("access.link_used", "the first account was made already", help="sign in")
        if link["account_id"] is not None:
            account_store.set_password(tx, link["account_id"], digest)
            account_store.delete_sessions(tx, link["account_id"])
            return str(link["account_id"])
        account_id = plane.new_id()
        account_store.insert_account(
            tx,
            id=account_id,
            email=link["email"] or parse_email(email),
            name=shown,
            role=link["role"],
            password=digest,
            now=now,
        )
        return account_id

    account_id = await plane.database.write(use)
    return await open_session(plane, account_id, browser=browser)


async def sign_in(plane: ControlPlane, email: str, password: str, *, caller: str, browser: str = "") -> str:
    """The token for a browser, for whoever knows the password.

    Parameters:
        caller: where the request came from, for slowing down guesses.
        browser: what it calls itself.

    Raises:
        VerificationError: `access.sign_in`; `access.slow_down`.
    """
    address, now = email.strip().lower(), plane.clock.now()
    plane.sign_ins.by_email.check(address, now)
    plane.sign_ins.by_caller.check(caller, now)
    row = await plane.database.read(lambda tx: account_store.find_account_by_email(tx, address))
    stored = "" if row is None or row["disabled_at"] is not None else row["password"]
    try:
        await _in_lane(plane, lambda: verify_password(password, stored))
    except VerificationError:
        plane.sign_ins.by_email.note_failure(address, now)
        plane.sign_ins.by_caller.note_failure(caller, now)
        raise
    if row is None:
        raise wrong_password()
    plane.sign_ins.by_email.forget(address)
    return await open_session(plane, row["id"], browser=browser)


async def open_session(plane: ControlPlane, account_id: str, *, browser: str = "") -> str:
    """A token for a browser of this account."""
    shown = "".join(one for one in browser[:_MAX_BROWSER] if one.isprintable())
    token = make_token(WEB_PREFIX, plane.randomness)
    now = plane.now()

    def insert(tx: Transaction) -> None:
        account_store.delete_expired(tx, now)
        account_store.insert_session(
            tx,
            digest=digest_token(token),
            account_id=account_id,
            now=now,
            expires=now + IDLE_MICROSECONDS,
            browser=shown,
        )

    await plane.database.write(insert)
    return token


async def verify_browser(plane: ControlPlane, token: str) -> tuple[Reader, Row]:
    """Who is signed in in a browser, and the row of the session and its account.

    Plan:
        1. The token's digest is a session's.
        2. The session is not over: used within a week, begun within a month.
        3. The account may sign in.

    Does not check: that the request was made by our page; `http.readers` does, for whatever changes something.

    Raises:
        VerificationError: `access.signed_out`.
    """
    digest, now = digest_token(token), plane.now()
    row = await plane.database.read(lambda tx: account_store.find_session(tx, digest))
    if row is None:  # 1
        raise signed_out()
    if row["expires_at"] <= now:  # 2
        raise signed_out()
    if row["disabled_at"] is not None:  # 3
        raise signed_out()
    if now - row["seen_at"] > _SEEN_EVERY:
        expires = min(now + IDLE_MICROSECONDS, row["created_at"] + SESSION_MICROSECONDS)
        await plane.database.write(lambda tx: account_store.note_seen(tx, digest, now=now, expires=expires))
    scopes = ROLES.get(row["role"], frozenset())
    return Reader("account", row["id"], row["name"], scopes), row


async def verify_program(plane: ControlPlane, token: str) -> Reader:
    """The program that holds an API token.

    Plan:
        1. The token's digest is among the stored ones, now: a token that was taken back works nowhere any more.

    Does not check: what the holder may do; that is in the reader's scopes.

    Raises:
        VerificationError: `access.unknown_token`.
    """
    digest = digest_token(token)
    row = await plane.database.look(lambda tx: account_store.find_token(tx, digest, "api"))
    if row is None:  # 1
        raise unknown_token("API")
    return Reader("token", digest, row["description"], scopes_of_text(row["scopes"]))


def signed_out() -> VerificationError:
    """The error for a browser whose session is over."""
    return VerificationError("access.signed_out", "you are signed out", help="sign in again")


async def sign_out(plane: ControlPlane, token: str) -> None:
    """End a browser's session."""
    await plane.database.write(lambda tx: account_store.delete_session(tx, digest_token(token)))


async def change_member(plane: ControlPlane, account_id: str, *, role: str | None, disabled: bool | None) -> Row:
    """Another role for an account, or whether it may sign in; its browsers are signed out when it may not.

    Returns:
        The account's row as it is then.

    Raises:
        MalformedInput: `account.role`; `account.last_owner`, nobody could change the organisation after that.
        MalformedInput: `request.not_found`.
    """
    if role is not None and role not in ROLES:
        raise MalformedInput("account.role", f"{role[:40]!r} is no role: {', '.join(ROLES)}")
    now = plane.now()

    def change(tx: Transaction) -> Row:
        if account_store.find_account(tx, account_id) is None:
            raise not_found("such member")
        if role is not None:
            account_store.set_role(tx, account_id, role)
        if disabled is not None:
            account_store.set_disabled(tx, account_id, now if disabled else None)
            if disabled:
                account_store.delete_sessions(tx, account_id)
        if not account_store.count_active_owners(tx):
            raise MalformedInput(
                "account.last_owner",
                "nobody would be left who may change the organisation",
                help="make somebody else an owner first",
            )
        row = account_store.find_account(tx, account_id)
        assert row is not None
        return row

    return await plane.database.write(change)


async def make_api_token(
    plane: ControlPlane, reader: Reader, *, description: str, scopes: Sequence[str]
) -> tuple[str, str]:
    """A new API token and its id; nobody makes one that may do more than they may themselves.

    Parameters:
        scopes: what it may do; empty for all.

    Raises:
        MalformedInput: `account.token`, no description or an unknown scope.
        VerificationError: `access.scope`.
    """
    unknown = sorted(set(scopes) - set(SCOPES))
    if unknown:
        raise MalformedInput("account.token", f"{unknown[0][:40]!r} is no scope: {', '.join(SCOPES)}")
    if not 1 <= len(description.strip()) <= _MAX_NAME:
        raise MalformedInput("account.token", f"a token needs a description of 1 to {_MAX_NAME} characters")
    for scope in scopes or SCOPES:
        reader.need(scope)
    token = make_token(API_PREFIX, plane.randomness)
    digest, now = digest_token(token), plane.now()

    def insert(tx: Transaction) -> None:
        account_store.insert_api_token(
            tx,
            digest=digest,
            description=description.strip(),
            scopes=" ".join(scope for scope in SCOPES if scope in scopes),
            account_id=reader.id if reader.kind == "account" else None,
            now=now,
        )

    await plane.database.write(insert)
    return token, digest[:TOKEN_ID]


async def delete_api_token(plane: ControlPlane, token_id: str) -> None:
    """Make a token worthless.

    Raises:
        MalformedInput: `request.not_found`.
    """

    def delete(tx: Transaction) -> None:
        found = [
            row["digest"] for row in account_store.list_tokens(tx, "api") if row["digest"][:TOKEN_ID] == token_id
        ]
        if not found:
            raise not_found("such token")
        account_store.delete_token(tx, found[0], "api")

    await plane.database.write(delete)


def parse_email(email: str) -> str:
    """An e-mail address in lower case.

    Raises:
        MalformedInput: `account.email`.
    """
    address = email.strip().lower()
    if not _EMAIL.fullmatch(address):
        raise MalformedInput("account.email", f"{email[:80]!r} is no e-mail address")
    return address


async def _in_lane(plane: ControlPlane, work: Callable[[], str]) -> str:
    """The result of a slow digest, made beside the event loop, two at a time: each takes 64 MiB."""
    async with plane.sign_ins.lanes:
        return await asyncio.to_thread(work)

"""People, their signed-in browsers and the links that invite them, in the database."""

from __future__ import annotations

from sqlite3 import Row

from pipeseal.controlplane.store.database import Transaction


def count_accounts(tx: Transaction) -> int:
    """How many accounts there are, disabled ones included."""
    row = tx.one("SELECT count(*) AS n FROM accounts")
    assert row is not None
    return int(row["n"])


def list_accounts(tx: Transaction) -> list[Row]:
    """All accounts, the oldest first."""
    return tx.all("SELECT * FROM accounts ORDER BY created_at, id")


def find_account(tx: Transaction, account_id: str) -> Row | None:
    """An account."""
    return tx.one("SELECT * FROM accounts WHERE id = :id", id=account_id)


def find_account_by_email(tx: Transaction, email: str) -> Row | None:
    """The account of an address, which is in lower case."""
    return tx.one("SELECT * FROM accounts WHERE email = :email", email=email)


def find_account_by_identity(tx: Transaction, issuer: str, subject: str) -> Row | None:
    """The account of somebody whom a provider knows."""
    return tx.one(
        "SELECT a.* FROM account_identities i JOIN accounts a ON a.id = i.account_id "
        "WHERE i.issuer = :issuer AND i.subject = :subject",
        issuer=issuer,
        subject=subject,
    )


def insert_identity(tx: Transaction, *, issuer: str, subject: str, account_id: str, now: int) -> None:
    """Whom a provider knows as whom."""
    tx.run(
        "INSERT INTO account_identities (issuer, subject, account_id, created_at) "
        "VALUES (:issuer, :subject, :account_id, :now)",
        issuer=issuer,
        subject=subject,
        account_id=account_id,
        now=now,
    )


def insert_account(tx: Transaction, *, id: str, email: str, name: str, role: str, password: str, now: int) -> None:
    """A new account."""
    tx.run(
        "INSERT INTO accounts (id, email, name, role, password, created_at) "
        "VALUES (:id, :email, :name, :role, :password, :now)",
        id=id,
        email=email,
        name=name,
        role=role,
        password=password,
        now=now,
    )


def set_password(tx: Transaction, account_id: str, password: str) -> None:
    """Another password."""
    tx.run("UPDATE accounts SET password = :password WHERE id = :id", id=account_id, password=password)


def set_role(tx: Transaction, account_id: str, role: str) -> None:
    """Another role."""
    tx.run("UPDATE accounts SET role = :role WHERE id = :id", id=account_id, role=role)


def set_disabled(tx: Transaction, account_id: str, at: int | None) -> None:
    """Whether, and since when, the account may not sign in."""
    tx.run("UPDATE accounts SET disabled_at = :at WHERE id = :id", id=account_id, at=at)


def count_active_owners(tx: Transaction) -> int:
    """How many accounts may still change the organisation."""
    row = tx.one("SELECT count(*) AS n FROM accounts WHERE role = 'owner' AND disabled_at IS NULL")
    assert row is not None
    return int(row["n"])


# --- signed-in browsers ------------------------------------------------------------------------------------------


def insert_session(tx: Transaction, *, digest: str, account_id: str, now: int, expires: int, browser: str) -> None:
    """A browser that signed in; `browser` is what it calls itself."""
    tx.run(
        "INSERT INTO browser_sessions (digest, account_id, created_at, seen_at, expires_at, browser) "
        "VALUES (:digest, :account_id, :now, :now, :expires, :browser)",
        browser=browser,
        digest=digest,
        account_id=account_id,
        now=now,
        expires=expires,
    )


def find_session(tx: Transaction, digest: str) -> Row | None:
    """A browser and its account, unless either may not be here any more: the caller looks at the times."""
    return tx.one(
        "SELECT s.digest, s.created_at, s.seen_at, s.expires_at, a.id, a.email, a.name, a.role, a.disabled_at "
        "FROM browser_sessions s JOIN accounts a ON a.id = s.account_id WHERE s.digest = :digest",
        digest=digest,
    )


def list_sessions(tx: Transaction, account_id: str, now: int) -> list[Row]:
    """The browsers in which an account is signed in, the one used last first."""
    return tx.all(
        "SELECT digest, browser, created_at, seen_at FROM browser_sessions "
        "WHERE account_id = :id AND expires_at > :now ORDER BY seen_at DESC, digest",
        id=account_id,
        now=now,
    )


def note_seen(tx: Transaction, digest: str, *, now: int, expires: int) -> None:
    """The browser was here."""
    tx.run(
        "UPDATE browser_sessions SET seen_at = :now, expires_at = :expires WHERE digest = :digest",
        digest=digest,
        now=now,
        expires=expires,
    )


def delete_session(tx: Transaction, digest: str) -> None:
    """The browser signed out."""
    tx.run("DELETE FROM browser_sessions WHERE digest = :digest", digest=digest)


def delete_sessions(tx: Transaction, account_id: str, *, but: str = "") -> None:
    """Sign out all browsers of an account, but one."""
    tx.run("DELETE FROM browser_sessions WHERE account_id = :id AND digest <> :but", id=account_id, but=but)


def delete_expired(tx: Transaction, now: int) -> None:
    """Forget browsers and links whose time is over."""
    tx.run("DELETE FROM browser_sessions WHERE expires_at <= :now", now=now)
    tx.run("DELETE FROM account_links WHERE expires_at <= :now", now=now)


# --- links -------------------------------------------------------------------------------------------------------


def insert_link(
    tx: Transaction, *, digest: str, account_id: str | None, email: str, role: str, now: int, expires: int
) -> None:
    """A link that makes an account with this role, or gives a known account another password."""
    tx.run(
        "INSERT INTO account_links (digest, account_id, email, role, created_at, expires_at) "
        "VALUES (:digest, :account_id, :email, :role, :now, :expires)",
        digest=digest,
        account_id=account_id,
        email=email,
        role=role,
        now=now,
        expires=expires,
    )


def take_link(tx: Transaction, digest: str) -> Row | None:
    """A link, which is gone after that."""
    rows = tx.all("DELETE FROM account_links WHERE digest = :digest RETURNING *", digest=digest)
    return rows[0] if rows else None


def delete_first_links(tx: Transaction) -> None:
    """Forget the links of earlier first runs: those for nobody in particular."""
    tx.run("DELETE FROM account_links WHERE email = ''")


# --- tokens ------------------------------------------------------------------------------------------------------


def list_tokens(tx: Transaction, kind: str) -> list[Row]:
    """The long-lived tokens of a kind, with whose they are."""
    return tx.all(
        "SELECT t.digest, t.description, t.scopes, t.created_at, t.account_id, a.name AS account_name "
        "FROM tokens t LEFT JOIN accounts a ON a.id = t.account_id WHERE t.kind = :kind "
        "ORDER BY t.created_at, t.digest",
        kind=kind,
    )


def find_token(tx: Transaction, digest: str, kind: str) -> Row | None:
    """A long-lived token."""
    return tx.one(
        "SELECT digest, description, scopes, account_id FROM tokens WHERE digest = :digest AND kind = :kind",
        digest=digest,
        kind=kind,
    )


def insert_api_token(
    tx: Transaction, *, digest: str, description: str, scopes: str, account_id: str | None, now: int
) -> None:
    """A new API token."""
    tx.run(
        "INSERT INTO tokens (digest, kind, description, created_at, scopes, account_id) "
        "VALUES (:digest, 'api', :description, :now, :scopes, :account_id)",
        digest=digest,
        description=description,
        now=now,
        scopes=scopes,
        account_id=account_id,
    )


def delete_token(tx: Transaction, digest: str, kind: str) -> bool:
    """Make a token worthless; says whether there was one."""
    return tx.run("DELETE FROM tokens WHERE digest = :digest AND kind = :kind", digest=digest, kind=kind) > 0

"""Where a ledger is kept: files that others reach, that are damaged, gone or locked, and databases that go away."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import psycopg
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeseal.agent.ledger import postgres as postgres_ledger
from pipeseal.agent.ledger import sqlite as sqlite_ledger
from pipeseal.agent.ledger.open import open_ledger
from pipeseal.agent.ledger.postgres import PostgresLedger
from pipeseal.agent.ledger.sqlite import SqliteLedger
from pipeseal.agent.settings import AgentSettings, load_settings
from pipeseal.errors import ConfigurationError, PipesealError, Unavailable, VerificationError
from tests.agent.ledgers import NOW, request
from tests.controlplane.postgres_server import fresh_database


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "data" / "ledger.sqlite"


def opened(path: Path, patience: float = 0.0) -> closing[SqliteLedger]:
    return closing(SqliteLedger(path, patience_seconds=patience))


def claim(ledger: SqliteLedger | PostgresLedger, job: str = "job") -> int:
    return ledger.claim(request(), job_id=job, agent="a", now=NOW).attempt


def cannot_open(path: Path) -> ConfigurationError:
    with pytest.raises(ConfigurationError) as caught:
        SqliteLedger(path)
    return caught.value


# --- a file ---------------------------------------------------------------------------------------------------------


def test_a_new_file_is_its_owner_s_alone_and_survives_a_power_cut(path: Path) -> None:
    with opened(path) as ledger:
        claim(ledger)
        files = sorted(path.parent.iterdir())
        assert [file.name for file in files] == ["ledger.sqlite", "ledger.sqlite-shm", "ledger.sqlite-wal"]
        assert {file.stat().st_mode & 0o777 for file in files} == {0o600}
        asked = ledger._connection.execute
        assert asked("PRAGMA synchronous").fetchone() == (2,)  # FULL: each commit is on disk
        assert asked("PRAGMA journal_mode").fetchone() == ("wal",)


def test_what_was_claimed_is_there_when_the_agent_starts_again(path: Path) -> None:
    asked = request(attempts=1)
    with opened(path) as ledger:
        assert ledger.is_new
        ledger.claim(asked, job_id="a", agent="a", now=NOW)
    with opened(path) as ledger:
        assert not ledger.is_new
        with pytest.raises(VerificationError) as caught:
            ledger.claim(asked, job_id="b", agent="a", now=NOW)
        assert caught.value.code == "ledger.attempts"


@pytest.mark.parametrize(("mode", "folder"), [(0o644, 0o700), (0o640, 0o700), (0o660, 0o700), (0o600, 0o777)])
def test_a_file_that_others_can_reach_is_refused(path: Path, mode: int, folder: int) -> None:
    with opened(path) as ledger:
        claim(ledger)
    path.chmod(mode)
    path.parent.chmod(folder)
    error = cannot_open(path)
    assert error.code == "ledger.permissions" and "chmod" in error.help


def test_a_file_of_something_else_is_refused(path: Path, tmp_path: Path) -> None:
    path.parent.mkdir()
    path.write_bytes(b"#!/bin/sh\necho this is no database\n" * 100)
    path.chmod(0o600)
    assert cannot_open(path).code == "ledger.damaged"
    other = tmp_path / "other.sqlite"
    with closing(sqlite3.connect(other)) as connection:
        connection.execute("CREATE TABLE t (x)")
    other.chmod(0o600)
    error = cannot_open(other)
    assert error.code == "ledger.damaged" and "something else" in error.message
    with closing(sqlite3.connect(other)) as connection:
        assert connection.execute("SELECT name FROM sqlite_schema").fetchall() == [("t",)]  # and left as it was


def test_a_ledger_of_a_newer_program_is_refused(path: Path) -> None:
    with opened(path):
        pass
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("UPDATE pipeseal_ledger SET version = 2")
    assert "version 2" in cannot_open(path).message


def test_a_place_that_cannot_be_written_keeps_the_agent_from_starting(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    error = cannot_open(tmp_path / "file" / "ledger.sqlite")
    assert error.code == "ledger.unavailable" and "can write" in error.help


@pytest.mark.parametrize("how", ["removed", "replaced"])
def test_a_file_that_goes_while_agents_run_is_not_started_over(path: Path, how: str) -> None:
    with opened(path) as ledger:
        claim(ledger)
        path.unlink()
        if how == "replaced":
            with opened(path):
                pass
        with pytest.raises(VerificationError) as caught:
            claim(ledger, "again")
        assert caught.value.code == "ledger.damaged" and "while the agent used it" in caught.value.message


def test_tables_that_go_while_agents_run_refuse_jobs(path: Path) -> None:
    with opened(path) as ledger:
        claim(ledger)
        with closing(sqlite3.connect(path)) as connection, connection:
            connection.execute("DELETE FROM pipeseal_ledger")
        with pytest.raises(VerificationError) as caught:
            claim(ledger, "two")
        assert caught.value.code == "ledger.damaged"
        with closing(sqlite3.connect(path)) as connection, connection:
            connection.execute("DROP TABLE pipeseal_starts")
        with pytest.raises(VerificationError) as caught:
            claim(ledger, "three")
        assert caught.value.code == "ledger.damaged"


def test_an_older_copy_put_back_under_a_running_agent_is_not_believed(path: Path) -> None:
    with opened(path) as ledger:
        claim(ledger)
        ledger._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        with closing(sqlite3.connect(path)) as source, closing(sqlite3.connect(":memory:")) as backup:
            source.backup(backup)
            claim(ledger, "two")
            claim(ledger, "three")
            backup.backup(source)  # the same file, with the contents of before
        with pytest.raises(VerificationError) as caught:
            claim(ledger, "four")
        assert caught.value.code == "ledger.damaged" and "older" in caught.value.message


def test_a_file_that_somebody_holds_locked_is_waited_for(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sqlite_ledger, "_BUSY_SECONDS", 0.05)
    with opened(path, patience=0.3) as ledger, closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(Unavailable) as caught:
            claim(ledger)
        assert caught.value.code == "ledger.unavailable" and "locked" in caught.value.message
        other.execute("ROLLBACK")
        assert claim(ledger) == 1


def test_a_full_disk_refuses_and_then_there_is_room_again(path: Path) -> None:
    with opened(path) as ledger:
        ((pages,),) = ledger._connection.execute("PRAGMA page_count").fetchall()
        ledger._connection.execute(f"PRAGMA max_page_count = {pages}").fetchall()
        codes = []
        for number in range(100):
            try:
                claim(ledger, f"{number}")
            except Unavailable as error:
                codes.append(error.code)
                break
        assert codes == ["ledger.unavailable"]
        ledger._connection.execute("PRAGMA max_page_count = 100000").fetchall()
        assert claim(ledger, "room") == 1


@settings(max_examples=40, deadline=None)
@given(data=st.data())
def test_whatever_a_file_holds_it_is_a_ledger_or_an_error_of_ours(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    path = tmp_path_factory.mktemp("fuzz") / "ledger.sqlite"
    with opened(path) as ledger:
        for number in range(5):
            claim(ledger, f"{number}")
        ledger._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    whole = bytearray(path.read_bytes())
    for _ in range(data.draw(st.integers(1, 30))):
        whole[data.draw(st.integers(0, len(whole) - 1))] = data.draw(st.integers(0, 255))
    path.write_bytes(bytes(whole[: data.draw(st.sampled_from([len(whole), len(whole) // 2, 4096, 100, 1]))]))
    try:
        with opened(path) as ledger:
            claim(ledger, "another")
    except PipesealError as error:
        assert error.code in {"ledger.damaged", "ledger.unavailable"}, error


# --- a database -----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with fresh_database() as url:
        yield url


def test_a_connection_that_breaks_is_made_again(url: str) -> None:
    with closing(PostgresLedger(url)) as ledger, psycopg.connect(url, autocommit=True) as other:
        claim(ledger, "before")
        other.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'pipeseal-ledger'"
        )
        assert claim(ledger, "after") == 1


def test_commits_outlive_the_database_server_and_nobody_waits_for_ever(url: str) -> None:
    with closing(PostgresLedger(url)) as ledger:
        shown = {
            name: ledger._connected().execute(f"SHOW {name}").fetchall()[0][0]
            for name in ("synchronous_commit", "statement_timeout", "lock_timeout")
        }
    assert shown == {"synchronous_commit": "on", "statement_timeout": "5s", "lock_timeout": "5s"}


def test_a_table_that_is_locked_or_gone_refuses(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(postgres_ledger, "_OPTIONS", "-c lock_timeout=100ms")
    with closing(PostgresLedger(url, patience_seconds=0)) as ledger:
        with psycopg.connect(url) as other:
            other.execute("LOCK TABLE pipeseal_starts")
            with pytest.raises(Unavailable) as caught:
                claim(ledger, "locked")
            assert caught.value.code == "ledger.unavailable"
        with psycopg.connect(url) as other:
            other.execute("DROP TABLE pipeseal_starts")
        with pytest.raises(VerificationError) as gone:
            claim(ledger, "gone")
        assert gone.value.code == "ledger.damaged"


def test_a_newer_program_s_tables_are_refused() -> None:
    with fresh_database() as url:
        PostgresLedger(url).close()
        with psycopg.connect(url) as other:
            other.execute("UPDATE pipeseal_ledger SET version = 2")
        with pytest.raises(ConfigurationError) as caught:
            PostgresLedger(url)
        assert caught.value.code == "ledger.damaged" and "version 2" in caught.value.message


@pytest.mark.parametrize(
    ("address", "code"),
    [
        ("postgresql://me:hunter22@127.0.0.1:1/x", "ledger.unavailable"),
        ("postgresql://me:hunter22@[bad/x", "config.value"),
        ("postgresql://me:hunter22@h/x?hunter22=1", "config.value"),
    ],
)
def test_a_database_that_is_not_there_keeps_the_agent_from_starting_and_no_password_is_shown(
    address: str, code: str
) -> None:
    with pytest.raises(ConfigurationError) as caught:
        PostgresLedger(address)
    error = caught.value
    assert error.code == code
    assert "hunter22" not in f"{error.message}{error.help}{error.evidence}"


# --- the setting ----------------------------------------------------------------------------------------------------


def agent_settings(**options: str) -> AgentSettings:
    given = {name.replace("_", "-"): value for name, value in options.items()}
    return load_settings({"token": "t", **given}, {"HOME": "/home/agent"})


def test_the_default_is_a_file_of_the_user_and_one_without_keys_has_none() -> None:
    settings = agent_settings()
    assert settings.ledger == "/home/agent/.local/share/pipeseal/ledger.sqlite"
    assert open_ledger(settings) is None


def test_a_password_on_the_command_line_is_worth_a_warning() -> None:
    url = "postgresql://me:secret@h/db"
    assert "password" in agent_settings(ledger=url).notes[-1]
    quiet = load_settings({}, {"HOME": "/", "BUILDKITE_AGENT_TOKEN": "t", "PIPESEAL_AGENT_LEDGER": url})
    assert (quiet.ledger, quiet.notes) == (url, ())
    with pytest.raises(ConfigurationError) as caught:
        load_settings({"token": "t", "ledger": ""}, {})
    assert caught.value.code == "config.value"


def test_the_setting_chooses(path: Path, url: str) -> None:
    keys = {"verification_jwks_file": "/keys.json"}
    for where, kind in ((str(path), SqliteLedger), (url, PostgresLedger)):
        ledger = open_ledger(agent_settings(ledger=where, **keys))
        assert isinstance(ledger, kind)
        ledger.close()
    for wrong in ("mysql://x/y", "http://x"):
        with pytest.raises(ConfigurationError) as caught:
            open_ledger(agent_settings(ledger=wrong, **keys))
        assert caught.value.code == "config.value"

"""Locks between the jobs of a machine: over real sockets, between several agents, and when the leader dies."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeseal.agent.job_api.client import LockClient, SocketClient
from pipeseal.agent.job_api.locks import BASE, LEADER, MAX_KEYS, LockApi, LockTable
from pipeseal.errors import Unavailable, VerificationError


@pytest.fixture
def sockets() -> Iterator[Path]:
    # Not below pytest's folder: a socket's path may have 107 bytes.
    folder = Path(tempfile.mkdtemp(prefix="ps-"))
    yield folder
    shutil.rmtree(folder)


@pytest.fixture
def api(sockets: Path) -> Iterator[LockApi]:
    api = LockApi(sockets, check_seconds=0.05)
    api.start()
    yield api
    api.close()


@pytest.fixture
def lock_client(sockets: Path) -> Iterator[Callable[..., LockClient]]:
    clients: list[LockClient] = []

    def make(folder: Path = sockets, **options: Any) -> LockClient:
        clients.append(LockClient(folder, **options))
        return clients[-1]

    yield make
    for client in clients:
        client.close()


class Waits:
    """A clock that only goes on while somebody waits."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def wait(self, seconds: float) -> None:
        self.seconds += seconds

    def now(self) -> float:
        return self.seconds


def test_a_lock_is_one_s_own_until_released(
    api: LockApi, sockets: Path, lock_client: Callable[..., LockClient]
) -> None:
    client = lock_client()
    assert client.get("db") == ""
    token = client.acquire("db", None)
    assert re.fullmatch(rf"acquired\(pid={os.getpid()},otp=[0-9a-f]{{32}}\)", token)
    assert client.get("db") == token
    assert client.get("other") == ""
    clock = Waits()
    with pytest.raises(Unavailable, match="db") as late:
        lock_client(wait=clock.wait, now=clock.now).acquire("db", 5)
    assert late.value.code == "lock.timeout"
    assert 4.8 < clock.seconds <= 5
    for wrong in ("", "acquired(pid=1,otp=0)", token + "x"):
        with pytest.raises(VerificationError) as caught:
            client.release("db", wrong)
        assert caught.value.code == "lock.not_held"
    client.release("db", token)
    with pytest.raises(VerificationError, match="nobody has it"):
        client.release("db", token)
    assert client.acquire("db", 1) != token


def test_one_at_a_time(api: LockApi, sockets: Path, lock_client: Callable[..., LockClient]) -> None:
    inside, most, turns = 0, 0, []

    def work(worker: int) -> None:
        nonlocal inside, most
        client = lock_client(wait=lambda _seconds: None)
        for _ in range(5):
            token = client.acquire("one", 30)
            inside += 1
            most = max(most, inside)
            turns.append(worker)
            inside -= 1
            client.release("one", token)

    threads = [threading.Thread(target=work, args=(worker,)) for worker in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most == 1
    assert sorted(turns) == sorted(list(range(4)) * 5)


def test_work_is_done_once(api: LockApi, sockets: Path, lock_client: Callable[..., LockClient]) -> None:
    first = lock_client()
    assert first.begin_once("setup", None) is True
    clock = Waits()
    with pytest.raises(Unavailable) as caught:
        lock_client(wait=clock.wait, now=clock.now).begin_once("setup", 1)
    assert caught.value.code == "lock.timeout"

    def finish(_seconds: float) -> None:
        if first.get("setup") == "doing":
            first.end_once("setup")

    assert lock_client(wait=finish).begin_once("setup", None) is False
    assert lock_client().begin_once("setup", None) is False
    with pytest.raises(VerificationError) as wrong:
        first.end_once("setup")
    assert wrong.value.code == "lock.state"


def test_locks_and_work_done_once_do_not_share_a_key(
    api: LockApi, sockets: Path, lock_client: Callable[..., LockClient]
) -> None:
    client = lock_client()
    client.acquire("key", None)
    with pytest.raises(VerificationError) as caught:
        client.begin_once("key", None)
    assert caught.value.code == "lock.state"
    with pytest.raises(VerificationError):
        client.end_once("nobody began")


def test_without_an_agent_there_are_no_locks(sockets: Path, lock_client: Callable[..., LockClient]) -> None:
    with pytest.raises(Unavailable, match="elsewhere") as caught:
        lock_client(sockets / "elsewhere").get("key")
    assert caught.value.code == "lock.unavailable"


def test_several_agents_agree_on_a_leader_and_hand_over(
    sockets: Path, lock_client: Callable[..., LockClient]
) -> None:
    said: list[str] = []
    agents = [LockApi(sockets, check_seconds=0.02, say=said.append) for _ in range(3)]
    for agent in agents:
        agent.start()
    assert len(said) == 1
    client = lock_client()
    token = client.acquire("key", None)
    agents[2].close()
    client.release("key", token)  # a follower's end changes nothing
    agents[0].close()
    for _ in range(500):
        if len(said) == 2:
            break
        threading.Event().wait(0.01)
    assert len(said) == 2
    assert lock_client().get("key") == ""
    agents[1].close()
    assert sorted(path.name for path in sockets.iterdir()) == [".agent-leader.lock"]


def test_a_killed_leader_is_replaced_and_cleared_away(sockets: Path, lock_client: Callable[..., LockClient]) -> None:
    program = (
        "import sys, time; from pathlib import Path; from pipeseal.agent.job_api.locks import LockApi\n"
        "api = LockApi(Path(sys.argv[1])); api.start(); print('ready', flush=True); time.sleep(60)"
    )
    process = subprocess.Popen([sys.executable, "-c", program, str(sockets)], stdout=subprocess.PIPE)
    assert process.stdout is not None
    try:
        assert process.stdout.readline() == b"ready\n"
        lock_client().acquire("key", None)
        left_behind = os.readlink(sockets / LEADER)  # noqa: PTH115
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
        process.stdout.close()
    with pytest.raises(Unavailable):
        lock_client().get("key")
    said: list[str] = []
    api = LockApi(sockets, say=said.append)
    api.start()
    assert said and lock_client().get("key") == ""
    assert not (sockets / left_behind).exists()
    api.close()


def test_agents_that_begin_together_make_one_leader(sockets: Path) -> None:
    said: list[str] = []
    agents = [LockApi(sockets, check_seconds=60, say=said.append) for _ in range(8)]
    threads = [threading.Thread(target=agent.start) for agent in agents]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(said) == 1
    for agent in agents:
        agent.close()


def test_requests_that_make_no_sense_are_refused(api: LockApi, sockets: Path) -> None:
    client = SocketClient(sockets / LEADER, code="lock.unavailable", hint="")
    for method, path, content, status in (
        ("GET", f"{BASE}/lock", None, 404),
        ("GET", f"{BASE}/lock/?key=", None, 404),
        ("GET", f"{BASE}/lock?key={'k' * 5_000}", None, 422),
        ("PATCH", f"{BASE}/lock?key=k", {"old": 1}, 400),
        ("PATCH", f"{BASE}/lock?key=k", [], 400),
        ("PATCH", f"{BASE}/lock?key=k", {"old": "", "new": "v" * 5_000}, 422),
        ("DELETE", f"{BASE}/lock?key=k", None, 405),
        ("GET", "/api/leader/v1/ping", None, 404),
    ):
        with pytest.raises(Unavailable) as caught:
            client.call(method, path, content)
        assert (caught.value.code, caught.value.status) == ("job_api.refused", status), path
    assert set(client.call("GET", f"{BASE}/ping")) == {"now"}
    # With and without the slash, as callers write it.
    assert client.call("GET", f"{BASE}/lock?key=k") == client.call("GET", f"{BASE}/lock/?key=k") == {"value": ""}
    client.close()


def test_the_table_has_an_end_and_frees_what_is_released() -> None:
    table = LockTable()
    for number in range(MAX_KEYS):
        assert table.swap(str(number), "", "held") == ("held", True)
    assert table.swap("one more", "", "held") is None
    assert table.swap("1", "held", "") == ("", True)
    assert table.swap("one more", "", "held") == ("held", True)
    assert table.swap("1", "wrong", "x") == ("", False)


@given(
    st.lists(
        st.tuples(st.sampled_from("ab"), st.sampled_from(["", "x", "y"]), st.sampled_from(["", "x", "y"])),
        max_size=30,
    )
)
def test_the_table_is_a_map_with_compare_and_swap(moves: list[tuple[str, str, str]]) -> None:
    table, model = LockTable(), {"a": "", "b": ""}
    for key, old, new in moves:
        swapped = model[key] == old
        if swapped:
            model[key] = new
        assert table.swap(key, old, new) == (model[key], swapped)
        assert table.get(key) == model[key]

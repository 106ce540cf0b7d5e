"""`pipeseal signer`: what it says, how it starts, is read anew and stops, and when it does not start."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from pipeseal.agent.signer_client import SignerClient
from pipeseal.errors import MalformedInput
from pipeseal.signerapi.messages import SignRequest
from tests.signer.workshop import Workshop


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder with a short name: a socket's path may have 107 bytes."""
    path = Path(tempfile.mkdtemp(prefix="signer-"))
    yield path
    shutil.rmtree(path)


@pytest.fixture
def shop(tmp_path: Path) -> Workshop:
    return Workshop(tmp_path, uids=(os.getuid(), os.getuid()))


def words(shop: Workshop, *more: str) -> list[str]:
    return [sys.executable, "-m", "pipeseal", "signer", "--config", str(shop.config), *more]


def test_a_check_says_what_the_files_mean(shop: Workshop) -> None:
    shop.configure('[[upload]]\npipeline = "widgets"\n')
    done = subprocess.run(words(shop, "--check"), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "signs with   signer" in done.stdout and "1 (widgets)" in done.stdout
    assert "warning: jobs run as the user that agents run as" in done.stdout
    shop.head = shop.head.replace(f"jobs = [{os.getuid()}]", "jobs = [70002]")
    shop.configure("")
    assert "warning" not in subprocess.run(words(shop, "--check"), capture_output=True, text=True, check=True).stdout


@pytest.mark.parametrize(
    ("spoil", "code"),
    [("nonsense = 1\n", "signer.key"), ("socket-group = 'no-such-group'\n", "signer.user"), ("= ", "signer.syntax")],
)
def test_a_signer_with_a_wrong_file_ends_with_the_status_of_settings(shop: Workshop, spoil: str, code: str) -> None:
    shop.configure(spoil)
    done = subprocess.run(words(shop), capture_output=True, text=True, check=False)
    assert done.returncode != 0 and f"[{code}]" in done.stderr
    if code == "signer.user":
        assert done.returncode == 6  # which the unit does not start again for


def test_a_signer_tells_its_manager_reads_its_file_again_and_stops(shop: Workshop, folder: Path) -> None:
    path = folder / "socket"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(folder / "notify"))
        manager.settimeout(60)
        process = subprocess.Popen(
            words(shop, "--socket", str(path)),
            env={**os.environ, "NOTIFY_SOCKET": str(folder / "notify")},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        try:
            assert manager.recv(100) == b"READY=1"
            client = SignerClient(path)
            job = shop.job()
            assert client.grant(job.request).capability
            shop.configure("nonsense = 1\n")
            process.send_signal(signal.SIGHUP)
            with pytest.raises(MalformedInput) as refused:
                client.sign(SignRequest(capability="x", job_id=job.id))
            assert refused.value.code == "signer.key"
            shop.configure("")
            assert client.grant(shop.job().request).capability
            process.send_signal(signal.SIGTERM)
            assert manager.recv(100) == b"STOPPING=1"
            _, said = process.communicate(timeout=60)
        finally:
            process.kill()
            process.communicate()
    assert process.returncode == 0 and not path.exists()
    assert "granted an upload to job" in said and "stopped" in said

"""An S3 for tests: a process of its own that speaks the protocol and keeps objects in memory."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from http.client import HTTPConnection, HTTPException
from pathlib import Path

BUCKET = "pipeseal"
# What the client is to find in its environment; any will do.
CREDENTIALS = {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test"}


@contextmanager
def s3_server(folder: Path) -> Iterator[str]:
    """The endpoint's URL, with one empty bucket.

    Parameters:
        folder: for the server's temporary files.
    """
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    environment = {
        **os.environ,
        "BIND_HOST": "127.0.0.1",
        "GATEWAY_PORT": str(port),
        "SERVICES": "s3",
        "LOG_LEVEL": "ERROR",
        "TMPDIR": str(folder),
        "DOCKER_HOST": "unix:///nonexistent",
    }
    process = subprocess.Popen(
        [sys.executable, "-m", "ministack"], env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        _make_bucket(port, process)
        yield f"http://127.0.0.1:{port}"
    finally:
        process.kill()
        process.wait(10)


def _make_bucket(port: int, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + 30
    while True:
        assert process.poll() is None, "the S3 server ended"
        assert time.monotonic() < deadline, "the S3 server did not start"
        connection = HTTPConnection("127.0.0.1", port, timeout=10)
        with suppress(OSError, HTTPException):
            connection.request(
                "PUT", f"/{BUCKET}", headers={"Authorization": "AWS4-HMAC-SHA256 Credential=test/x/y/s3/z"}
            )
            answer = connection.getresponse()
            body = answer.read()
            connection.close()
            assert answer.status == 200, body
            return
        connection.close()
        time.sleep(0.1)

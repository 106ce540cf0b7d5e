"""An S3, or another AWS service, for tests: a process of its own that speaks the protocol and keeps all in memory."""

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
    with aws_server(folder, "s3") as url:
        _request(url, "PUT", f"/{BUCKET}")
        yield url


@contextmanager
def aws_server(folder: Path, services: str) -> Iterator[str]:
    """The URL of a server that answers.

    Parameters:
        folder: for the server's temporary files.
        services: which of AWS's, such as `s3,kms`.
    """
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    environment = {
        **os.environ,
        "BIND_HOST": "127.0.0.1",
        "GATEWAY_PORT": str(port),
        "SERVICES": services,
        "LOG_LEVEL": "ERROR",
        "TMPDIR": str(folder),
        "DOCKER_HOST": "unix:///nonexistent",
    }
    process = subprocess.Popen(
        [sys.executable, "-m", "ministack"], env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        url = f"http://127.0.0.1:{port}"
        _wait_until_it_answers(url, process)
        yield url
    finally:
        process.kill()
        process.wait(10)


def _wait_until_it_answers(url: str, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + 60
    while True:
        assert process.poll() is None, "the AWS server ended"
        assert time.monotonic() < deadline, "the AWS server did not start"
        with suppress(OSError, HTTPException):
            _request(url, "GET", "/_ministack/health")
            return
        time.sleep(0.1)


def _request(url: str, method: str, path: str) -> None:
    connection = HTTPConnection(url.removeprefix("http://"), timeout=60)
    try:
        connection.request(method, path, headers={"Authorization": "AWS4-HMAC-SHA256 Credential=test/x/y/s3/z"})
        answer = connection.getresponse()
        body = answer.read()
        assert answer.status == 200, body
    finally:
        connection.close()

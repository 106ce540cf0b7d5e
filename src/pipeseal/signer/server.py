"""The signer's socket: one request a connection, from users that the kernel vouches for (SO_PEERCRED)."""

from __future__ import annotations

import os
import socket
import stat
import struct
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

from pipeseal.errors import (
    ConfigurationError,
    MalformedInput,
    PipesealError,
    Unavailable,
    VerificationError,
)
from pipeseal.signer.service import SignerService
from pipeseal.signerapi.messages import (
    MAX_GRANT_BYTES,
    MAX_SIGN_BYTES,
    Answer,
    parse_request,
    render_answer,
)

# How long a caller may take to say what it wants, and to listen.
REQUEST_SECONDS: Final = 20.0
# Jobs may be broken, or worse: so many of their requests at a time, and supervisors are never made to wait for them.
MAX_JOB_CONNECTIONS: Final = 16
MAX_SUPERVISOR_CONNECTIONS: Final = 64
_MODE: Final = 0o660
# struct ucred (unix(7)): pid, uid, gid.
_CREDENTIALS: Final = struct.Struct("3i")


class SignerServer:
    """Listens, and hands requests to a service, each in a thread of its own.

    Parameters:
        path: of the socket.
        service: answers.
        tell: prints a line for the operator.
        group: group that may connect; None for this process's own.

    Raises:
        ConfigurationError: `signer.socket`: there is no socket to be had there.
    """

    def __init__(
        self, path: Path, service: SignerService, *, tell: Callable[[str], None], group: int | None = None
    ) -> None:
        self._path = path
        self._service = service
        self._tell = tell
        self._jobs = threading.Semaphore(MAX_JOB_CONNECTIONS)
        self._supervisors = threading.Semaphore(MAX_SUPERVISOR_CONNECTIONS)
        self._closing = threading.Event()
        self._threads: set[threading.Thread] = set()
        self._lock = threading.Lock()
        self._socket = _listen(path, group)

    def serve(self) -> None:
        """Answer until `close` is called."""
        while not self._closing.is_set():
            try:
                connection, _ = self._socket.accept()
            except TimeoutError:
                continue
            except OSError:
                if self._closing.is_set():
                    return
                time.sleep(0.05)  # no more descriptors: others have to end first
                continue
            self._begin(connection)

    def _begin(self, connection: socket.socket) -> None:
        try:
            uid = peer_uid(connection)
            is_supervisor, is_job = self._service.roles(uid)
        except (OSError, PipesealError) as error:
            problem = (
                error if isinstance(error, PipesealError) else Unavailable("signer.socket", "who asks is unknown")
            )
            self._tell(f"cannot answer: {problem}")
            _send_and_close(connection, problem)
            return
        if not is_supervisor and not is_job:
            refusal = VerificationError(
                "signer.not_allowed",
                f"the user with uid {uid} may not ask the signer",
                help="`supervisors` and `jobs` in the signer's file say who may",
            )
            self._tell(f"refused[{refusal.code}] {refusal.message}")
            _send_and_close(connection, refusal)
            return
        slots = self._supervisors if is_supervisor else self._jobs
        if not slots.acquire(blocking=False):
            busy = Unavailable("signer.busy", "too many ask the signer at the same time", help="try again later")
            _send_and_close(connection, busy)
            return
        thread = threading.Thread(target=self._talk, args=(connection, uid, is_supervisor, slots), daemon=True)
        with self._lock:
            # Started under the lock: whoever closes the server finds only threads that run.
            self._threads.add(thread)
            thread.start()

    def _talk(self, connection: socket.socket, uid: int, is_supervisor: bool, slots: threading.Semaphore) -> None:
        try:
            with connection:
                answer = self._answer(connection, uid, MAX_GRANT_BYTES if is_supervisor else MAX_SIGN_BYTES)
                _send(connection, answer)
        finally:
            slots.release()
            with self._lock:
                self._threads.discard(threading.current_thread())

    def _answer(self, connection: socket.socket, uid: int, most: int) -> Answer | PipesealError:
        try:
            return self._service.answer(parse_request(_receive(connection, most)), uid)
        except PipesealError as error:
            return error
        except Exception as error:
            # Whatever it is, it signs nothing; and it must not end the signer for everybody else.
            self._tell(f"fault: {error!r}")
            return Unavailable(
                "signer.fault", f"the signer itself failed ({type(error).__name__}); nothing was signed"
            )

    def close(self, grace_seconds: float = 30.0) -> None:
        """Take no more requests, let those that are being answered end, and remove the socket."""
        self._closing.set()
        self._path.unlink(missing_ok=True)
        self._socket.close()
        deadline = time.monotonic() + grace_seconds
        with self._lock:
            threads = list(self._threads)
        for thread in threads:
            thread.join(max(deadline - time.monotonic(), 0.0))


def peer_uid(connection: socket.socket) -> int:
    """The uid of the process that connected, as the kernel noted it then (SO_PEERCRED, unix(7))."""
    _, uid, _ = _CREDENTIALS.unpack(connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size))
    return int(uid)


def _listen(path: Path, group: int | None) -> socket.socket:
    try:
        if path.exists() and not stat.S_ISSOCK(path.stat().st_mode):
            raise ConfigurationError(
                "signer.socket", f"{path} is there already, and is no socket", help="move it away"
            )
        if path.exists() and _answers(path):
            raise ConfigurationError("signer.socket", f"another signer listens at {path}", help="stop it first")
        path.unlink(missing_ok=True)
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
        try:
            # Nobody else can connect before it has its mode: unlike a file, a socket is made by bind alone.
            before = os.umask(0o177)
            try:
                listener.bind(str(path))
            finally:
                os.umask(before)
            if group is not None:
                os.chown(path, -1, group)
            path.chmod(_MODE)
            listener.listen(64)
            listener.settimeout(0.25)
        except BaseException:
            listener.close()
            raise
    except OSError as error:
        raise ConfigurationError(
            "signer.socket",
            f"there can be no socket at {path}: {error.strerror or error}",
            help="give --socket a path of at most 107 bytes in a folder that the signer may write to",
        ) from None
    return listener


def _answers(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(1.0)
        try:
            probe.connect(str(path))
        except OSError:
            return False
    return True


def _receive(connection: socket.socket, most: int) -> bytes:
    deadline = time.monotonic() + REQUEST_SECONDS
    received = bytearray()
    while True:
        left = deadline - time.monotonic()
        if left <= 0:
            raise MalformedInput("signer.request", "the request did not come to its end in time")
        connection.settimeout(left)
        try:
            piece = connection.recv(1 << 16)
        except OSError:
            raise MalformedInput("signer.request", "the request did not come to its end in time") from None
        if not piece:
            return bytes(received)
        received += piece
        if len(received) > most:
            raise MalformedInput("signer.request", f"the request has more than {most:,} bytes")


def _send(connection: socket.socket, answer: Answer | PipesealError) -> None:
    try:
        connection.settimeout(REQUEST_SECONDS)
        connection.sendall(render_answer(answer))
    except OSError:
        pass  # nobody listens any more; what was signed is of no use to anybody else


def _send_and_close(connection: socket.socket, problem: PipesealError) -> None:
    with connection:
        connection.setblocking(False)
        try:
            connection.sendall(render_answer(problem))
            connection.shutdown(socket.SHUT_WR)
        except OSError:
            pass  # whoever it was does not listen

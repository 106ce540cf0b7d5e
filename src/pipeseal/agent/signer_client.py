"""Asking the signer: its socket, one request a connection. Imported by every upload: only the standard library."""

from __future__ import annotations

import socket
from pathlib import Path

from pipeseal.errors import Unavailable
from pipeseal.signerapi.messages import (
    MAX_ANSWER_BYTES,
    Granted,
    GrantRequest,
    Request,
    RevokeRequest,
    Signed,
    SignRequest,
    parse_granted,
    parse_revoked,
    parse_signed,
    render_request,
)

# A grant takes milliseconds; a signer that fetches a large repository for the first time takes minutes.
GRANT_SECONDS = 30.0
SIGN_SECONDS = 900.0


class SignerClient:
    """A signer, as supervisors and jobs ask it.

    Parameters:
        path: of its socket.
    """

    def __init__(self, path: Path) -> None:
        self._path = path

    def grant(self, request: GrantRequest) -> Granted:
        """Ask whether a job may upload.

        Raises:
            PipesealError: what the signer says is wrong.
            Unavailable: `signer.unavailable`.
        """
        return parse_granted(self._ask(request, GRANT_SECONDS))

    def revoke(self, job_id: str) -> None:
        """Say that a job is over.

        Raises:
            PipesealError: as `grant`.
        """
        parse_revoked(self._ask(RevokeRequest(job_id=job_id), GRANT_SECONDS))

    def sign(self, request: SignRequest) -> Signed:
        """Have a pipeline signed.

        Raises:
            PipesealError: as `grant`.
        """
        return parse_signed(self._ask(request, SIGN_SECONDS))

    def _ask(self, request: Request, seconds: float) -> bytes:
        answer = bytearray()
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
                connection.settimeout(seconds)
                connection.connect(str(self._path))
                try:
                    connection.sendall(render_request(request))
                    connection.shutdown(socket.SHUT_WR)
                except BrokenPipeError:
                    pass  # it has answered before it heard everything: the answer says why
                while piece := connection.recv(1 << 16):
                    answer += piece
                    if len(answer) > MAX_ANSWER_BYTES:
                        raise Unavailable("signer.unavailable", "the signer's answer does not come to an end")
        except OSError as error:
            if answer:
                return bytes(answer)
            raise Unavailable(
                "signer.unavailable",
                f"the signer at {self._path} does not answer: {error.strerror or error}",
                help="see whether it runs, and whether this user may use its socket",
            ) from None
        return bytes(answer)

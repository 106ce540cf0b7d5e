"""What a supervisor has to do with the signer: ask it about a job before that starts, and say when it is over."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from pipeseal.agent.signer_client import SignerClient
from pipeseal.errors import PipesealError
from pipeseal.signerapi.messages import CAPABILITY_VARIABLE, SOCKET_VARIABLE, GrantRequest


class UploadGrant:
    """One job's way to the signer.

    Parameters:
        socket: the signer's.
        job_id: the job.
        tell: is told what goes wrong, in words for people.
    """

    def __init__(self, socket: Path, job_id: str, tell: Callable[[str], None]) -> None:
        self._client = SignerClient(socket)
        self._socket = socket
        self._job_id = job_id
        self._tell = tell
        self.capability = ""
        self.reason = ""

    def ask(self, data: bytes, *, agent_id: str, agent_name: str, tags: tuple[str, ...]) -> dict[str, str]:
        """The variables that the job gets. Without a grant it runs all the same, and can upload nothing signed.

        Parameters:
            data: the server's answer to accept, as it was received; the signer verifies it by itself.
            agent_id, agent_name: under which the agent is registered.
            tags: the agent's own.
        """
        request = GrantRequest(
            job=data.decode("utf-8", "surrogateescape"),
            job_id=self._job_id,
            agent_id=agent_id,
            agent_name=agent_name,
            tags=tags,
        )
        try:
            granted = self._client.grant(request)
        except PipesealError as error:
            self._tell(f"The signer grants this job no upload: {error}")
            return {SOCKET_VARIABLE: str(self._socket)}
        self.capability, self.reason = granted.capability, granted.reason
        return {SOCKET_VARIABLE: str(self._socket), CAPABILITY_VARIABLE: granted.capability}

    def close(self) -> None:
        """The job is over: whatever it left running can have nothing signed."""
        if not self.capability:
            return
        try:
            self._client.revoke(self._job_id)
        except PipesealError as error:
            self._tell(f"The signer could not be told that the job is over: {error}")

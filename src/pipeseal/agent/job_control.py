"""What a job may do through its Job API: change its own later phases, hide values, promise to fail."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path

from pipeseal.agent.job_client import JobClient
from pipeseal.agent.session import JobSession


class SessionControl:
    """The requests of one job, acted on (a `job_api.server.JobControl`).

    Parameters:
        session: the job's state.
        client: calls with the job's token.
        job_id: the job.
    """

    def __init__(self, session: JobSession, client: JobClient, job_id: str) -> None:
        self._session = session
        self._client = client
        self._job_id = job_id

    def environment(self) -> Mapping[str, str]:
        """The job's variables as they are now."""
        return self._session.environment

    def change_environment(self, values: Mapping[str, str], removed: Collection[str]) -> None:
        """Set and remove variables, for phases and hooks that begin later."""
        self._session.change(values, removed)
        self._session.refresh_redaction()

    def set_directory(self, directory: str) -> None:
        """Run what follows there."""
        self._session.directory = Path(directory)

    def redact(self, value: str) -> None:
        """Hide `value` in the job's log from now on."""
        self._session.log.redact([value])

    def promise_failure(self, exit_status: int, reason: str) -> None:
        """Tell the server that the job will fail.

        Raises:
            PipesealError: it was not accepted.
        """
        self._client.promise_failure(self._job_id, exit_status, reason)

"""Uploading artifacts: announced in small batches, sent side by side, and what became of each reported.

A batch is announced only when the one before it is nearly sent, so that signed addresses are fresh and memory holds
a few requests whatever the number and size of the files. When a file cannot be sent, no further batch is begun; what
was sent stays, and the upload as a whole has failed.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from pipeseal.agent.artifacts.find import ArtifactFile, render_size
from pipeseal.agent.artifacts.instructions import Instructions, parse_created
from pipeseal.agent.artifacts.send import Unit, send_unit, split_into_units
from pipeseal.agent.artifacts.stores import StorePolicy, StoreSession
from pipeseal.agent.client import user_agent
from pipeseal.agent.job_client import JobClient, clean_text, new_uuid
from pipeseal.agent.retries import After, Retry, constant, with_retries
from pipeseal.agentapi.job_messages import MAX_ARTIFACTS_IN_BATCH
from pipeseal.errors import ConfigurationError, PipesealError, Unavailable, escape_control

if TYPE_CHECKING:
    from pipeseal.agentapi.job_messages import Artifact, ArtifactBatch, ArtifactState, PartTag

# What a single form can carry to the usual stores.
MAX_FILE_BYTES = 5 << 30
SEND_RETRY = Retry(10, constant(5), after=After.NETWORK)
STATE_SECONDS = 1.0
# Servers fill these in; the stock agent sends them so.
_NO_TIME = "0001-01-01T00:00:00Z"

Say = Callable[[str], None]


def check_destination(destination: str) -> None:
    """Say no to stores that this version cannot use.

    Raises:
        ConfigurationError: any destination but the server's own (code `artifact.destination`).
    """
    if not destination:
        return
    shown = escape_control(destination[:200])
    if destination.startswith(("s3://", "gs://", "rt://")) or ".blob.core.windows.net" in destination:
        raise ConfigurationError(
            "artifact.destination",
            f"uploading to {shown} is not supported yet; artifacts go to the store that the server names",
            help="leave out the destination and unset BUILDKITE_ARTIFACT_UPLOAD_DESTINATION",
        )
    raise ConfigurationError(
        "artifact.destination",
        f"{shown} is no destination for artifacts",
        help='put the pattern in quotes, "log/*.log": without them the shell makes several words of it',
    )


class ArtifactUpload:
    """One upload of files as the artifacts of a job.

    Parameters:
        client: calls of the job.
        job_id: the job.
        policy: where bytes may go.
        workers: how many requests to stores at once.
        multipart: files may be sent in parts.
        say: told what is going on, a line at a time.
        warn: told what went wrong and is tried again.
    """

    def __init__(
        self,
        client: JobClient,
        job_id: str,
        policy: StorePolicy,
        *,
        workers: int,
        multipart: bool = True,
        say: Say = lambda _text: None,
        warn: Say = lambda _text: None,
    ) -> None:
        self._client = client
        self._job_id = job_id
        self._policy = policy
        self._workers = max(1, workers)
        self._multipart = multipart
        self._say = say
        self._warn = warn
        self._units: queue.Queue[Unit | None] = queue.Queue(self._workers)
        self._threads: list[threading.Thread] = []
        self._changed = threading.Condition()
        # Under `_changed`: what is still to be sent of each artifact, its tags, its errors, and states to report.
        self._left: dict[str, int] = {}
        self._tags: dict[str, list[PartTag]] = {}
        self._failures: dict[str, BaseException] = {}
        self._states: list[ArtifactState] = []
        self._ended = False
        self._state_error: PipesealError | None = None
        self._sessions: list[StoreSession] = []

    def abort(self) -> None:
        """Give up; may be called from any thread. `run` then raises soon."""
        self._client.stop.set()
        self._client.close()
        with self._changed:
            sessions = list(self._sessions)
        for session in sessions:
            session.abort()

    def run(self, files: Sequence[ArtifactFile]) -> None:
        """Upload the files.

        Raises:
            ConfigurationError: a file that is too large (code `artifact.too_large`); nothing was uploaded.
            Unavailable: the server or a store could not be reached or said no (codes `api.*`, `artifact.transfer`,
                `artifact.file`).
            VerificationError: codes `artifact.changed`, `artifact.store`.
        """
        for file in files:
            if file.size > MAX_FILE_BYTES:
                raise ConfigurationError(
                    "artifact.too_large",
                    f"{escape_control(file.path)} has {file.size:,} bytes; one file may have {MAX_FILE_BYTES:,}",
                    help="split it, or compress it",
                )
        reporter = threading.Thread(target=self._report, name="artifact-states", daemon=True)
        reporter.start()
        failure: PipesealError | None = None
        try:
            self._send_all(files)
        except PipesealError as error:
            failure = error
        # What was begun is brought to its end, and the server told of it, also after a failure.
        for _ in self._threads:
            self._units.put(None)
        for thread in self._threads:
            thread.join()
        with self._changed:
            self._ended = True
            self._changed.notify_all()
        reporter.join()
        self._raise_failure(failure, len(files))

    def _raise_failure(self, failure: PipesealError | None, count: int) -> None:
        if self._failures:
            first = next(iter(self._failures.values()))
            if len(self._failures) > 1 and isinstance(first, PipesealError):
                first.message = f"{len(self._failures)} of {count} files could not be uploaded; {first.message}"
            raise first
        if failure or self._state_error:
            raise failure or self._state_error  # type: ignore[misc]  # one of them is an error

    def _send_all(self, files: Sequence[ArtifactFile]) -> None:
        total = len(files)
        for start in range(0, total, MAX_ARTIFACTS_IN_BATCH):
            with self._changed:
                if self._failures:
                    return
            batch = files[start : start + MAX_ARTIFACTS_IN_BATCH]
            self._say(f"Creating artifacts {start + 1:,} to {start + len(batch):,} of {total:,}")
            created = self._create(batch)
            units = [split_into_units(file, one) for file, one in zip(batch, created, strict=True)]
            with self._changed:
                for of_one in units:
                    self._left[of_one[0].artifact_id] = len(of_one)
            for unit in (unit for of_one in units for unit in of_one):
                self._put(unit)

    def _put(self, unit: Unit) -> None:
        if len(self._threads) < self._workers:
            thread = threading.Thread(target=self._work, name="artifact-sender", daemon=True)
            self._threads.append(thread)
            thread.start()
        self._units.put(unit)

    def _create(self, files: Sequence[ArtifactFile]) -> list[Instructions]:
        paths = [clean_text(file.path) for file in files]
        batch: ArtifactBatch = {
            "id": new_uuid(),
            "upload_destination": "",
            "artifacts": [_artifact(file, path) for file, path in zip(files, paths, strict=True)],
        }
        if self._multipart:
            batch["multipart_supported"] = True
        return self._client.create_artifacts(self._job_id, batch, lambda body: parse_created(body, paths))

    # --- in the threads that send -------------------------------------------------------------------------------

    def _work(self) -> None:
        session = StoreSession(self._policy, user_agent())
        with self._changed:
            self._sessions.append(session)
        try:
            while (unit := self._units.get()) is not None:
                with self._changed:
                    given_up = unit.artifact_id in self._failures
                if self._client.stop.is_set() and not given_up:
                    self._failed(unit, Unavailable("artifact.transfer", "the upload was given up"))
                    continue
                if given_up:
                    continue
                try:
                    tag = self._send(session, unit)
                except BaseException as error:
                    self._failed(unit, error)  # raised again in the thread that asked
                else:
                    self._sent(unit, tag)
        finally:
            session.close()

    def _send(self, session: StoreSession, unit: Unit) -> str:
        self._say(f"Uploading {unit.describe()} ({render_size(unit.size)})")

        def attempt(_number: int) -> str | PipesealError:
            try:
                return send_unit(session, unit)
            except PipesealError as error:
                if error.code != "artifact.transfer":
                    return error  # trying again would change nothing
                # Without the status: stores say 4xx to what may work a moment later, such as a connection that idled.
                raise Unavailable(error.code, error.message, help=error.help) from error

        def failed(error: PipesealError, delay: float) -> None:
            self._warn(f"{unit.describe()}: {error}; trying again in {delay:.0f} s")

        outcome = with_retries(SEND_RETRY, attempt, wait=self._client.stop.wait, on_failure=failed)
        if isinstance(outcome, PipesealError):
            raise outcome
        return outcome

    def _sent(self, unit: Unit, tag: str) -> None:
        with self._changed:
            if tag:
                number = getattr(unit.how, "number", 1)
                self._tags.setdefault(unit.artifact_id, []).append({"part_number": number, "etag": tag})
            self._left[unit.artifact_id] -= 1
            if self._left[unit.artifact_id] == 0 and unit.artifact_id not in self._failures:
                self._settle(unit, "finished")

    def _failed(self, unit: Unit, error: BaseException) -> None:
        with self._changed:
            if unit.artifact_id not in self._failures:
                self._failures[unit.artifact_id] = error
                self._settle(unit, "error")

    def _settle(self, unit: Unit, state: str) -> None:
        message: ArtifactState = {"id": unit.artifact_id, "state": state}
        if unit.units > 1:
            message["multipart"] = True
        tags = self._tags.pop(unit.artifact_id, [])
        if tags:
            message["multipart_etags"] = sorted(tags, key=lambda tag: tag["part_number"])
        self._states.append(message)
        self._changed.notify_all()

    # --- in the thread that reports -----------------------------------------------------------------------------

    def _report(self) -> None:
        """Say what became of artifacts, about once a second, and at the end."""
        while True:
            with self._changed:
                # Gather for a while, but let the end of the upload come at once.
                self._changed.wait_for(lambda: bool(self._states) or self._ended)
                self._changed.wait_for(lambda: self._ended, STATE_SECONDS)
                states, self._states = self._states, []
                ended = self._ended
            if states:
                try:
                    self._client.update_artifacts(self._job_id, states)
                except PipesealError as error:
                    with self._changed:
                        self._state_error = self._state_error or error
            if ended and not self._states:
                return


def _artifact(file: ArtifactFile, path: str) -> Artifact:
    return {
        "id": "",
        "path": path,
        # The stock agent says where on its machine the file was; nobody needs to know.
        "absolute_path": path,
        "glob_path": "",
        "file_size": file.size,
        "sha1sum": file.sha1,
        "sha256sum": file.sha256,
        "job_id": "",
        "created_at": _NO_TIME,
        "content_type": file.content_type,
    }

"""The artifact phase: uploads the files that the job's artifact paths mean, in this process, with typed arguments.

Patterns that the verified step covers, or that a hook has set, may name any file. Patterns that are the server's word
alone name files of the checkout and nothing else: a server cannot have the machine's files sent to itself.
"""

from __future__ import annotations

import os
import threading
from pathlib import Path
from typing import NamedTuple

from pipeseal.agent.artifacts.find import Search, collect_files, describe_files
from pipeseal.agent.artifacts.stores import StorePolicy
from pipeseal.agent.artifacts.upload import ArtifactUpload, check_destination
from pipeseal.agent.client import user_agent
from pipeseal.agent.job_client import JobClient
from pipeseal.agent.pool import open_pool
from pipeseal.agent.session import JobSession, PhaseFailed
from pipeseal.agent.settings import AgentSettings
from pipeseal.agent.tracing import traced
from pipeseal.errors import PipesealError, escape_control

PATHS = "BUILDKITE_ARTIFACT_PATHS"
DESTINATION = "BUILDKITE_ARTIFACT_UPLOAD_DESTINATION"
LOOK_SECONDS = 0.1


class ArtifactPaths(NamedTuple):
    """The artifact paths that a job came with.

    Parameters:
        text: patterns with `;` between them; empty when there are none.
        is_proven: the verified step covers them.
    """

    text: str = ""
    is_proven: bool = False


def keep_artifacts(
    session: JobSession,
    given: ArtifactPaths,
    settings: AgentSettings,
    client: JobClient,
    job_id: str,
    checkout_path: Path,
) -> None:
    """Upload what the job's artifact paths mean now; nothing that matches is no error.

    Parameters:
        given: what the job came with; hooks may have changed the variable since.
        client: calls with the job's token.
        checkout_path: the job's folder.

    Raises:
        PhaseFailed: a file could not be read or uploaded, or the job ended before it was.
    """
    session.log.header("Uploading artifacts")
    text = session.environment.get(PATHS, "")
    is_free = given.is_proven or text != given.text
    search = Search(
        text,
        directory=str(session.directory),
        inside="" if is_free else str(checkout_path),
        follow_links=_is_on(session, "BUILDKITE_AGENT_ARTIFACT_GLOB_RESOLVE_FOLLOW_SYMLINKS"),
        skip_links=_is_on(session, "BUILDKITE_ARTIFACT_UPLOAD_SKIP_SYMLINKS"),
    )
    stop = threading.Event()
    own_client = JobClient(
        client.endpoint,
        client.token,
        transport=traced(open_pool(client.endpoint, user_agent=user_agent()), session.trace),
        stop=stop,
        on_failure=lambda name, error, delay: session.log.comment(f"{name}: {error}; trying again in {delay:.0f} s"),
    )
    workers = settings.artifact_upload_concurrency or len(os.sched_getaffinity(0))
    upload = ArtifactUpload(
        own_client,
        job_id,
        StorePolicy(client.endpoint, settings.artifact_stores),
        workers=workers,
        multipart=not settings.no_multipart_artifact_upload,
        say=session.log.lines,
        warn=session.log.comment,
    )
    errors: list[BaseException] = []

    def work() -> None:
        try:
            check_destination(session.environment.get(DESTINATION, ""))
            content_type = session.environment.get("BUILDKITE_ARTIFACT_CONTENT_TYPE", "")
            home = session.environment.get("HOME", "")
            files = collect_files(
                search, content_type=content_type, home=home, workers=workers, warn=session.log.comment
            )
            if not files:
                session.log.lines(f"No files matched paths: {escape_control(text)}")
                return
            session.log.lines(f"Found {describe_files(files)} for {escape_control(text)}")
            upload.run(files)
            session.log.lines(f"Uploaded {describe_files(files)}")
        except BaseException as error:
            errors.append(error)  # raised again in the thread that waits

    # On a thread of its own: it can be left alone when the job's time is over and a store does not answer.
    worker = threading.Thread(target=work, name="artifacts", daemon=True)
    worker.start()
    try:
        while worker.is_alive():
            worker.join(LOOK_SECONDS)
            if session.cancellation.over.is_set():
                upload.abort()
                raise PhaseFailed("the job ended before its artifacts were uploaded")
    finally:
        own_client.close()
    for error in errors:
        if isinstance(error, PipesealError):
            raise PhaseFailed(f"the artifacts could not be uploaded: {error}") from error
        raise error


def _is_on(session: JobSession, name: str) -> bool:
    return session.environment.get(name, "").lower() in {"true", "1", "t", "yes", "on"}

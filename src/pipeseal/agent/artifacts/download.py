"""Downloading artifacts: only what was asked for, only below the destination, checked against what was announced."""

from __future__ import annotations

import hashlib
import re
import threading
from collections.abc import Callable, Sequence
from typing import BinaryIO, NamedTuple

from pipeseal.agent.artifacts.destination import Destination, local_components
from pipeseal.agent.artifacts.find import render_size
from pipeseal.agent.artifacts.search import FoundArtifact
from pipeseal.agent.artifacts.stores import StorePolicy, StoreSession
from pipeseal.agent.client import user_agent
from pipeseal.agent.parallel import in_parallel
from pipeseal.agent.retries import After, Retry, constant, with_retries
from pipeseal.errors import (
    ConfigurationError,
    MalformedInput,
    PipesealError,
    Unavailable,
    VerificationError,
    escape_control,
)

FETCH_RETRY = Retry(5, constant(5), after=After.NETWORK)

Say = Callable[[str], None]


class Download(NamedTuple):
    """One artifact and where it goes: the names of folders and file below the destination."""

    artifact: FoundArtifact
    components: tuple[str, ...]


def is_asked_for(query: str, path: str) -> bool:
    """Whether a path can be what a query meant.

    The server reads the query, with rules of its own; this is the most that any reading could mean: special pieces
    stand for any text, the rest for itself in order, upper and lower case alike. Without special pieces, the path
    itself, or a folder above it.
    """
    plain = query.strip().removeprefix("./").casefold()
    spelled = path.replace("\\", "/").removeprefix("./").casefold()
    loose = re.sub(r"\\.?|\{[^}]*\}|\[[^\]]*\]|[*?{}\[\]]", "\0", plain, flags=re.S)
    if "\0" not in loose:
        return spelled == plain or spelled.startswith(plain.rstrip("/") + "/")
    first, *others = (piece for piece in re.split("\0+/?", loose))
    last = others.pop()
    if not spelled.startswith(first):
        return False
    position = len(first)
    for piece in others:
        found = spelled.find(piece, position)
        if found < 0:
            return False
        position = found + len(piece)
    return spelled.endswith(last) and len(spelled) - len(last) >= position


def plan_downloads(found: Sequence[FoundArtifact], query: str, folder_name: str) -> list[Download]:
    """Where each artifact goes; nothing is written before all of them are known to be in order.

    When several have one path, the newest is taken.

    Parameters:
        found: what the server found.
        query: what was asked for.
        folder_name: last component of the destination's absolute path.

    Raises:
        MalformedInput: a path that nobody asked for or that cannot be one (code `artifact.path`).
        ConfigurationError: an artifact in a store that this version cannot read (code `artifact.destination`).
    """
    newest: dict[tuple[str, ...], FoundArtifact] = {}
    for artifact in found:
        if not is_asked_for(query, artifact.path):
            shown = escape_control(artifact.path[:200])
            raise MalformedInput(
                "artifact.path",
                f"the server found {shown!r}, which {escape_control(query)!r} does not mean",
                help="write the pattern so that it matches the whole path",
                evidence={"path": shown},
            )
        if artifact.upload_destination:
            raise ConfigurationError(
                "artifact.destination",
                f"{escape_control(artifact.path)} is in {escape_control(artifact.upload_destination[:200])}, "
                "which is not supported yet",
            )
        components = local_components(artifact.path, folder_name)
        other = newest.get(components)
        if other is None or other.created_at <= artifact.created_at:
            newest[components] = artifact
    return [Download(artifact, components) for components, artifact in newest.items()]


def download_artifacts(
    downloads: Sequence[Download],
    destination: Destination,
    policy: StorePolicy,
    *,
    workers: int,
    wait: Callable[[float], bool],
    say: Say = lambda _text: None,
    warn: Say = lambda _text: None,
) -> None:
    """Fetch artifacts, several at once. All are tried; what came down whole stays.

    Does not check: that the checksums are the producer's. They come from the same server as the bytes.

    Parameters:
        downloads: from `plan_downloads`.
        wait: sleeps for so many seconds; True means stop trying.
        say, warn: told what is going on, and what went wrong and is tried again.

    Raises:
        PipesealError: the first failure, of `fetch_artifact`; its message says how many there were.
    """

    of_this_thread = threading.local()
    sessions: list[StoreSession] = []

    def fetch(download: Download) -> PipesealError | None:
        if not hasattr(of_this_thread, "session"):
            of_this_thread.session = StoreSession(policy, user_agent())
            sessions.append(of_this_thread.session)
        try:
            return _with_retries(of_this_thread.session, download, destination, wait, say, warn)
        except PipesealError as error:
            return error

    try:
        failures = [error for error in in_parallel(fetch, downloads, workers=workers) if error is not None]
    finally:
        for session in sessions:
            session.close()
    if failures:
        first = failures[0]
        if len(failures) > 1:
            first.message = f"{len(failures)} of {len(downloads)} artifacts could not be downloaded; {first.message}"
        raise first


def _with_retries(
    session: StoreSession,
    download: Download,
    destination: Destination,
    wait: Callable[[float], bool],
    say: Say,
    warn: Say,
) -> PipesealError | None:
    """Fetch one artifact; gives the failures that another attempt would not mend, and raises the last other one."""

    def attempt(_number: int) -> PipesealError | None:
        try:
            say(fetch_artifact(session, download, destination))
        except PipesealError as error:
            if error.code != "artifact.transfer":
                return error
            # Without the status: stores say 4xx to what may work a moment later.
            raise Unavailable(error.code, error.message, help=error.help) from error
        return None

    def failed(error: PipesealError, delay: float) -> None:
        warn(f"{escape_control(download.artifact.path)}: {error}; trying again in {delay:.0f} s")

    return with_retries(FETCH_RETRY, attempt, wait=wait, on_failure=failed)


def fetch_artifact(session: StoreSession, download: Download, destination: Destination) -> str:
    """Fetch one artifact.

    Returns:
        A line for people: what came down, and by what it was checked.

    Raises:
        VerificationError: not the bytes that the server announced (code `artifact.checksum`), an address that may
            not be used (code `artifact.store`), a link in the way (code `artifact.symlink`).
        Unavailable: the store does not give it (code `artifact.transfer`), or it cannot be written (code
            `artifact.file`).
        MalformedInput: a checksum that is none (code `api.answer`).
    """
    artifact = download.artifact
    kind, expected = _checksum(artifact)
    sha256 = hashlib.sha256()
    announced = hashlib.sha1(usedforsecurity=False) if kind == "SHA-1" else sha256
    size = 0
    with destination.create(download.components) as file:

        def take(block: bytes) -> None:
            nonlocal size
            size += len(block)
            sha256.update(block)
            if announced is not sha256:
                announced.update(block)
            _write(file, block, artifact.path)

        session.fetch(artifact.url, take, size=artifact.size)
        if expected and announced.hexdigest() != expected:
            raise VerificationError(
                "artifact.checksum",
                f"{escape_control(artifact.path)} is not what was uploaded",
                evidence={"expected": expected, "received": announced.hexdigest()},
            )
    checked = f"its {kind} is the announced one" if expected else "NOT CHECKED: the server has no checksum of it"
    path = escape_control("/".join(download.components))
    return f"Downloaded {path} ({render_size(size)}), SHA-256 {sha256.hexdigest()}; {checked}"


def _write(file: BinaryIO, block: bytes, path: str) -> None:
    view = memoryview(block)
    try:
        while view:
            view = view[file.write(view) :]
    except OSError as error:
        # Raised here, it would look like the connection's.
        raise Unavailable("artifact.file", f"cannot write {escape_control(path)}: {error.strerror}") from error


def _checksum(artifact: FoundArtifact) -> tuple[str, str]:
    """The best checksum the server has: its kind, and the digits; ("SHA-256", "") when there is none."""
    for kind, digits, length in (("SHA-256", artifact.sha256, 64), ("SHA-1", artifact.sha1, 40)):
        if digits:
            if not re.fullmatch(rf"[0-9a-fA-F]{{{length}}}", digits):
                raise MalformedInput(
                    "api.answer", f"the {kind} of {escape_control(artifact.path)} in the server's answer is none"
                )
            return kind, digits.lower()
    return "SHA-256", ""

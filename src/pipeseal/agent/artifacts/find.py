"""Finding the files that patterns or plain paths mean: in a fixed order, each once, as artifacts with checksums."""

from __future__ import annotations

import hashlib
import os
import posixpath
import stat
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

from pipeseal.agent.artifacts.content_types import content_type_of
from pipeseal.agent.artifacts.globs import Automaton, Pattern, normal_root, parse_pattern
from pipeseal.agent.parallel import in_parallel
from pipeseal.errors import ConfigurationError, Unavailable, escape_control

READ_BYTES = 1 << 20

Warn = Callable[[str], None]


class ArtifactFile(NamedTuple):
    """A file that will be an artifact.

    Parameters:
        path: the artifact's path: relative to where the search began, or to `/` when the pattern was absolute.
        source: where the file is.
        size: in bytes.
        sha1, sha256: checksums in lower-case hexadecimal.
        content_type: media type.
        version: what tells this content from a later one: inode, time of the last change, size.
    """

    path: str
    source: str
    size: int
    sha1: str
    sha256: str
    content_type: str
    version: tuple[int, int, int]


class Search(NamedTuple):
    """What to look for.

    Parameters:
        text: patterns or paths, as the command line has them.
        delimiter: what is between them; empty when there is only one.
        literal: they are paths, not patterns.
        follow_links: look into folders that are symbolic links.
        skip_links: leave out files that are symbolic links.
        directory: where relative patterns begin; empty for the working directory of this process.
        inside: leave out files that are not really in this folder, and those of its `.git`; empty for no such limit.
    """

    text: str
    delimiter: str = ";"
    literal: bool = False
    follow_links: bool = False
    skip_links: bool = False
    directory: str = ""
    inside: str = ""


def split_paths(text: str, delimiter: str) -> list[str]:
    """The patterns in `text`, without the space around them and without empty ones."""
    parts = text.split(delimiter) if delimiter else [text]
    return [part.strip() for part in parts if part.strip()]


def find_paths(search: Search, *, home: str = "", warn: Warn = lambda _text: None) -> Iterator[str]:
    """The paths that `search` means: each as the pattern spells it, folders left out, in a fixed order.

    Parameters:
        home: the home folder, for `~/`.
        warn: told of what could not be looked into.

    Raises:
        MalformedInput: a pattern that cannot be read (code `artifact.pattern`).
    """
    texts = split_paths(search.text, search.delimiter)
    if search.literal:
        yield from texts
        return
    by_root: dict[str, list[Pattern]] = {}
    for text in texts:
        pattern = parse_pattern(text, home=home)
        by_root.setdefault(normal_root(pattern), []).append(pattern)
    for root, patterns in by_root.items():
        if any(pattern.names_one_path for pattern in patterns):
            yield from _one_path(root, search.directory, warn)
        if not all(pattern.names_one_path for pattern in patterns):
            yield from _Walk(search, warn).below(root, Automaton(patterns))


def _one_path(path: str, directory: str, warn: Warn) -> Iterator[str]:
    try:
        mode = os.stat(posixpath.join(directory, path)).st_mode  # noqa: PTH116  # for every file: no objects for paths  (a path of any spelling)
    except OSError as error:
        warn(f"{escape_control(path)}: {error.strerror}")
        return
    if stat.S_ISDIR(mode):
        warn(f"{escape_control(path)} is a folder; {escape_control(path)}/**/* means all files in it")
        return
    yield path


class _Folder(NamedTuple):
    """A folder that is being looked through: its path, what of it is still to see, and where the patterns are."""

    path: str
    entries: Iterator[os.DirEntry[str]]
    places: frozenset[int]
    identities: frozenset[tuple[int, int]]


class _Walk:
    """Depth first, names in order, only where a pattern could still match."""

    def __init__(self, search: Search, warn: Warn) -> None:
        self._directory = search.directory
        self._follow_links = search.follow_links
        self._warn = warn

    def below(self, root: str, automaton: Automaton) -> Iterator[str]:
        first = self._open_folder(root, automaton.places(automaton.start), frozenset())
        open_folders = [first] if first else []
        while open_folders:
            folder = open_folders[-1]
            entry = next(folder.entries, None)
            if entry is None:
                open_folders.pop()
                continue
            state = automaton.step(automaton.state(folder.places), entry.name)
            if state == Automaton.NOWHERE:
                continue
            path = entry.name if folder.path == "." else posixpath.join(folder.path, entry.name)
            if not self._is_folder(entry):
                if automaton.accepts(state):
                    yield path
                continue
            inside = automaton.step(state, "/")
            if inside != Automaton.NOWHERE:
                opened = self._open_folder(path, automaton.places(inside), folder.identities)
                if opened:
                    open_folders.append(opened)

    def _is_folder(self, entry: os.DirEntry[str]) -> bool:
        try:
            return entry.is_dir(follow_symlinks=self._follow_links)
        except OSError:  # a link that leads in a circle
            return False

    def _open_folder(self, path: str, places: frozenset[int], above: frozenset[tuple[int, int]]) -> _Folder | None:
        place = posixpath.join(self._directory, path)
        try:
            if self._follow_links:
                facts = os.stat(place)  # noqa: PTH116  (a path of any spelling)
                identity = (facts.st_dev, facts.st_ino)
                if identity in above:
                    self._warn(f"{escape_control(path)} leads back to a folder above it; not followed")
                    return None
                above |= {identity}
            with os.scandir(place) as entries:
                ordered = sorted(entries, key=lambda entry: os.fsencode(entry.name))
        except FileNotFoundError:
            return None  # a pattern for what may not be there
        except OSError as error:
            self._warn(f"cannot look into {escape_control(path)}: {error.strerror}")
            return None
        return _Folder(path, iter(ordered), places, above)


def collect_files(
    search: Search,
    *,
    content_type: str = "",
    home: str = "",
    workers: int = 1,
    warn: Warn = lambda _text: None,
) -> list[ArtifactFile]:
    """Find the files of a search and read each once, for its checksums.

    Parameters:
        search: what to look for.
        content_type: media type of all of them; empty to tell it from each name.
        home: the home folder, for `~/`.
        workers: how many files to read at once.
        warn: told of what could not be looked into.

    Raises:
        MalformedInput: as `find_paths`.
        ConfigurationError: no media type (code `artifact.content_type`).
        Unavailable: a file that cannot be read (code `artifact.file`).
    """
    if not all(" " <= character <= "~" for character in content_type):
        raise ConfigurationError("artifact.content_type", f"{escape_control(content_type)!r} is no media type")
    start_at = os.path.abspath(search.directory)  # noqa: PTH100  (text: a job's names need not be UTF-8)

    inside = os.path.realpath(search.inside) if search.inside else ""

    def sources() -> Iterator[tuple[str, str]]:
        seen = set()
        for path in find_paths(search, home=home, warn=warn):
            source = posixpath.normpath(posixpath.join(start_at, path))
            if source in seen:
                continue
            seen.add(source)
            try:
                facts = os.lstat(source)
                is_link = stat.S_ISLNK(facts.st_mode)
                if is_link and search.skip_links:
                    continue
                mode = os.stat(source).st_mode if is_link else facts.st_mode  # noqa: PTH116
            except OSError as error:
                raise _unreadable(path, error) from error
            if stat.S_ISDIR(mode):
                if search.literal:
                    warn(f"{escape_control(path)} is a folder; left out")
                continue
            if not stat.S_ISREG(mode):
                warn(f"{escape_control(path)} is no regular file; left out")
                continue
            if inside and not _is_inside(source, inside):
                warn(f"{escape_control(path)} is not a file of the checkout; left out")
                continue
            start = "/" if path.startswith("/") else start_at
            yield posixpath.relpath(source, start), source

    def read(item: tuple[str, str]) -> ArtifactFile:
        path, source = item
        size, sha1, sha256, version = _read_once(source)
        return ArtifactFile(path, source, size, sha1, sha256, content_type or content_type_of(path), version)

    return list(in_parallel(read, sources(), workers=workers))


def _is_inside(source: str, folder: str) -> bool:
    """Whether a file is really in `folder`, and not in its repository's own folder."""
    parts = posixpath.relpath(os.path.realpath(source), folder).split("/")
    return parts[0] != ".." and ".git" not in parts


def _read_once(source: str) -> tuple[int, str, str, tuple[int, int, int]]:
    sha1, sha256 = hashlib.sha1(usedforsecurity=False), hashlib.sha256()
    size = 0
    try:
        with open(source, "rb", buffering=0) as file:  # noqa: PTH123  (text: a job's names need not be UTF-8)
            version = file_version(file.fileno())
            while block := file.read(READ_BYTES):
                size += len(block)
                sha1.update(block)
                sha256.update(block)
    except OSError as error:
        raise _unreadable(source, error) from error
    return size, sha1.hexdigest(), sha256.hexdigest(), version


def file_version(descriptor: int) -> tuple[int, int, int]:
    """What tells the content of an open file from a later one: inode, time of the last change, size."""
    facts = os.fstat(descriptor)
    return facts.st_ino, facts.st_mtime_ns, facts.st_size


def _unreadable(path: str, error: OSError) -> Unavailable:
    is_broken_link = isinstance(error, FileNotFoundError) and os.path.islink(path)  # noqa: PTH114  # the path is text here, as scandir gives it
    return Unavailable(
        "artifact.file",
        f"cannot read {escape_control(path)}: {error.strerror}",
        help="it is a symbolic link to nothing; --upload-skip-symlinks leaves such files out"
        if is_broken_link
        else "",
    )


def describe_files(files: Sequence[ArtifactFile]) -> str:
    """How many, and how much, for people."""
    total = sum(file.size for file in files)
    return f"{len(files):,} {'file' if len(files) == 1 else 'files'}, {render_size(total)}"


def render_size(size: int) -> str:
    """A number of bytes for people, such as `1.5 MiB`."""
    amount = float(size)
    for unit in ("bytes", "KiB", "MiB", "GiB"):
        if amount < 1024:
            return f"{size:,} {unit}" if unit == "bytes" else f"{amount:.1f} {unit}"
        amount /= 1024
    return f"{amount:.1f} TiB"

"""The signer's own copy of a repository: fetched by itself, asked by full object ids, with nothing of a job in it."""

from __future__ import annotations

import re
import threading
from collections.abc import Iterable
from hashlib import sha256
from pathlib import Path
from typing import NamedTuple

from pipeseal.errors import MalformedInput, Unavailable, VerificationError, escape_control
from pipeseal.policy.commit_signers import CommitSigners
from pipeseal.repository.commit_signature import verify_commit_signature
from pipeseal.repository.git import GitFailed, PlainGit
from pipeseal.repository.git_config import GitConfig
from pipeseal.repository.names import is_full_object_id, parse_revision

MAX_FILE_BYTES = 4 << 20
# The first fetch of a repository brings the whole history of a branch.
GIT_SECONDS = 600.0
MAX_PATH_CHARACTERS = 1024
HEAD = "HEAD"
# So many paths are asked for at once; a command line has room for that.
_PATHS_AT_ONCE = 200
_REGULAR = (b"100644", b"100755")
_MODES = {b"120000": "a symbolic link", b"160000": "a submodule", b"040000": "a folder"}
_NOT_IN_A_NAME = re.compile(r"[^A-Za-z0-9]+")


class Revision(NamedTuple):
    """What a build says that it is of.

    Parameters:
        commit: full object id, or `HEAD` for the head of the branch.
        branch, tag, pull_request: names, empty (or `false`) for none.
    """

    commit: str
    branch: str
    tag: str
    pull_request: str


class VerifiedCommit(NamedTuple):
    """A commit that is where a build says it is, and its tree: full object ids."""

    commit: str
    tree: str


class File(NamedTuple):
    """A file of a commit: its path, its bytes and its object id."""

    path: str
    data: bytes
    object_id: str


class RepositoryClone:
    """One repository.

    Parameters:
        folder: where the signer keeps its clones.
        repository: its address.
        config: what the operator configures of git.
    """

    def __init__(self, folder: Path, repository: str, config: GitConfig) -> None:
        digest = sha256(repository.encode("utf-8", "surrogatepass")).hexdigest()[:16]
        self._path = folder / f"{_NOT_IN_A_NAME.sub('-', repository).strip('-')[:80]}-{digest}"
        self._repository = repository
        self._config = config
        self._git = PlainGit(self._path, config=config, timeout_seconds=GIT_SECONDS)
        self._lock = threading.Lock()

    def verify_commit(self, revision: Revision) -> VerifiedCommit:
        """A commit that is where the build says it is, as the repository has it now.

        Plan:
            1. The commit is named by its full object id, or is the head of a branch; names are names.
            2. What the build names is fetched from the repository: the tag, else the pull request, else the branch.
            3. Tag: it stands for this commit. Pull request or branch: the commit is part of it, or is its head.

        Does not check: which branches may be built; who signed the commit, see `verify_signers`.

        Parameters:
            revision: what the build says.

        Raises:
            VerificationError: `commit.not_full`, `commit.not_on_branch`.
            MalformedInput: `git.name`.
            Unavailable: `git.failed`.
        """
        # 1.
        commit = revision.commit
        is_head = commit == HEAD and not revision.tag and revision.pull_request in ("", "false")
        if not is_head and (not is_full_object_id(commit) or commit != commit.lower()):
            raise VerificationError(
                "commit.not_full",
                f"the build's commit is {escape_control(commit[:80])!r}, which can be another one tomorrow",
            )
        if revision.tag:
            there, what = f"refs/tags/{parse_revision(revision.tag, 'tag')}", f"the tag {revision.tag}"
        elif revision.pull_request not in ("", "false"):
            if not re.fullmatch(r"[1-9][0-9]{0,11}", revision.pull_request):
                raise MalformedInput("git.name", f"pull request {revision.pull_request[:40]!r} is no number")
            there, what = f"refs/pull/{revision.pull_request}/head", f"pull request {revision.pull_request}"
        elif revision.branch:
            there, what = f"refs/heads/{parse_revision(revision.branch, 'branch')}", f"the branch {revision.branch}"
        else:
            raise VerificationError("commit.not_on_branch", "the build names no branch that its commit could be on")
        with self._lock:
            # 2.
            self._prepare()
            here = f"refs/pipeseal/{sha256(there.encode()).hexdigest()}"
            try:
                self._git.ask("fetch", "--quiet", "--no-tags", "--force", "--", self._repository, f"+{there}:{here}")
            except GitFailed as error:
                raise Unavailable(
                    error.code,
                    f"{what} could not be fetched from {self._repository}: {error.message}",
                    help="check that it is there, and that the signer may read the repository",
                ) from None
            # 3.
            try:
                tip = self._git.line("rev-parse", "--verify", "--end-of-options", f"{here}^{{commit}}")
                commit = tip if is_head else commit
                is_there = tip == commit if revision.tag else self._is_part(commit, tip)
            except GitFailed:
                is_there = False
            if not is_there:
                raise VerificationError(
                    "commit.not_on_branch",
                    f"commit {commit} is not part of {what} of {self._repository}",
                    evidence={"commit": commit, "branch": revision.branch},
                )
            tree = self._git.line("rev-parse", "--verify", "--end-of-options", f"{commit}^{{tree}}")
        return VerifiedCommit(commit, tree)

    def verify_signers(self, commit: str, signers: Iterable[CommitSigners]) -> None:
        """A commit that is signed as the policy wants it.

        Plan:
            1. By one of each of `signers`, see `verify_commit_signature`.

        Does not check: what `verify_commit` does.

        Parameters:
            commit: full object id of a commit that was verified.
            signers: of the policy.

        Raises:
            PipesealError: as `verify_commit_signature`.
        """
        # 1.
        for allowed in signers:
            verify_commit_signature(self._path, commit, allowed, config=self._config)

    def _is_part(self, commit: str, tip: str) -> bool:
        try:
            self._git.ask("merge-base", "--is-ancestor", commit, tip)
        except GitFailed as error:
            if error.exit_status in (1, 128):  # 128: git does not even have the commit
                return False
            raise
        return True

    def _prepare(self) -> None:
        if (self._path / "HEAD").exists():
            return
        try:
            self._path.mkdir(parents=True, exist_ok=True, mode=0o700)
        except OSError as error:
            raise Unavailable("git.failed", f"{self._path} cannot be made: {error.strerror}") from None
        self._git.ask("init", "--quiet", "--bare", ".")

    def read_file(self, commit: str, path: str) -> File:
        """A file of a commit: a regular one, and nothing that stands for another.

        Parameters:
            commit: full object id of a commit that was verified.
            path: from the root of the repository.

        Raises:
            VerificationError: `signer.file`: it leads out, or what is there is no regular file, or too large.
            Unavailable: `git.failed`.
        """
        name = clean_path(path)
        found = self._entries(commit, [name]).get(name)
        if found is None:
            raise _no_file(path, f"commit {commit[:12]} has no such file")
        mode, object_id = found
        if mode not in _REGULAR:
            raise _no_file(path, f"it is {_MODES.get(mode, 'not a file')} in commit {commit[:12]}")
        size = int(self._git.line("cat-file", "-s", object_id))
        if size > MAX_FILE_BYTES:
            raise _no_file(path, f"it has {size:,} bytes, and a pipeline file at most {MAX_FILE_BYTES:,}")
        return File(name, self._git.ask("cat-file", "blob", object_id, max_bytes=MAX_FILE_BYTES), object_id)

    def find_files(self, commit: str, names: Iterable[str]) -> frozenset[str]:
        """Which of some paths are regular files of a commit.

        Parameters:
            commit: full object id.
            names: paths in the spelling of `clean_path`.

        Raises:
            Unavailable: `git.failed`.
        """
        wanted = sorted(set(names))
        found: set[str] = set()
        for start in range(0, len(wanted), _PATHS_AT_ONCE):
            entries = self._entries(commit, wanted[start : start + _PATHS_AT_ONCE])
            found |= {name for name, (mode, _) in entries.items() if mode in _REGULAR}
        return frozenset(found)

    def _entries(self, commit: str, names: list[str]) -> dict[str, tuple[bytes, str]]:
        if not names:
            return {}
        listing = self._git.ask("ls-tree", "-z", "--full-tree", commit, "--", *names)
        entries = {}
        for line in listing.split(b"\0"):
            about, tab, name = line.partition(b"\t")
            words = about.split(b" ")
            if tab and len(words) == 3:
                entries[name.decode("utf-8", "surrogateescape")] = (words[0], words[2].decode("ascii", "replace"))
        return entries


def clean_path(path: str) -> str:
    """A path inside a repository in its one spelling, without `./` at its beginning.

    Raises:
        VerificationError: `signer.file`: it leads out of the repository, or is no path.
    """
    name = path
    while name.startswith("./"):
        name = name[2:].lstrip("/")
    parts = name.split("/")
    if (
        not name
        or len(name) > MAX_PATH_CHARACTERS
        or name.startswith(("/", "-", ":"))
        or any(part in ("", ".", "..") for part in parts)
        or parts[0] == ".git"
        or any(character < " " or character in "\x7f\\" or "\ud800" <= character <= "\udfff" for character in name)
    ):
        raise _no_file(path, "it has to be the path of a file inside the repository, from its root")
    return name


def _no_file(path: str, why: str) -> VerificationError:
    shown = escape_control(path if len(path) <= 200 else f"{path[:200]}…")
    return VerificationError(
        "signer.file",
        f"the pipeline file {shown!r} is not signed: {why}",
        help="the signer reads the file itself, as the build's commit has it",
    )

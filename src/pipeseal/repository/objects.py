"""`verify_commit_objects`: that all a commit is made of is what its ids say, in a store that others can write to.

git believes its object store: what lies there under an id is not hashed again when it is checked out. Where jobs of
other pipelines can write into the store, as into a mirror that they share, this does it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path
from typing import BinaryIO

from pipeseal.errors import Unavailable, VerificationError
from pipeseal.repository.git import MAX_QUESTION_BYTES, Conversation, PlainGit
from pipeseal.repository.git_config import GitConfig
from pipeseal.repository.names import is_full_object_id

MAX_TREES_BYTES = 1 << 30
_MAX_KEPT_BYTES = 64 << 20
_PIECE = 1 << 20
# Questions that are asked before their answers are read; an id has at most 64 digits.
_AT_ONCE = MAX_QUESTION_BYTES // 65
_TREE_MODES = frozenset({b"40000", b"040000"})  # the second as some old programs wrote it
_COMMIT_MODE = b"160000"


def verify_commit_objects(
    directory: Path, commit: str, *, files: Collection[str] | None = None, config: GitConfig | None = None
) -> None:
    """The commit, its trees and its files, each hashed and compared with its id.

    Plan:
        1. The commit object is what its id says, and names a tree.
        2. That tree, all trees below it, and all files in them (or those of `files`) are what their ids say.

    Does not check: submodules, which are commits of other repositories; the history; what is in the working tree.

    Parameters:
        directory: a repository that has the commit and all of its objects.
        commit: full object id.
        files: object ids of the files to look at, where only some are there; None for all.
        config: what the operator configures of git; None for its defaults.

    Raises:
        VerificationError: `checkout.damaged`: an object is not what its id says, or is not there.
        Unavailable: `git.failed`.
    """
    git = PlainGit(directory, config=config)
    with git.conversing("cat-file", "--batch") as conversation:
        # 1.
        (raw,) = _read(conversation, [commit], b"commit", commit)
        root = raw.partition(b"\n")[0].removeprefix(b"tree ").decode("ascii", "replace")
        if not raw.startswith(b"tree ") or not is_full_object_id(root):
            raise _damaged(commit, commit)
        # 2. What a tree names is asked for when the tree is what its own id says.
        blobs: set[str] = set()
        seen, level, left = {root}, [root], MAX_TREES_BYTES
        while level:
            below: list[str] = []
            for name_of_tree, tree in zip(level, _read(conversation, level, b"tree", commit), strict=True):
                left -= len(tree)
                if left < 0:
                    raise Unavailable("git.failed", f"the trees of commit {commit} are larger than 1 GiB")
                for is_tree, name in _parse_tree(tree, name_of_tree, commit):
                    if not is_tree:
                        blobs.add(name)
                    elif name not in seen:
                        seen.add(name)
                        below.append(name)
            level = below
        wanted = blobs if files is None else blobs.intersection(files)
        for _ in _read(conversation, sorted(wanted), b"blob", commit):
            pass


def _read(conversation: Conversation, names: Sequence[str], kind: bytes, commit: str) -> Iterator[bytes]:
    """Objects of a kind, in order, each hashed; the content of a blob is not kept."""
    for start in range(0, len(names), _AT_ONCE):
        some = names[start : start + _AT_ONCE]
        conversation.ask("".join(f"{name}\n" for name in some).encode())
        for name in some:
            yield _read_one(conversation.answers, name, kind, commit)


def _read_one(answer: BinaryIO, name: str, kind: bytes, commit: str) -> bytes:
    """Read one object of `cat-file --batch`, and hash it as it comes."""
    words = answer.readline(256).split()
    if len(words) != 3 or words[0] != name.encode() or words[1] != kind or not words[2].isdigit():
        raise _damaged(name, commit)
    left = int(words[2])
    if kind != b"blob" and left > _MAX_KEPT_BYTES:
        raise Unavailable("git.failed", f"the object {name} has more than {_MAX_KEPT_BYTES:,} bytes")
    # gitformat-pack: an object's id is the hash of its type, its size and its content.
    digest = hashlib.new("sha1" if len(name) == 40 else "sha256", b"%b %d\0" % (kind, left))
    kept: list[bytes] = []
    while left:
        piece = answer.read(min(left, _PIECE))
        if not piece:
            raise Unavailable("git.failed", "git cat-file ended early", help="check the disk, and try again")
        digest.update(piece)
        left -= len(piece)
        if kind != b"blob":
            kept.append(piece)
    answer.read(1)  # the line feed after each object
    if digest.hexdigest() != name:
        raise _damaged(name, commit)
    return b"".join(kept)


def _parse_tree(raw: bytes, tree: str, commit: str) -> Iterator[tuple[bool, str]]:
    """What a tree names: whether it is a tree, and its id. Commits of other repositories are left out."""
    # gitformat-index and git-hash-object(1): mode in octal, space, name, NUL, id; nothing between entries.
    at, id_bytes = 0, len(tree) // 2
    while at < len(raw):
        space, end = raw.find(b" ", at), raw.find(b"\0", at)
        name = raw[end + 1 : end + 1 + id_bytes].hex()
        if not at < space < end or len(name) != 2 * id_bytes:
            raise _damaged(tree, commit)
        mode = raw[at:space]
        if mode != _COMMIT_MODE:
            yield mode in _TREE_MODES, name
        at = end + 1 + id_bytes


def _damaged(name: str, commit: str) -> VerificationError:
    return VerificationError(
        "checkout.damaged",
        f"the object {name} of commit {commit} is not what its id says",
        evidence={"commit": commit, "object": name},
    )

"""`verify_commit_objects`: that all a commit is made of is what its ids say, in a store that others can write to.

git believes its object store: what lies there under an id is not hashed again when it is checked out. Where jobs of
other pipelines can write into the store, as into a mirror that they share, this does it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection
from pathlib import Path
from typing import BinaryIO

from pipeseal.errors import Unavailable, VerificationError
from pipeseal.repository.git import GitFailed, PlainGit
from pipeseal.repository.git_config import GitConfig

MAX_LISTING_BYTES = 1 << 30
_PIECE = 1 << 20


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
    # 1.
    try:
        raw = git.ask("cat-file", "commit", commit)
        head = raw.partition(b"\n")[0]
        if _new_hash(commit, b"commit", len(raw), raw).hexdigest() != commit or not head.startswith(b"tree "):
            raise _damaged(commit, commit)
        root = head.removeprefix(b"tree ").decode("ascii", "replace")
        # 2. What the listing says of a tree follows from that tree, which is looked at like everything else.
        listing = git.ask("ls-tree", "-r", "-t", "-z", "--full-tree", root, max_bytes=MAX_LISTING_BYTES)
    except GitFailed as error:
        raise VerificationError(
            "checkout.damaged", f"commit {commit} cannot be read: {error.message}", evidence={"commit": commit}
        ) from None
    entries = (line.partition(b"\t")[0].split(b" ") for line in listing.split(b"\0") if line)
    wanted = {root: "tree"} | {
        words[2].decode("ascii", "replace"): words[1].decode("ascii", "replace")
        for words in entries
        if len(words) == 3
        and (words[1] == b"tree" or (words[1] == b"blob" and (files is None or words[2].decode() in files)))
    }
    asked = "".join(f"{name}\n" for name in wanted).encode()
    with git.answering("cat-file", "--batch", data=asked) as answer:
        for name, kind in wanted.items():
            _check(answer, name, kind, commit)


def _check(answer: BinaryIO, name: str, kind: str, commit: str) -> None:
    """Read one object of `cat-file --batch`, and hash it as it comes."""
    words = answer.readline(256).split()
    if len(words) != 3 or words[0] != name.encode() or words[1] != kind.encode() or not words[2].isdigit():
        raise _damaged(name, commit)
    left = int(words[2])
    digest = _new_hash(name, words[1], left)
    while left:
        piece = answer.read(min(left, _PIECE))
        if not piece:
            raise Unavailable("git.failed", "git cat-file ended early", help="check the disk, and try again")
        digest.update(piece)
        left -= len(piece)
    answer.read(1)  # the line feed after each object
    if digest.hexdigest() != name:
        raise _damaged(name, commit)


def _new_hash(name: str, kind: bytes, size: int, content: bytes = b"") -> hashlib._Hash:
    # gitformat-pack: an object's id is the hash of its type, its size and its content.
    digest = hashlib.new("sha1" if len(name) == 40 else "sha256", b"%b %d\0" % (kind, size))
    digest.update(content)
    return digest


def _damaged(name: str, commit: str) -> VerificationError:
    return VerificationError(
        "checkout.damaged",
        f"the object {name} of commit {commit} is not what its id says",
        evidence={"commit": commit, "object": name},
    )

"""Names that may be handed to git: object ids, branches, tags and refspecs; nothing that it takes for an option."""

from __future__ import annotations

import re

from pipeseal.errors import MalformedInput

_OBJECT_ID = re.compile(r"[0-9a-fA-F]{40}|[0-9a-fA-F]{64}")
# What a server may call a branch, tag or commit: gitrevisions' names, but never an option and never white space.
_REVISION = re.compile(r"[^-\s\x00-\x1f\x7f:?*\[\\^~][^\s\x00-\x1f\x7f:?*\[\\]{0,1023}")
_REFSPEC = re.compile(r"\+?[^-+\s\x00-\x1f\x7f][^\s\x00-\x1f\x7f]{0,2047}")

# Addresses whose host is beyond doubt, in git's long and short form; what else there is, has none here.
_HOST = r"(?P<host>[A-Za-z0-9_][A-Za-z0-9_.-]*|\[[0-9A-Fa-f:.]+\])"
_ADDRESS = re.compile(rf"[a-z][a-z0-9+.-]*://(?:[A-Za-z0-9._~%+:-]*@)?{_HOST}(?::[0-9]*)?(?:/[^\x00-\x20\\]*)?")
_SHORT_ADDRESS = re.compile(rf"(?:[A-Za-z0-9._+-]+@)?{_HOST}:(?![:/]/)[^:\x00-\x20\\][^\x00-\x20\\]*")
_LOCAL = re.compile(r"(?:file://)?/[^\x00]*|\.{1,2}(?:/[^\x00]*)?")


def repository_host(address: str) -> str | None:
    """The host that git goes to for a repository, in lower case; empty for a folder of this machine.

    Parameters:
        address: URL, `user@host:path` or path.

    Returns:
        None when that is not beyond doubt.
    """
    if _LOCAL.fullmatch(address):
        return ""
    match = _ADDRESS.fullmatch(address) or ("://" not in address and _SHORT_ADDRESS.fullmatch(address)) or None
    return match["host"].lower() if match else None


def is_full_object_id(commit: str) -> bool:
    """Whether a commit is named by its whole object id (SHA-1 or SHA-256)."""
    return bool(_OBJECT_ID.fullmatch(commit))


def parse_revision(name: str, what: str) -> str:
    """`name`, if git cannot take it for an option.

    Parameters:
        what: what it is called in the message, such as `branch`.

    Raises:
        MalformedInput: `git.name`: it could be one, or is no name at all.
    """
    if not _REVISION.fullmatch(name) or ".." in name:
        raise MalformedInput(
            "git.name",
            f"{what} {name!r} is not a name that git can be given",
            help="use the name of a branch or tag, or a commit's object id",
        )
    return name


def parse_refspec(refspec: str) -> str:
    """`refspec`, if git cannot take it for an option.

    Raises:
        MalformedInput: `git.name`: as `parse_revision`.
    """
    if not _REFSPEC.fullmatch(refspec):
        raise MalformedInput(
            "git.name",
            f"refspec {refspec!r} is not one that git can be given",
            help="use the name of a branch or tag, or `from:to`",
        )
    return refspec

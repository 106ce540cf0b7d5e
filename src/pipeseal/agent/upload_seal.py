"""What an upload seals its steps with: its job, its commit and tree, and how long it is good for."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Mapping
from itertools import count

from pipeseal.errors import ConfigurationError, MalformedInput, escape_control
from pipeseal.pipeline.object_id import is_object_id
from pipeseal.signing.bindings import SEAL
from pipeseal.signing.seal.envelope import BuildFacts
from pipeseal.signing.seal.make import Sealing

_UNITS = {"m": 60, "h": 3600, "d": 86_400}
_MAX_PATH = 4096


def make_sealing(
    environment: Mapping[str, str],
    bindings: Mapping[str, str],
    *,
    tree: str | None,
    upload_id: str,
    now: float,
    valid_seconds: int,
) -> Sealing:
    """What all seals of an upload say alike.

    Parameters:
        environment: the job's variables, as the job was given them.
        bindings: what the steps are bound to, see `uploader_bindings`; the commit in it is resolved.
        tree: the commit's, if it is known.
        upload_id: this upload's own id.
        now: seconds since 1970.
        valid_seconds: how long the seals are good for.

    Raises:
        MalformedInput: the job's own seal cannot be read.
    """
    build = BuildFacts(
        id=bindings.get("BUILDKITE_BUILD_ID"),
        commit=bindings.get("BUILDKITE_COMMIT"),
        tree=tree,
        branch=bindings.get("BUILDKITE_BRANCH"),
        tag=bindings.get("BUILDKITE_TAG"),
        pull_request=bindings.get("BUILDKITE_PULL_REQUEST"),
    )
    begins = int(now)
    return Sealing(
        repository=environment.get("BUILDKITE_REPO", ""),
        not_before=begins,
        expires=begins + valid_seconds,
        positions=count(),
        organization=bindings.get("BUILDKITE_ORGANIZATION_SLUG"),
        pipeline=bindings.get("BUILDKITE_PIPELINE_SLUG"),
        build=None if build == BuildFacts() else build,
        parent=_parent_of(environment),
        upload=upload_id,
        is_script=script_finder(environment.get("BUILDKITE_BUILD_CHECKOUT_PATH") or "."),
    )


def _parent_of(environment: Mapping[str, str]) -> str | None:
    """The digest of the seal that this job was run from; the agent verified it before it started the job."""
    text = environment.get(SEAL, "")
    if not text:
        return None
    from pipeseal.signing.seal.parse import parse_seal

    try:
        return parse_seal(text).digest
    except MalformedInput as error:
        raise MalformedInput(
            error.code,
            f"the seal of the job that uploads, in {SEAL}, cannot be read: {error.message}",
            help="nothing in the job may change that variable",
        ) from None


class TreeQuestion:
    """Asks git for a commit's tree, and lets the upload go on meanwhile. Ends with the `with` it is used in.

    Parameters:
        commit: full object id; None to ask nothing.
    """

    def __init__(self, commit: str | None) -> None:
        self._commit = commit
        self._answer = self._process = -1

    def __enter__(self) -> TreeQuestion:
        if self._commit is None:
            return self
        words = ["git", "rev-parse", "--verify", "--quiet", "--end-of-options", f"{self._commit}^{{tree}}"]
        self._answer, end = os.pipe()
        actions = [
            (os.POSIX_SPAWN_DUP2, end, 1),
            (os.POSIX_SPAWN_OPEN, 2, os.devnull, os.O_WRONLY, 0),
        ]
        try:
            # `subprocess` takes longer to import than git takes to answer.
            self._process = os.posix_spawnp("git", words, os.environ, file_actions=actions)
        except OSError:
            pass  # no git: then nobody knows
        finally:
            os.close(end)
        return self

    def __exit__(self, *_error: object) -> None:
        self._read()

    def _read(self) -> str:
        """All that git says; it is over then."""
        text = b""
        if self._answer >= 0:
            while piece := os.read(self._answer, 4096):
                text += piece
            os.close(self._answer)
            self._answer = -1
        if self._process >= 0:
            _, status = os.waitpid(self._process, 0)
            self._process = -1
            text = text if status == 0 else b""
        return text.decode("ascii", "replace").strip()

    def answer(self, say: Callable[[str], None]) -> str | None:
        """The tree's object id; None, and a warning, when git does not know the commit.

        Parameters:
            say: prints a line for people.
        """
        if self._commit is None:
            return None
        tree = self._read()
        if not is_object_id(tree):
            commit = escape_control(self._commit[:12])
            say(f"warning: git does not know the commit {commit} here, so the seals name no tree")
            return None
        return tree


def script_finder(root: str) -> Callable[[str], bool]:
    """Says of a command whether it is the name of a file in the folder `root`, as agents find out without a seal.

    Parameters:
        root: the checkout.
    """
    base = os.path.realpath(root)

    def is_script(command: str) -> bool:
        name = command.strip("\n").lstrip("/")
        if not name or "\n" in name or len(name) > _MAX_PATH or "\0" in name:
            return False
        path = f"{base}/{name}"
        try:
            is_file = stat.S_ISREG(os.stat(path).st_mode)  # noqa: PTH116  # for every step: no objects for paths
        except (OSError, ValueError):  # no such file, or no name of one
            return False
        # Only a file inside the checkout is one, wherever `..` and links lead.
        return is_file and os.path.realpath(path).startswith(f"{base}{os.sep}")

    return is_script


def parse_validity(text: str) -> int:
    """Seconds that a text such as `12h` or `7d` stands for: a whole number with `m`, `h` or `d`.

    Raises:
        ConfigurationError: `seal.validity`.
    """
    number, unit = text[:-1], text[-1:]
    if unit in _UNITS and number.isascii() and number.isdecimal() and 0 < len(number) < 6 and int(number) > 0:
        return int(number) * _UNITS[unit]
    raise ConfigurationError(
        "seal.validity",
        f"{text!r} is not how long a seal can be good for",
        help="give a whole number of minutes, hours or days: 90m, 12h, 7d",
    )

"""Where a plugin is: its full source taken apart into a repository, a folder inside of it, and a version."""

from __future__ import annotations

import re
from typing import NamedTuple
from urllib.parse import unquote

from pipeseal.errors import MalformedInput

_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://")
_NOT_IN_A_NAME = re.compile(r"[^a-zA-Z0-9]")


class PluginPlace(NamedTuple):
    """Where a plugin is.

    Parameters:
        location: host and path, or a path alone.
        version: branch, tag or commit; may be empty.
        scheme: of its URL; may be empty.
        user: user information of its URL; may be empty.
    """

    location: str
    version: str = ""
    scheme: str = ""
    user: str = ""

    @property
    def is_vendored(self) -> bool:
        """Whether it is part of the checked-out repository."""
        return self.location.startswith(".")

    @property
    def label(self) -> str:
        """Location and version, as the log shows it."""
        return f"{self.location}#{self.version}" if self.version else self.location

    @property
    def name(self) -> str:
        """Its name: the last part of its location, without `-buildkite-plugin`."""
        last = self.location.replace("\\", "/").rstrip("/").rpartition("/")[2].lstrip(".")
        plain = _NOT_IN_A_NAME.sub("-", re.sub(r"\s+", " ", last.lower()))
        return plain.replace("-buildkite-plugin-git", "").replace("-buildkite-plugin", "")

    @property
    def folder_name(self) -> str:
        """The name of the folder it is cloned to."""
        return re.sub(r"-+", "-", _NOT_IN_A_NAME.sub("-", self.label)).strip("-")

    def _host_and_path(self) -> str:
        parts = self.location.split("/")
        if len(parts) < 2:
            raise MalformedInput(
                "plugin.source",
                f"plugin {self.label} is not a place: there is no slash in it",
                help="write host and path, such as github.com/acme/lint-buildkite-plugin#v1.2.3",
            )
        if parts[0] in {"github.com", "bitbucket.org", "gitlab.com"}:
            if len(parts) < 3:
                raise MalformedInput(
                    "plugin.source",
                    f"plugin {self.label} names a host and no repository",
                    help="write host and path, such as github.com/acme/lint-buildkite-plugin#v1.2.3",
                )
            return "/".join(parts if parts[0] == "gitlab.com" else parts[:3])
        ends = next((n for n, part in enumerate(parts, 1) if part.endswith(".git")), len(parts))
        return "/".join(parts[:ends])

    @property
    def repository(self) -> str:
        """What to clone.

        Raises:
            MalformedInput: `plugin.source`: its location names no repository.
        """
        place = self._host_and_path()
        if place.startswith("/") and not self.user:
            return place
        return f"{self.scheme or 'https'}://{self.user + '@' if self.user else ''}{place}"

    @property
    def subfolder(self) -> str:
        """The folder inside the repository that holds the plugin; empty for the repository itself.

        Raises:
            MalformedInput: as `repository`.
        """
        return self.location.removeprefix(self._host_and_path()).strip("/")


def parse_place(source: str) -> PluginPlace:
    """Where a plugin's full source says it is; see `plugins.full_source` for how sources become full.

    Raises:
        MalformedInput: `plugin.source`: more than one `#`.
    """
    location, _, version = source.partition("#")
    if "#" in version:
        raise MalformedInput(
            "plugin.source",
            f"plugin {source!r} has more than one '#'",
            help="what follows the first # is the version: a tag, a branch or a commit",
        )
    scheme, user = "", ""
    if match := _SCHEME.match(location):
        scheme, location = match[1].lower(), location[match.end() :]
        authority, slash, path = location.partition("/")
        user, at, host = authority.rpartition("@")
        location = (host if at else authority) + slash + path
    return PluginPlace(unquote(location.partition("?")[0]), unquote(version), scheme, user)

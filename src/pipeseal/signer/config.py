"""`signer.toml`: which key signs, who may ask, and which steps may upload what. Unknown keys are refused."""

from __future__ import annotations

import grp
import pwd
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any

from pipeseal.errors import ConfigurationError
from pipeseal.policy.patterns import Patterns
from pipeseal.policy.tables import Key, Place, TableReader
from pipeseal.repository.git_config import DEFAULT_PROTOCOLS, GitConfig

VERSION = 1
MAX_RULES = 1000
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_UNITS = {"m": 60, "h": 3600, "d": 86_400}
_WEEK = 7 * 86_400
_DAY = 86_400

_VARIABLES: dict[str, Key] = {
    "constants": Key("table", "variables that pipeline files may use, with their values"),
    "unset": Key("texts", "variables that pipeline files may use and that have no value, so that defaults hold"),
}
TOP_KEYS: dict[str, Key] = {
    "version": Key("number", f"of this format, always {VERSION}"),
    "key": Key("text", "the signing key: a path or URI, as everywhere"),
    "key-id": Key("text", "which key of a set with several"),
    "verification-keys": Key("path", "public keys of those who sign upload steps, as agents have them"),
    "policy": Key("path", "the policy that an upload step has to agree with, as agents have it"),
    "state": Key("path", "folder for clones and for what was granted; nobody else can look into it"),
    "supervisors": Key("texts", "users (names or uids) that agents run as"),
    "jobs": Key("texts", "users that jobs run as; the supervisors' without this key"),
    "socket-group": Key("text", "group that may connect to the socket; the signer's own without this key"),
    "git-config": Key("path", "the git configuration that fetches use; no other is read"),
    "git-protocols": Key("texts", f"how git may fetch; {', '.join(DEFAULT_PROTOCOLS)} without this key"),
    "seal-valid-for": Key("text", "how long seals are good for: 90m, 12h, 7d; 7d without this key"),
    **_VARIABLES,
    "upload": Key("tables", "steps that may upload, each `[[upload]]`; the first that matches holds"),
}
UPLOAD_KEYS: dict[str, Key] = {
    "repository": Key("texts", "of these repositories; any that the policy allows without this key"),
    "organization": Key("texts", "of these organisations"),
    "pipeline": Key("texts", "of these pipelines"),
    "step": Key("texts", "with these keys"),
    "command": Key(
        "texts", "whose whole command is one of these; without this key, a plain `pipeline upload [FILE]`"
    ),
    "files": Key("texts", "which files a `command` may upload; the default ones without this key"),
    "branches": Key("texts", "from commits of these branches; any that the policy allows without this key"),
    "tags": Key("boolean", "true: builds of tags too"),
    "pull-requests": Key("boolean", "true: pull requests too, whose files anybody may have written"),
    "templates": Key("text", "file in the repository with the templates of generated steps"),
    **_VARIABLES,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class UploadRule:
    """Steps that may upload.

    Parameters:
        title: how it is called in messages.
        repositories, organizations, pipelines, steps, branches: which; None for any.
        commands: whole commands; None for a plain `pipeline upload [FILE]`, which then says which file.
        files: which files may be uploaded; None for what the plain command names, or the default ones.
        tags, pull_requests: whether builds of those may upload.
        templates: path of the file of templates; empty when nothing generated is signed.
        constants: variables with their values.
        unset: variables that may be used and have none.
    """

    title: str
    repositories: Patterns | None = None
    organizations: Patterns | None = None
    pipelines: Patterns | None = None
    steps: Patterns | None = None
    branches: Patterns | None = None
    commands: tuple[str, ...] | None = None
    files: Patterns | None = None
    tags: bool = False
    pull_requests: bool = False
    templates: str = ""
    constants: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    unset: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True, kw_only=True)
class SignerSettings:
    """What the operator of a signer wants; see `TOP_KEYS`."""

    key: str
    key_id: str
    verification_keys: Path
    policy: Path
    state: Path
    supervisors: frozenset[int]
    jobs: frozenset[int]
    socket_group: int | None
    git: GitConfig
    seal_valid_seconds: int
    rules: tuple[UploadRule, ...]
    source: str
    grant_valid_seconds: int = _DAY

    @property
    def separates(self) -> bool:
        """Whether jobs run as other users than the supervisors."""
        return not self.supervisors & self.jobs


def parse_signer_settings(data: bytes, *, source: str = "signer.toml") -> SignerSettings:
    """The settings that a file describes.

    Parameters:
        data: TOML 1.0, UTF-8.
        source: the file's name, for messages.

    Raises:
        MalformedInput: `signer.syntax` (no TOML, too long, no version), `signer.key` (a key that nobody knows),
            `signer.setting` (a value that a key cannot have, or one that is missing); each with its line.
        ConfigurationError: `signer.user`: there is no such user or group on this machine.
    """
    return _Reader(data, source).read()


class _Reader(TableReader):
    """Turns a parsed document into settings."""

    SYNTAX, KEY, VALUE = "signer.syntax", "signer.key", "signer.setting"
    WHAT = "a signer's file"
    ALL_KEYS = (*TOP_KEYS, *UPLOAD_KEYS)

    def read(self) -> SignerSettings:
        document, top = self.document, Place((), "the signer's file")
        self.known(document, TOP_KEYS, top)
        self.check_version(top, VERSION)
        supervisors = self._users(document, "supervisors", top)
        if not supervisors:
            self.refuse("supervisors", top, "is missing: the users that agents run as")
        constants, unset = self._variables(document, top)
        tables = document.get("upload", [])
        if not isinstance(tables, list) or not all(isinstance(table, dict) for table in tables):
            self.refuse("upload", top, "is not a list of sections; each begins with [[upload]]")
        if len(tables) > MAX_RULES:
            self.refuse("upload", top, f"has {len(tables):,} sections; there can be {MAX_RULES:,}")
        rules = tuple(self._rule(table, index, constants, unset) for index, table in enumerate(tables))
        group = self._one(document, "socket-group", top)
        protocols = self.texts(document, "git-protocols", top)
        git_config = self._path(document, "git-config", top) if "git-config" in document else None
        return SignerSettings(
            key=self._needed(document, "key", top),
            key_id=self._one(document, "key-id", top),
            verification_keys=self._path(document, "verification-keys", top),
            policy=self._path(document, "policy", top),
            state=self._path(document, "state", top),
            supervisors=supervisors,
            jobs=self._users(document, "jobs", top) or supervisors,
            socket_group=_find_group(group) if group else None,
            git=GitConfig(git_config, protocols.texts if protocols else DEFAULT_PROTOCOLS),
            seal_valid_seconds=self._validity(document, "seal-valid-for", top) or _WEEK,
            rules=rules or (UploadRule(title="any plain upload step", constants=constants, unset=unset),),
            source=self._source,
        )

    def _rule(
        self, table: Mapping[str, Any], index: int, constants: Mapping[str, str], unset: frozenset[str]
    ) -> UploadRule:
        place = Place(("upload", index), f"[[upload]] {index + 1}")
        self.known(table, UPLOAD_KEYS, place)
        wanted = {
            name: self.texts(table, name, place)
            for name in ("repository", "organization", "pipeline", "step", "command", "files", "branches")
        }
        for name, patterns in wanted.items():
            if patterns is not None:
                self.not_empty(patterns, name, place)
        commands = wanted["command"]
        if commands is None and wanted["files"] is not None:
            self.refuse("files", place, "goes with `command`: a plain upload step says itself which file it uploads")
        templates = self._one(table, "templates", place)
        if templates and commands is None:
            self.refuse("templates", place, "goes with `command`: name the step that generates a pipeline")
        own, own_unset = self._variables(table, place)
        every = ", ".join(str(patterns) for patterns in wanted.values() if patterns is not None)
        return UploadRule(
            title=f"{index + 1} ({every or 'any'})",
            repositories=wanted["repository"],
            organizations=wanted["organization"],
            pipelines=wanted["pipeline"],
            steps=wanted["step"],
            branches=wanted["branches"],
            commands=None if commands is None else commands.texts,
            files=wanted["files"],
            tags=self.boolean(table, "tags", place) or False,
            pull_requests=self.boolean(table, "pull-requests", place) or False,
            templates=templates,
            constants=MappingProxyType({n: value for n, value in {**constants, **own}.items() if n not in own_unset}),
            unset=(unset | own_unset) - own.keys(),
        )

    def _variables(self, table: Mapping[str, Any], place: Place) -> tuple[Mapping[str, str], frozenset[str]]:
        constants = table.get("constants", {})
        if not isinstance(constants, dict) or not all(isinstance(value, str) for value in constants.values()):
            self.refuse("constants", place, 'is not a table of texts, such as { REGION = "eu" }')
        unset = self.texts(table, "unset", place)
        names = (*constants, *(unset.texts if unset else ()))
        for name in names:
            if not _NAME.fullmatch(name):
                self.refuse("constants" if name in constants else "unset", place, f"names {name!r}, which is no name")
            if name.startswith(("BUILDKITE_", "PIPESEAL_")):
                why = "whose value is the build's, and never a constant"
                self.refuse("constants" if name in constants else "unset", place, f"names {name}, {why}")
        if twice := set(constants) & set(unset.texts if unset else ()):
            self.refuse("unset", place, f"names {min(twice)}, which has a value")
        return MappingProxyType(dict(constants)), frozenset(unset.texts if unset else ())

    # --- values ---------------------------------------------------------------------------------------------------

    def _one(self, table: Mapping[str, Any], name: str, place: Place) -> str:
        value = table.get(name, "")
        if not isinstance(value, str) or (name in table and not value):
            self.refuse(name, place, "has to be a text")
        return value

    def _needed(self, table: Mapping[str, Any], name: str, place: Place) -> str:
        if not (value := self._one(table, name, place)):
            self.refuse(name, place, "is missing")
        return value

    def _path(self, table: Mapping[str, Any], name: str, place: Place) -> Path:
        path = Path(self._needed(table, name, place))
        if not path.is_absolute():
            self.refuse(name, place, "has to be a whole path, from / on")
        return path

    def _validity(self, table: Mapping[str, Any], name: str, place: Place) -> int:
        text = self._one(table, name, place)
        if not text:
            return 0
        number, unit = text[:-1], text[-1:]
        if unit not in _UNITS or not re.fullmatch(r"[1-9][0-9]{0,4}", number):
            self.refuse(name, place, "has to be a whole number of minutes, hours or days: 90m, 12h, 7d")
        return int(number) * _UNITS[unit]

    def _users(self, table: Mapping[str, Any], name: str, place: Place) -> frozenset[int]:
        value = table.get(name, [])
        items = value if isinstance(value, list) else [value]
        uids = set()
        for item in items:
            if type(item) is int and 0 <= item < 2**32 - 1:
                uids.add(item)
            elif isinstance(item, str) and item:
                uids.add(_find_user(item))
            else:
                self.refuse(name, place, "has to be names or uids of users")
        return frozenset(uids)


def _find_user(name: str) -> int:
    try:
        return pwd.getpwnam(name).pw_uid
    except KeyError:
        raise _no("user", name) from None


def _find_group(name: str) -> int:
    try:
        return grp.getgrnam(name).gr_gid
    except KeyError:
        raise _no("group", name) from None


def _no(kind: str, name: str) -> ConfigurationError:
    return ConfigurationError("signer.user", f"this machine has no {kind} {name!r}", help="create it first")

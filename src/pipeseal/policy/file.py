"""`policy.toml`: reading one. Unknown keys are refused, with the line and the nearest key that there is."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime, time
from types import MappingProxyType
from typing import Any, NamedTuple, NoReturn

from pipeseal.errors import MalformedInput, Position
from pipeseal.policy.environment import allowable
from pipeseal.policy.facts import Proof
from pipeseal.policy.patterns import NONE, Patterns, globs
from pipeseal.policy.policy import Mode, Policy, Section
from pipeseal.policy.rules import (
    NO_PLUGINS,
    Attempts,
    Branches,
    FullCommits,
    KeyRecord,
    NoPullRequests,
    Plugins,
    Repositories,
    RequiredProof,
    Rule,
    Scripts,
    SignedBy,
)

MAX_POLICY_BYTES = 1 << 20
MAX_SECTIONS = 1000
VERSION = 1


class Key(NamedTuple):
    """One key of the file, for reading and for the docs.

    Parameters:
        kind: what its value is: `text`, `texts` (one or a list), `boolean`, `number`, `time`, or words with `|`.
        meaning: one sentence.
    """

    kind: str
    meaning: str


# What holds for every job, and may stand in a section too.
SHARED_KEYS: dict[str, Key] = {
    "mode": Key("enforce|observe", "refuse what the rules do not agree with, or run it and report"),
    "proof": Key("signature|seal", "what a job must be proven with, at least; `signature` without this key"),
    "keys": Key("texts", "key ids that may sign"),
    "branches": Key("texts", "branches that may be built; the commit must be part of the branch on the remote"),
    "pull-requests": Key("boolean", "whether pull requests may be built; true without `branches`, false with"),
    "head-commits": Key("boolean", "false: only commits with a full object id, never `HEAD`; true without this key"),
    "commands": Key("any|scripts", "`scripts`: only scripts of the repository, no inline commands"),
    "plugins": Key("texts", "plugin sources in full, such as `github.com/acme/*#v*`; an empty list allows none"),
    "repository-hooks": Key("boolean", "whether `.buildkite/hooks` of the repository may run; true without this key"),
    "server-variables": Key("texts", "further variables that the server may set; a free text becomes a variable too"),
    "informational-variables": Key("boolean", "false: jobs get no variable whose value is only the server's word"),
    "max-attempts": Key("number", "how often a job may run, as far as the server admits it"),
}
TOP_KEYS: dict[str, Key] = {
    "version": Key("number", f"of this format, always {VERSION}"),
    **SHARED_KEYS,
    "repositories": Key("texts", "repositories that may be built at all"),
    "shared-secrets": Key("boolean", "true: verification keys may be secrets shared with the signer (HS256 and kin)"),
    "allow": Key("tables", "sections, each `[[allow]]`: a job must match one, and the first that matches holds"),
    "key": Key("table", "what is said of single keys, each `[key.ID]`"),
}
SECTION_KEYS: dict[str, Key] = {
    "repository": Key("texts", "which repositories this section is for"),
    "organization": Key("texts", "which organisations; the step must be bound to one"),
    "pipeline": Key("texts", "which pipelines; the step must be bound to one"),
    **SHARED_KEYS,
}
RECORD_KEYS: dict[str, Key] = {
    "not-before": Key("time", "before this nothing that it signed is believed"),
    "not-after": Key("time", "after this neither"),
    "revoked": Key("text", "why it is revoked: nothing that it ever signed is believed"),
    "repositories": Key("texts", "what it may sign"),
    "organizations": Key("texts", "for which organisations; the step must be bound to one"),
    "pipelines": Key("texts", "for which pipelines; the step must be bound to one"),
}


def parse_policy(data: bytes, *, source: str = "policy.toml") -> Policy:
    """The policy that a file describes.

    Parameters:
        data: TOML 1.0, UTF-8.
        source: the file's name, for messages.

    Raises:
        MalformedInput: `policy.syntax` (no TOML, too long, no version), `policy.key` (a key that nobody knows),
            `policy.value` (a value that a key cannot have); each with its line.
    """
    import tomllib

    if len(data) > MAX_POLICY_BYTES:
        raise MalformedInput(
            "policy.syntax", f"{source} has {len(data):,} bytes; a policy has at most {MAX_POLICY_BYTES:,}"
        )
    try:
        text = data.decode("utf-8")
        document = tomllib.loads(text)
    except (ValueError, RecursionError) as error:
        raise _syntax(error, data, source) from None
    return _Reader(text, source).read(document)


def _syntax(error: Exception, data: bytes, source: str) -> MalformedInput:
    message = str(error)
    if isinstance(error, UnicodeDecodeError):
        message, line, column = "not UTF-8", data[: error.start].count(b"\n") + 1, 1
    elif match := re.search(r"\(at line (\d+), column (\d+)\)", message):
        message, line, column = message[: match.start()].strip(), int(match[1]), int(match[2])
    elif message.endswith("(at end of document)"):
        message, line, column = message.removesuffix("(at end of document)").strip(), data.count(b"\n") + 1, 1
    else:
        return MalformedInput("policy.syntax", f"{source} is not TOML: {message[:200] or type(error).__name__}")
    lines = data.decode("utf-8", "replace").split("\n")
    position = Position(source, line, column, lines[line - 1].rstrip("\r") if line <= len(lines) else "")
    return MalformedInput("policy.syntax", f"this is not TOML: {message}", position=position)


class _Place(NamedTuple):
    """A table of the file: `()` the top, `("allow", 0)` the first section, `("key", "id")` a key's record."""

    path: tuple[str | int, ...]
    words: str


class _Reader:
    """Turns a parsed document into a policy, and knows where in the text each key stands."""

    def __init__(self, text: str, source: str) -> None:
        self._text = text
        self._source = source

    def read(self, document: Mapping[str, Any]) -> Policy:
        top = _Place((), "the policy")
        self._known(document, TOP_KEYS, top)
        version = document.get("version")
        if version is None:
            raise MalformedInput(
                "policy.syntax",
                f"{self._source} does not say which version of the format it is written in",
                help=f"begin it with: version = {VERSION}",
            )
        if type(version) is not int or version != VERSION:
            self._refuse("version", top, f"is {version!r}; this program knows version {VERSION}")
        tables = document.get("allow", [])
        if not isinstance(tables, list) or not all(isinstance(table, dict) for table in tables):
            self._refuse("allow", top, "is not a list of sections; each begins with [[allow]]")
        if len(tables) > MAX_SECTIONS:
            self._refuse("allow", top, f"has {len(tables):,} sections; there can be {MAX_SECTIONS:,}")
        sections = tuple(self._section(table, index) for index, table in enumerate(tables))
        everywhere = self._shared(document, top, title="every job")
        if (repositories := self._texts(document, "repositories", top)) is not None:
            self._not_empty(repositories, "repositories", top)
            everywhere = everywhere._replace(rules=(Repositories(repositories), *everywhere.rules))
        return Policy(
            everywhere=everywhere.section(),
            sections=sections,
            keys=self._records(document),
            shared_secrets=self._boolean(document, "shared-secrets", top) or False,
            source=self._source,
            warnings=tuple(_warnings(everywhere.mode, sections)),
        )

    # --- tables ---------------------------------------------------------------------------------------------------

    def _section(self, table: Mapping[str, Any], index: int) -> Section:
        place = _Place(("allow", index), f"section {index + 1}")
        self._known(table, SECTION_KEYS, place)
        wanted = {name: self._texts(table, name, place) for name in ("repository", "organization", "pipeline")}
        for name, patterns in wanted.items():
            if patterns is not None:
                self._not_empty(patterns, name, place)
        for_what = next((str(patterns) for patterns in wanted.values() if patterns is not None), "everything else")
        shared = self._shared(table, place, title=f"{index + 1} ({for_what})")
        return shared.section(
            repositories=wanted["repository"], organizations=wanted["organization"], pipelines=wanted["pipeline"]
        )

    def _shared(self, table: Mapping[str, Any], place: _Place, *, title: str) -> _Shared:
        rules: list[Rule] = []
        mode = self._word(table, "mode", place)
        if proof := self._word(table, "proof", place):
            rules.append(RequiredProof(Proof(proof)))
        if (keys := self._texts(table, "keys", place)) is not None:
            self._not_empty(keys, "keys", place)
            rules.append(SignedBy(keys))
        branches = self._texts(table, "branches", place)
        pull_requests = self._boolean(table, "pull-requests", place)
        if branches is not None:
            self._not_empty(branches, "branches", place)
            rules.append(Branches(branches, pull_requests=bool(pull_requests)))
        if pull_requests is False:
            rules.append(NoPullRequests())
        if self._boolean(table, "head-commits", place) is False:
            rules.append(FullCommits())
        scripts = self._word(table, "commands", place) == "scripts"
        if scripts:
            rules.append(Scripts())
        if (plugins := self._texts(table, "plugins", place)) is not None:
            rules.append(Plugins(plugins) if plugins else NO_PLUGINS)
        if (attempts := self._number(table, "max-attempts", place)) is not None:
            rules.append(Attempts(attempts))
        variables = self._texts(table, "server-variables", place)
        for name, reason in allowable(variables.texts if variables else ()):
            self._refuse("server-variables", place, f"names {name}, which {reason}: no policy can allow that")
        return _Shared(
            title=title,
            rules=tuple(rules),
            mode=Mode(mode) if mode else None,
            server_variables=variables or NONE,
            informational=self._boolean(table, "informational-variables", place),
            scripts_only=scripts,
            repository_hooks=self._boolean(table, "repository-hooks", place) is not False,
            on_branch=branches is not None,
        )

    def _records(self, document: Mapping[str, Any]) -> Mapping[str, KeyRecord]:
        tables = document.get("key", {})
        if not isinstance(tables, dict) or not all(isinstance(table, dict) for table in tables.values()):
            self._refuse("key", _Place((), "the policy"), "is not a table of keys; each begins with [key.ID]")
        records = {}
        for kid, table in tables.items():
            place = _Place(("key", kid), f"the record of key {kid!r}")
            self._known(table, RECORD_KEYS, place)
            revoked = table.get("revoked", "")
            if not isinstance(revoked, str) or (not revoked and "revoked" in table):
                self._refuse("revoked", place, 'has to be text that says why, such as "left a laptop on the train"')
            records[kid] = KeyRecord(
                not_before=self._time(table, "not-before", place),
                not_after=self._time(table, "not-after", place, ends=True),
                revoked=revoked,
                repositories=self._texts(table, "repositories", place),
                organizations=self._texts(table, "organizations", place),
                pipelines=self._texts(table, "pipelines", place),
            )
        return MappingProxyType(records)

    # --- values ---------------------------------------------------------------------------------------------------

    def _texts(self, table: Mapping[str, Any], name: str, place: _Place) -> Patterns | None:
        value = table.get(name)
        if value is None:
            return None
        items = [value] if isinstance(value, str) else value
        if not isinstance(items, list) or not all(isinstance(item, str) and 0 < len(item) <= 1000 for item in items):
            self._refuse(name, place, "has to be a text or a list of texts")
        if len(items) > 1000:
            self._refuse(name, place, f"has {len(items):,} entries; there can be 1,000")
        return globs(items)

    def _not_empty(self, patterns: Patterns, name: str, place: _Place) -> None:
        if not patterns:
            self._refuse(name, place, "is an empty list, which would allow nothing")

    def _boolean(self, table: Mapping[str, Any], name: str, place: _Place) -> bool | None:
        value = table.get(name)
        if value is not None and not isinstance(value, bool):
            self._refuse(name, place, "has to be true or false")
        return value

    def _number(self, table: Mapping[str, Any], name: str, place: _Place) -> int | None:
        value = table.get(name)
        if value is not None and (type(value) is not int or not 1 <= value <= 1000):
            self._refuse(name, place, "has to be a whole number from 1 to 1000")
        return value

    def _word(self, table: Mapping[str, Any], name: str, place: _Place) -> str:
        value = table.get(name)
        if value is None:
            return ""
        words = SHARED_KEYS[name].kind.split("|")
        if value not in words:
            self._refuse(name, place, f"is {str(value)[:60]!r}; it has to be {' or '.join(words)}")
        return str(value)

    def _time(self, table: Mapping[str, Any], name: str, place: _Place, *, ends: bool = False) -> float | None:
        value = table.get(name)
        if value is None:
            return None
        if isinstance(value, date) and not isinstance(value, datetime):
            # A day alone means the whole of it.
            value = datetime.combine(value, time.max if ends else time.min, UTC)
        if not isinstance(value, datetime):
            self._refuse(name, place, "has to be a date or a time, such as 2027-01-31 or 2027-01-31T12:00:00Z")
        if value.tzinfo is None:
            value = value.replace(tzinfo=UTC)
        try:
            return float(value.timestamp())
        except (OverflowError, ValueError):
            self._refuse(name, place, "is out of this calendar")

    # --- errors ---------------------------------------------------------------------------------------------------

    def _known(self, table: Mapping[str, Any], keys: Mapping[str, Key], place: _Place) -> None:
        for name in table:
            if name in keys:
                continue
            from difflib import get_close_matches

            near = get_close_matches(name, list(keys), 2) or get_close_matches(
                name, [*TOP_KEYS, *SECTION_KEYS, *RECORD_KEYS], 1
            )
            elsewhere = "" if not near or near[0] in keys else " (in another part of the file)"
            raise MalformedInput(
                "policy.key",
                f"{place.words} has no key {name[:60]!r}",
                help=f"did you mean {' or '.join(near)}?{elsewhere}" if near else f"it can have: {', '.join(keys)}",
                position=self._find(name, place),
            )

    def _refuse(self, name: str, place: _Place, problem: str) -> NoReturn:
        raise MalformedInput("policy.value", f"`{name}` of {place.words} {problem}", position=self._find(name, place))

    def _find(self, name: str, place: _Place) -> Position | None:
        """Where a key stands, which TOML readers do not say; None if it is written oddly."""
        current: tuple[str | int, ...] = ()
        seen: dict[str, int] = {}
        for number, line in enumerate(self._text.split("\n"), 1):
            bare = line.strip()
            if match := _HEADER.match(bare):
                words = [_bare(word) for word in _WORD.findall(match[2])]
                if match[1] == "[[":
                    seen[words[0]] = seen.get(words[0], -1) + 1
                    current = (words[0], seen[words[0]])
                else:
                    current = tuple(words)
                inside, key = current[:-1], current[-1] if current else ""
                found = match[1] == "[" and inside == place.path and key == name
            elif match := _ASSIGNMENT.match(bare):
                found = current == place.path and _bare(match[1]) == name
            else:
                continue
            if found:
                return Position(self._source, number, len(line) - len(line.lstrip()) + 1, line.rstrip("\r"))
        return None


_WORD = re.compile(r"\"(?:[^\"\\]|\\.)*\"|'[^']*'|[A-Za-z0-9_-]+")
_HEADER = re.compile(rf"(\[\[?)\s*((?:{_WORD.pattern})(?:\s*\.\s*(?:{_WORD.pattern}))*)\s*\]")
_ASSIGNMENT = re.compile(rf"({_WORD.pattern})\s*[.=]")


def _bare(word: str) -> str:
    return word[1:-1] if word[:1] in ("'", '"') else word


class _Shared(NamedTuple):
    """What a table says that both the whole policy and a section can say."""

    title: str
    rules: tuple[Rule, ...]
    mode: Mode | None
    server_variables: Patterns
    informational: bool | None
    scripts_only: bool
    repository_hooks: bool
    on_branch: bool

    def section(
        self,
        *,
        repositories: Patterns | None = None,
        organizations: Patterns | None = None,
        pipelines: Patterns | None = None,
    ) -> Section:
        return Section(repositories=repositories, organizations=organizations, pipelines=pipelines, **self._asdict())


def _warnings(mode: Mode | None, sections: Sequence[Section]) -> list[str]:
    warnings = []
    if mode is Mode.OBSERVE:
        warnings.append(
            "mode = observe: nothing is refused, unsigned jobs run too; `pipeseal policy report` says what"
        )
    for index, section in enumerate(sections[:-1]):
        if section.repositories is section.organizations is section.pipelines is None:
            warnings.append(f"section {index + 1} is for everything, so no later section is ever looked at")
            break
    return warnings

"""`policy.toml`: reading one. Unknown keys are refused, with the line and the nearest key that there is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, NamedTuple, cast

from pipeseal.policy.commit_signers import CommitSigners, SignedCommits
from pipeseal.policy.environment import allowable
from pipeseal.policy.facts import Proof
from pipeseal.policy.patterns import NONE, Patterns
from pipeseal.policy.policy import Mode, Policy, Section
from pipeseal.policy.rules import (
    NO_PLUGINS,
    ROLES,
    Attempts,
    Branches,
    FullCommits,
    KeyRecord,
    NoPullRequests,
    PinnedPlugins,
    Plugins,
    Repositories,
    RequiredProof,
    Rule,
    Scripts,
    SignedBy,
    StaticChoice,
    Submodules,
)
from pipeseal.policy.tables import Key, Place, TableReader

MAX_SECTIONS = 1000
VERSION = 1

# What holds for every job, and may stand in a section too.
SHARED_KEYS: dict[str, Key] = {
    "mode": Key(
        "enforce|warn|observe",
        "refuse what the rules do not agree with; or run it, with a warning in the job's log; or run it, and report",
    ),
    "proof": Key("signature|seal", "what a job must be proven with, at least; `signature` without this key"),
    "keys": Key("texts", "key ids that may sign"),
    "branches": Key("texts", "branches that may be built; the commit must be part of the branch on the remote"),
    "pull-requests": Key("boolean", "whether pull requests may be built; true without `branches`, false with"),
    "head-commits": Key("boolean", "false: only commits with a full object id, never `HEAD`; true without this key"),
    "commit-signers": Key(
        "text",
        "file of SSH keys (`allowed_signers`): the commit must be signed by one, or by one of `commit-keyring`",
    ),
    "commit-keyring": Key("text", "file of OpenPGP public keys that may sign commits"),
    "revoked-commit-signers": Key("text", "file of SSH keys, or a KRL, that are not believed any more"),
    "submodules": Key(
        "texts",
        "repositories of submodules (https, ssh); an empty list allows none, without it the repository's own host",
    ),
    "commands": Key("any|scripts", "`scripts`: only scripts of the repository, no inline commands"),
    "plugins": Key("texts", "plugin sources in full, such as `github.com/acme/*#v*`; an empty list allows none"),
    "pinned-plugins": Key("boolean", "true: only plugins that were sealed at a commit, see `pipeseal plugins lock`"),
    "repository-hooks": Key("boolean", "whether `.buildkite/hooks` of the repository may run; true without this key"),
    "server-variables": Key("texts", "further variables that the server may set; a free text becomes a variable too"),
    "informational-variables": Key("boolean", "false: jobs get no variable whose value is only the server's word"),
    "max-attempts": Key(
        "number", "how often a job may start, as this agent's ledger counts; lowers what a seal allows"
    ),
    "static-steps": Key(
        "branches|any|never",
        "steps sealed outside a build: only commits held to `branches` (without this key too), any commit, or none",
    ),
    "static-starts": Key(
        "number", "how often such a step may start for one commit, whatever builds the server tells of"
    ),
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
    "branches": Key("texts", "for which branches, and no tags or pull requests; the step must be bound to all three"),
    "roles": Key("texts", "`uploads`: steps of a build, `static`: steps signed outside of any; both without it"),
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
    return _Reader(data, source).read()


class _Reader(TableReader):
    """Turns a parsed document into a policy."""

    SYNTAX, KEY, VALUE = "policy.syntax", "policy.key", "policy.value"
    WHAT = "a policy"
    ALL_KEYS = (*TOP_KEYS, *SECTION_KEYS, *RECORD_KEYS)

    def read(self) -> Policy:
        document = self.document
        top = Place((), "the policy")
        self.known(document, TOP_KEYS, top)
        self.check_version(top, VERSION)
        tables = document.get("allow", [])
        if not isinstance(tables, list) or not all(isinstance(table, dict) for table in tables):
            self.refuse("allow", top, "is not a list of sections; each begins with [[allow]]")
        if len(tables) > MAX_SECTIONS:
            self.refuse("allow", top, f"has {len(tables):,} sections; there can be {MAX_SECTIONS:,}")
        sections = tuple(self._section(table, index) for index, table in enumerate(tables))
        everywhere = self._shared(document, top, title="every job")
        if everywhere.static_steps is None:
            # A seal made outside a build does not say that it should run now: closed unless the file opens it.
            everywhere = everywhere._replace(static_steps="branches")
        if (repositories := self.texts(document, "repositories", top)) is not None:
            self.not_empty(repositories, "repositories", top)
            everywhere = everywhere._replace(rules=(Repositories(repositories), *everywhere.rules))
        return Policy(
            everywhere=everywhere.section(),
            sections=sections,
            keys=self._records(document),
            shared_secrets=self.boolean(document, "shared-secrets", top) or False,
            source=self._source,
            warnings=tuple(_warnings(everywhere.mode, sections)),
        )

    # --- tables ---------------------------------------------------------------------------------------------------

    def _section(self, table: Mapping[str, Any], index: int) -> Section:
        place = Place(("allow", index), f"section {index + 1}")
        self.known(table, SECTION_KEYS, place)
        wanted = {name: self.texts(table, name, place) for name in ("repository", "organization", "pipeline")}
        for name, patterns in wanted.items():
            if patterns is not None:
                self.not_empty(patterns, name, place)
        for_what = next((str(patterns) for patterns in wanted.values() if patterns is not None), "everything else")
        shared = self._shared(table, place, title=f"{index + 1} ({for_what})")
        return shared.section(
            repositories=wanted["repository"], organizations=wanted["organization"], pipelines=wanted["pipeline"]
        )

    def _shared(self, table: Mapping[str, Any], place: Place, *, title: str) -> _Shared:
        rules: list[Rule] = []
        mode = self.word(table, SHARED_KEYS, "mode", place)
        if proof := self.word(table, SHARED_KEYS, "proof", place):
            rules.append(RequiredProof(Proof(proof)))
        if (keys := self.texts(table, "keys", place)) is not None:
            self.not_empty(keys, "keys", place)
            rules.append(SignedBy(keys))
        branches = self.texts(table, "branches", place)
        pull_requests = self.boolean(table, "pull-requests", place)
        if branches is not None:
            self.not_empty(branches, "branches", place)
            rules.append(Branches(branches, pull_requests=bool(pull_requests)))
        if pull_requests is False:
            rules.append(NoPullRequests())
        if self.boolean(table, "head-commits", place) is False:
            rules.append(FullCommits())
        if (signers := self._commit_signers(table, place)) is not None:
            rules.append(SignedCommits(signers))
        if (submodules := self.texts(table, "submodules", place)) is not None:
            rules.append(Submodules(submodules))
        scripts = self.word(table, SHARED_KEYS, "commands", place) == "scripts"
        if scripts:
            rules.append(Scripts())
        if (plugins := self.texts(table, "plugins", place)) is not None:
            rules.append(Plugins(plugins) if plugins else NO_PLUGINS)
        if self.boolean(table, "pinned-plugins", place):
            rules.append(PinnedPlugins())
        if (attempts := self.number(table, "max-attempts", place)) is not None:
            rules.append(Attempts(attempts))
        variables = self.texts(table, "server-variables", place)
        for name, reason in allowable(variables.texts if variables else ()):
            self.refuse("server-variables", place, f"names {name}, which {reason}: no policy can allow that")
        return _Shared(
            title=title,
            rules=tuple(rules),
            mode=Mode(mode) if mode else None,
            server_variables=variables or NONE,
            informational=self.boolean(table, "informational-variables", place),
            scripts_only=scripts,
            repository_hooks=self.boolean(table, "repository-hooks", place) is not False,
            on_branch=branches is not None,
            static_steps=cast("StaticChoice | None", self.word(table, SHARED_KEYS, "static-steps", place) or None),
            static_starts=self.number(table, "static-starts", place),
        )

    def _roles(self, table: Mapping[str, Any], place: Place) -> frozenset[str] | None:
        roles = self.texts(table, "roles", place)
        if roles is None:
            return None
        for role in roles.texts:
            if role not in ROLES:
                self.refuse("roles", place, f"names {role[:60]!r}; a key is for {' or '.join(ROLES)}")
        return frozenset(roles.texts)

    def _commit_signers(self, table: Mapping[str, Any], place: Place) -> CommitSigners | None:
        names = ("commit-signers", "revoked-commit-signers", "commit-keyring")
        if not any(name in table for name in names):
            return None
        signers = CommitSigners(*(self.path(table, name, place) for name in names))
        if signers.ssh is None and signers.openpgp is None:
            self.refuse("revoked-commit-signers", place, "says who may not sign commits, and nothing says who may")
        return signers

    def _records(self, document: Mapping[str, Any]) -> Mapping[str, KeyRecord]:
        tables = document.get("key", {})
        if not isinstance(tables, dict) or not all(isinstance(table, dict) for table in tables.values()):
            self.refuse("key", Place((), "the policy"), "is not a table of keys; each begins with [key.ID]")
        records = {}
        for kid, table in tables.items():
            place = Place(("key", kid), f"the record of key {kid!r}")
            self.known(table, RECORD_KEYS, place)
            revoked = table.get("revoked", "")
            if not isinstance(revoked, str) or (not revoked and "revoked" in table):
                self.refuse("revoked", place, 'has to be text that says why, such as "left a laptop on the train"')
            records[kid] = KeyRecord(
                not_before=self.time(table, "not-before", place),
                not_after=self.time(table, "not-after", place, ends=True),
                revoked=revoked,
                repositories=self.texts(table, "repositories", place),
                organizations=self.texts(table, "organizations", place),
                pipelines=self.texts(table, "pipelines", place),
                branches=self.texts(table, "branches", place),
                roles=self._roles(table, place),
            )
        return MappingProxyType(records)


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
    static_steps: StaticChoice | None
    static_starts: int | None

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
    if mode in (Mode.OBSERVE, Mode.WARN):
        warnings.append(
            f"mode = {mode.value}: nothing is refused, unsigned jobs run too; `pipeseal policy report` says what"
        )
    for index, section in enumerate(sections[:-1]):
        if section.repositories is section.organizations is section.pipelines is None:
            warnings.append(f"section {index + 1} is for everything, so no later section is ever looked at")
            break
    return warnings

"""An operator's own agent, for a drill: their switches and their policy as they are, in a temporary copy.

What the copy changes: the endpoint, token, name and folders are the drill's. Programs are left out (hooks, a
bootstrap script, mirrors), and so is the signing key. Each verification key is replaced by one that the drill makes,
with the same id and algorithm, so that the drill can sign honest jobs; the policy, which names keys by id, stays as
it is, byte for byte. The repository that the policy allows is never contacted: git is led to the drill's own one.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from pipeseal.agent.options import BY_NAME
from pipeseal.agent.settings import find_config_file, load_settings, parse_config_file
from pipeseal.errors import ConfigurationError
from pipeseal.lab.ground import Ground, Names
from pipeseal.policy.files import read_policy
from pipeseal.policy.patterns import Patterns
from pipeseal.policy.policy import Policy
from pipeseal.policy.rules import Branches, Repositories

# What a drill brings itself, or does not run.
LEFT_OUT = frozenset(
    {
        "endpoint", "token", "name", "priority", "spawn", "spawn-per-cpu", "spawn-with-priority", "acquire-job",
        "disconnect-after-job", "disconnect-after-idle-timeout", "disconnect-after-uptime", "reflect-exit-status",
        "health-check-addr", "build-path", "hooks-path", "additional-hooks-paths", "plugins-path", "sockets-path",
        "verification-jwks-file", "policy-file", "decision-log", "signing-jwks-file", "signing-jwks-key-id",
        "bootstrap-script", "pass-environment", "job-log-path", "git-mirrors-path", "git-config-file", "log-format",
        "checkout-attempts", "cancel-grace-period",
    }
)  # fmt: skip
# Beginnings of options that name places of this machine too.
_PLACES = ("ledger", "signer")


@dataclass(frozen=True, slots=True)
class OwnAgent:
    """An operator's own agent.

    Parameters:
        source: its configuration file.
        chosen: option to value, as the file has it, without what a drill brings itself.
        left_out: options of the file that the drill does not use.
        policy: the text of its policy; empty when it has none.
        has_keys: whether it verifies at all.
        names: what honest jobs are called by, for this policy.
    """

    source: Path
    chosen: Mapping[str, str]
    left_out: tuple[str, ...]
    policy: str
    has_keys: bool
    names: Names

    def describe(self) -> list[str]:
        """What is attacked, lines for people."""
        names = self.names
        lines = [
            f"Your settings    {self.source}",
            f"  honest jobs    {names.organization}/{names.pipeline}, branch {names.branch}, of {names.repository}",
            f"  signed by      {names.keys[0][1] if names.keys else 'nobody: this agent verifies nothing'}"
            + (" (a stand-in made for this drill)" if names.keys else ""),
        ]
        if self.left_out:
            lines.append(f"  not used       {', '.join(self.left_out)}")
        return lines

    def settings(self, ground: Ground) -> dict[str, str | bool]:
        """Options for the copy, on top of those that every agent of a drill has."""
        return {
            **self.chosen,
            **({} if self.policy else {"policy-file": ""}),
            **({} if self.has_keys else {"verification-jwks-file": ""}),
            "git-config-file": str(ground.git_config) if self.names.repository else "",
        }


def load_own_agent(
    path: Path, environment: Mapping[str, str], *, repository: str = "", pipeline: str = "", organization: str = "",
    branch: str = "",
) -> OwnAgent:  # fmt: skip
    """An operator's own agent.

    Parameters:
        path: its configuration file.
        environment: for paths in the file.
        repository, pipeline, organization, branch: what honest jobs are of; found in the policy when empty.

    Raises:
        ConfigurationError: the file cannot be used (as `load_settings`), or a key of the set cannot be stood in for.
        MalformedInput: the policy or the keys cannot be read.
    """
    find_config_file(environment, str(path))
    values, _notes = parse_config_file(path.read_text(encoding="utf-8"), str(path))
    kept = {name: value for name, value in values.items() if name not in LEFT_OUT and not name.startswith(_PLACES)}
    # Only what the file says: the environment of whoever runs the drill is not the agent's.
    places = {name: environment[name] for name in ("HOME",) if name in environment}
    settings = load_settings({"config": str(path), "token": "drill"}, places)
    text, policy = "", Policy()
    if settings.policy_file is not None:
        policy = read_policy(settings.policy_file)
        text = settings.policy_file.read_text(encoding="utf-8")
    keys: tuple[tuple[str, str], ...] = ()
    if settings.verification_jwks_file is not None:
        keys = _stand_ins(settings.verification_jwks_file, policy)
    tags = dict(tag.partition("=")[::2] for tag in settings.own_tags) or {"queue": "default"}
    section = policy.sections[0] if policy.sections else policy.everywhere
    rules = (*section.rules, *policy.everywhere.rules)
    repositories = section.repositories or next(
        (rule.allowed for rule in rules if isinstance(rule, Repositories)), None
    )
    branches = next((rule.allowed for rule in rules if isinstance(rule, Branches)), None)
    names = Names(
        organization=organization or _example(section.organizations) or "acme",
        pipeline=pipeline or _example(section.pipelines) or "widgets",
        branch=branch or _example(branches) or "main",
        repository=repository or _example(repositories) or "https://git.example.test/acme/widgets.git",
        tags=tags,
        keys=keys,
    )
    left = tuple(sorted(name for name in values if name not in kept and name in BY_NAME))
    return OwnAgent(path, kept, left, text, bool(keys), names)


def _stand_ins(path: Path, policy: Policy) -> tuple[tuple[str, str], ...]:
    """Algorithm and id of each key of a set; those that the policy does not speak against come first."""
    from pipeseal.signing.keys.generate import GENERATED
    from pipeseal.signing.keys.open import load_verification_keys

    found = [(key.alg or "", key.kid or "") for key in load_verification_keys(str(path))]
    for algorithm, kid in found:
        if algorithm not in GENERATED:
            raise ConfigurationError(
                "key.unusable", f"the drill cannot stand in for the key {kid!r}: it makes no keys for {algorithm!r}"
            )

    def is_doubtful(key: tuple[str, str]) -> bool:
        record = policy.keys.get(key[1])
        return record is not None and bool(record.revoked or record.not_after or record.not_before)

    return tuple(sorted(found, key=is_doubtful))


def _example(patterns: Patterns | None) -> str:
    """Something that the first of the patterns matches; empty when there is none."""
    if not patterns:
        return ""
    return re.sub(r"\[[^]]*\]|[*?]+", "drill", patterns.texts[0])

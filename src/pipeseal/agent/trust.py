"""What an agent believes, from files: keys and policy, read again when they change.

So a revocation needs no restart. Files that others could have changed are refused. A file that changed and cannot be
used any more refuses jobs until it can: the agent never goes on with what its operator has replaced.
"""

from __future__ import annotations

import threading
from pathlib import Path

from pipeseal.agent.settings import AgentSettings
from pipeseal.errors import ConfigurationError, PipesealError
from pipeseal.policy.files import FileState, check_only_ours, look_at, read_policy
from pipeseal.policy.patterns import NONE, expressions
from pipeseal.policy.policy import Mode, Policy
from pipeseal.policy.rules import NO_PLUGINS, Limits, Plugins, Repositories, Rule, Scripts
from pipeseal.policy.settings import OnFailure, VerificationSettings, parse_on_failure


class Trust:
    """What this agent believes.

    Parameters:
        settings: the operator's.
        fixed: believe this, whatever the files say; for agents without files.
    """

    def __init__(self, settings: AgentSettings, fixed: VerificationSettings | None = None) -> None:
        self._settings = settings
        self._current = fixed
        self._seen: dict[Path, FileState | None] = {}
        self._lock = threading.Lock()

    @property
    def files(self) -> tuple[Path, ...]:
        """The files it comes from."""
        named = (self._settings.policy_file, self._settings.verification_jwks_file)
        return tuple(path for path in named if path is not None)

    def current(self) -> VerificationSettings:
        """What is believed now; reads the files if they have changed.

        Raises:
            PipesealError: they cannot be used (`policy.*`, `key.*`, `config.value`); the next call tries again.
        """
        with self._lock:
            seen = {path: look_at(path) for path in self.files}
            if self._current is None or seen != self._seen:
                # Forgotten first: what was believed before must not outlive a file that cannot be read.
                self._current = None
                self._current = load_verification(self._settings)
                self._seen = seen
            return self._current


def load_verification(settings: AgentSettings) -> VerificationSettings:
    """Keys and policy as the files say now.

    Parameters:
        settings: the operator's.

    Raises:
        ConfigurationError: no keys (`key.none`), keys an agent must not have (`key.symmetric`, `key.private`,
            `key.duplicate`, `key.weak`, and what `load_verification_keys` raises), settings that contradict each
            other (`config.value`), a policy that cannot be read or that others can change (`policy.unreadable`,
            `policy.permissions`).
        MalformedInput: as `parse_policy` and `load_verification_keys`.
    """
    on_failure = parse_on_failure(settings.verification_failure_behavior)
    policy = load_policy(settings)
    _check_contradictions(settings, policy, on_failure)
    if settings.verification_jwks_file is None:
        return VerificationSettings(keys=None, on_failure=on_failure, policy=policy)
    from pipeseal.policy.keyset import check_key_set
    from pipeseal.signing.keys.open import load_verification_keys

    check_only_ours(settings.verification_jwks_file, "key.permissions")
    keys = load_verification_keys(str(settings.verification_jwks_file))
    check_key_set(keys, shared_secrets=policy.shared_secrets)
    return VerificationSettings(keys=keys, on_failure=on_failure, policy=policy)


def _check_contradictions(settings: AgentSettings, policy: Policy, on_failure: OnFailure) -> None:
    if settings.verification_jwks_file is None and not settings.no_verification:
        raise ConfigurationError(
            "key.none",
            "this agent has no verification keys, could not tell a signed job from any other, and does not start",
            help=(
                "give it the public keys of your signers with --verification-jwks-file FILE (`pipeseal init` makes "
                "a pair), or say --no-verification to run whatever the server sends"
            ),
        )
    other = "verification-jwks-file" if settings.verification_jwks_file is not None else "policy-file"
    if settings.no_verification and (settings.verification_jwks_file is not None or policy.source):
        raise ConfigurationError(
            "config.value", f"no-verification and {other} contradict each other", help="keep one of the two"
        )
    if on_failure is OnFailure.WARN and policy.source and policy.mode is Mode.ENFORCE:
        raise ConfigurationError(
            "config.value",
            "verification-failure-behavior is warn, and the policy file says that jobs are refused",
            help='leave the setting out; to run everything and have it reported, say mode = "warn" in the policy',
        )


def load_policy(settings: AgentSettings) -> Policy:
    """The policy file, if there is one, with the agent's own switches on top.

    Parameters:
        settings: the operator's.

    Raises:
        ConfigurationError: `policy.unreadable`, `policy.permissions`.
        MalformedInput: as `parse_policy`.
    """
    policy = Policy() if settings.policy_file is None else read_policy(settings.policy_file)
    rules: list[Rule] = []
    if settings.allowed_repositories:
        rules.append(Repositories(expressions(settings.allowed_repositories)))
    if settings.allowed_plugins:
        rules.append(Plugins(expressions(settings.allowed_plugins)))
    if settings.no_plugins:
        rules.append(NO_PLUGINS)
    if settings.no_command_eval:
        rules.append(Scripts())
    limits = Limits(scripts_only=settings.no_command_eval, repository_hooks=not settings.no_local_hooks)
    names = settings.allowed_environment_variables
    return policy.with_switches(
        tuple(rules), limits, expressions(names) if names else NONE, shared_secrets=settings.allow_shared_secrets
    )


def describe(error: PipesealError) -> str:
    """Why jobs are refused while what the agent believes cannot be read, one sentence."""
    return f"this agent does not know any more what to believe: {error}"

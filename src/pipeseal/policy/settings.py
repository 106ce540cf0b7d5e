"""What the operator decided about verification."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from pipeseal.errors import ConfigurationError
from pipeseal.policy.policy import Mode, Policy
from pipeseal.signing.keys.verification_keys import VerificationKeys


class OnFailure(Enum):
    """What to do with a job whose step is not proven."""

    BLOCK = "block"
    WARN = "warn"


@dataclass(frozen=True, slots=True, kw_only=True)
class VerificationSettings:
    """How jobs are verified.

    Parameters:
        keys: the trusted keys; None when the operator asked for no verification in so many words.
        on_failure: refuse what is not proven, or run it with a warning.
        policy: what else a job must be; None to judge the proof alone, as the ecosystem's agent does. An agent of
            ours always has one.
    """

    keys: VerificationKeys | None
    on_failure: OnFailure = OnFailure.BLOCK
    policy: Policy | None = None

    @property
    def unproven_mode(self) -> Mode:
        """What happens to jobs that prove nothing. They can claim to be of any section, so sections have no say."""
        if self.on_failure is OnFailure.WARN:
            return Mode.WARN
        return Mode.ENFORCE if self.policy is None else self.policy.mode


def parse_on_failure(text: str) -> OnFailure:
    """The setting that `text` names; empty means block.

    Raises:
        ConfigurationError: `verification.behavior`: any other word.
    """
    for setting in OnFailure:
        if text in (setting.value, "" if setting is OnFailure.BLOCK else setting.value):
            return setting
    raise ConfigurationError(
        "verification.behavior",
        f"{text!r} is not something to do when verification fails",
        help="say block (refuse the job) or warn (run it and say so)",
    )

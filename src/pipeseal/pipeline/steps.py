"""What a pipeline is made of: the typed members of each kind of step; everything else is kept as it was written.

The names are the ecosystem's own. Member by member rules (aliases, coercions, what falls back to an unknown step)
are in `parse.py`; how each value is written again is in `render.py`. Values inside unknown members are generic:
None, bool, int, float, str, `Timestamp`, `list`, and `dict` with text keys in source order (see `values.py`). They
are shared freely between steps and pipelines: build new ones instead of changing them.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeAlias

from pipeseal.pipeline.values import Value

if TYPE_CHECKING:
    from pipeseal.pipeline.origin import Origin


@dataclass(slots=True)
class Plugin:
    """One plugin of a command step.

    Parameters:
        source: as written (`docker#v5`), or in full form once parsed from a job; `full_source` gives the full form.
        config: generic configuration, None when there is none.
    """

    source: str
    config: Value = None


@dataclass(slots=True)
class Secret:
    """A secret by name: the key it is stored under, and the variable it goes into (None when not said)."""

    key: str
    environment_variable: str | None = None


@dataclass(slots=True)
class Adjustment:
    """One adjustment of a matrix: the combination it is about, `skip` as written, and unknown members."""

    combination: dict[str, str] | None
    skip: Value = None
    rest: dict[str, Value] = field(default_factory=dict)


@dataclass(slots=True)
class Matrix:
    """A matrix: dimension name (`""` for the anonymous one) to its values, in source order.

    `setup` is None when the long form had no `setup` at all; a dimension written as null is None.
    """

    setup: dict[str, list[str] | None] | None
    adjustments: list[Adjustment | None] = field(default_factory=list)
    rest: dict[str, Value] = field(default_factory=dict)

    @property
    def is_empty(self) -> bool:
        """No dimensions, adjustments or unknown members: signed as if absent. An anonymous dimension counts."""
        return not self.setup and not self.adjustments and not self.rest


@dataclass(slots=True)
class Checkout:
    """Checkout settings of a step or a pipeline; None means not set."""

    skip: bool | None = None
    submodules: bool | None = None
    ssh_secret: str | None = None
    depth: int | None = None
    rest: dict[str, Value] = field(default_factory=dict)

    @property
    def is_empty(self) -> bool:
        """Nothing set: signed as if absent."""
        return (
            self.skip is None
            and self.submodules is None
            and self.ssh_secret is None
            and self.depth is None
            and not self.rest
        )


@dataclass(slots=True)
class Cache:
    """Cache settings of a step; not signed by the Signature."""

    disabled: bool = False
    name: str = ""
    paths: list[str] = field(default_factory=list)
    size: str = ""
    rest: dict[str, Value] = field(default_factory=dict)


@dataclass(slots=True)
class Signature:
    """A step's signature as it stands in the pipeline: untrusted until `signing.verify_step` says otherwise.

    Parameters:
        algorithm: the name the signer wrote, such as `EdDSA`; authenticated only as part of the payload.
        signed_fields: names of what was signed; None when the member was missing or null.
        value: detached compact JWS (RFC 7515 appendix F).
    """

    algorithm: str
    signed_fields: list[str] | None
    value: str


@dataclass(slots=True)
class CommandStep:
    """A step that runs something.

    Parameters:
        command: the command text, several joined by line feeds; `""` when only plugins or hooks act.
        rest: every other member (agents, retry, depends_on, ...) as written; not covered by the Signature.
    """

    command: str = ""
    key: str = ""
    label: str = ""
    env: dict[str, str] = field(default_factory=dict)
    plugins: list[Plugin] = field(default_factory=list)
    secrets: list[Secret] = field(default_factory=list)
    matrix: Matrix | None = None
    checkout: Checkout | None = None
    cache: Cache | None = None
    signature: Signature | None = None
    rest: dict[str, Value] = field(default_factory=dict)


@dataclass(slots=True)
class WaitStep:
    """A wait: `scalar` is the text form (`wait`, `waiter`), else `members` holds the mapping as written."""

    scalar: str | None = None
    members: dict[str, Value] = field(default_factory=dict)


@dataclass(slots=True)
class InputStep:
    """A block, input or manual step: `scalar` is the text form, else `members` holds the mapping as written."""

    scalar: str | None = None
    members: dict[str, Value] = field(default_factory=dict)


@dataclass(slots=True)
class TriggerStep:
    """A step that triggers another pipeline; members as written."""

    members: dict[str, Value] = field(default_factory=dict)


@dataclass(slots=True)
class GroupStep:
    """A group of steps. `group` is its label (None when it was null), groups nest."""

    group: str | None = None
    key: str = ""
    steps: list[Step] = field(default_factory=list)
    rest: dict[str, Value] = field(default_factory=dict)


@dataclass(slots=True)
class UnknownStep:
    """A step that could not be read as any kind; raw content kept, never signed, never run.

    Parameters:
        content: the step as written.
        reason: why, one lower-case sentence.
    """

    content: Value
    reason: str = field(default="", compare=False)


Step: TypeAlias = CommandStep | WaitStep | InputStep | TriggerStep | GroupStep | UnknownStep


@dataclass(slots=True)
class Pipeline:
    """A whole pipeline.

    Parameters:
        env: pipeline-level variables in source order.
        warnings: what was understood only in part, one sentence each with file, line and column.
        rest: unknown top-level members, as written.
        env_is_set: `env` was given as a mapping, which is written again even when it is empty.
        origin: the text it was parsed from, to say where something stands; None for one that was built.
    """

    steps: list[Step] = field(default_factory=list)
    env: dict[str, str] = field(default_factory=dict)
    secrets: list[Secret] = field(default_factory=list)
    checkout: Checkout | None = None
    rest: dict[str, Value] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list, compare=False)
    env_is_set: bool = False
    origin: Origin | None = field(default=None, compare=False, repr=False)

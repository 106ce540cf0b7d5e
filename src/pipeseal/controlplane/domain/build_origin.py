"""How a build came to be: what webhooks, trigger steps and schedules know of it, for conditions and for its jobs."""

from __future__ import annotations

import msgspec

# The variables of a job that say which build triggered its build; nobody else sets them.
TRIGGERED_FROM = tuple(f"BUILDKITE_TRIGGERED_FROM_BUILD_{name}" for name in ("ID", "NUMBER", "PIPELINE_SLUG"))

Value = str | int | bool | tuple[str, ...] | None


class BuildOrigin(msgspec.Struct, omit_defaults=True):
    """Parameters:
    variables: of conditions, by their names (`build.source_event`, ...).
    env: `BUILDKITE_` variables that all of the build's jobs get.
    """

    variables: dict[str, Value] = {}
    env: dict[str, str] = {}

    def again(self) -> BuildOrigin:
        """For another build of the same: no trigger step made that one."""
        return BuildOrigin(self.variables, {key: text for key, text in self.env.items() if key not in TRIGGERED_FROM})


_DECODER = msgspec.json.Decoder(BuildOrigin)


def decode_origin(text: str) -> BuildOrigin:
    """An origin as the database keeps it."""
    return _DECODER.decode(text)


def encode_origin(origin: BuildOrigin) -> str:
    """An origin as the database keeps it."""
    return msgspec.json.encode(origin).decode()

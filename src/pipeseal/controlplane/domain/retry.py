"""What follows from how a job ended: is its failure a soft one, and does its step ask for another try?"""

from __future__ import annotations

from typing import Any, NamedTuple

import msgspec

from pipeseal.controlplane.domain.members import scalar_text
from pipeseal.errors import MalformedInput

DEFAULT_LIMIT = 2
_MAX_LIMIT = 10
NO_STATUS = -1  # lost, refused or killed: there is no exit status

# Ends of a job that the same job would meet again: only a rule that names the reason retries them.
_REFUSALS = frozenset({"signature_rejected", "agent_refused"})


class Ending(NamedTuple):
    """How a job ended: exit status (-1 for none), signal and reason (empty for none)."""

    exit_status: int
    signal: str = ""
    signal_reason: str = ""


class RetryRule(NamedTuple):
    """One rule of `retry.automatic`. None matches anything."""

    exit_statuses: frozenset[int] | None
    signal: str | None
    signal_reason: str | None
    limit: int


def check_retry(value: Any, where: str) -> None:
    """Read a step's `retry` for its errors.

    Raises:
        MalformedInput: `upload.step`.
    """
    read_automatic(value, where)
    read_manual(value, where)


def read_automatic(value: Any, where: str) -> list[RetryRule]:
    """The automatic retry rules of a step's `retry`.

    Raises:
        MalformedInput: `upload.step`.
    """
    if value is None:
        return []
    if not isinstance(value, dict):
        raise MalformedInput("upload.step", f"{where}: `retry` must be a mapping with `automatic` or `manual`")
    match value.get("automatic"):
        case None | False | "false":
            return []
        case True | "true":
            return [RetryRule(None, None, None, DEFAULT_LIMIT)]
        case dict() as rule:
            return [_read_rule(rule, where)]
        case list() as rules:
            return [_read_rule(rule, where) for rule in rules]
        case _:
            raise MalformedInput("upload.step", f"{where}: `retry.automatic` must be true, a rule or a list of rules")


class ManualRetry(NamedTuple):
    """Whether a person may retry a job.

    Parameters:
        allowed: at all.
        permit_on_passed: also when it has passed.
        reason: why not, for people.
    """

    allowed: bool = True
    permit_on_passed: bool = True
    reason: str = "manual retries are switched off for this step"

    def refusal(self, *, passed: bool) -> str:
        """Why a job that ended may not be retried; empty when it may."""
        if not self.allowed:
            return self.reason
        return "its step permits no retry of a job that passed" if passed and not self.permit_on_passed else ""


def read_manual(value: Any, where: str) -> ManualRetry:
    """The manual retry rule of a step's `retry`.

    Raises:
        MalformedInput: `upload.step`.
    """
    match value.get("manual") if isinstance(value, dict) else None:
        case None | True | "true":
            return ManualRetry()
        case False | "false":
            return ManualRetry(allowed=False)
        case dict() as settings:
            reason = settings.get("reason")
            if reason is not None and not isinstance(reason, str):
                raise MalformedInput("upload.step", f"{where}: `retry.manual.reason` must be text")
            return ManualRetry(
                _read_permission(settings, "allowed", where),
                _read_permission(settings, "permit_on_passed", where),
                reason or ManualRetry().reason,
            )
        case _:
            raise MalformedInput("upload.step", f"{where}: `retry.manual` must be true, false or a mapping")


def _read_permission(settings: dict[str, Any], name: str, where: str) -> bool:
    match settings.get(name):
        case None | True | "true":
            return True
        case False | "false":
            return False
        case _:
            raise MalformedInput("upload.step", f"{where}: `retry.manual.{name}` must be true or false")


def _read_rule(rule: Any, where: str) -> RetryRule:
    if not isinstance(rule, dict):
        raise MalformedInput("upload.step", f"{where}: a rule of `retry.automatic` must be a mapping")
    limit = rule.get("limit", DEFAULT_LIMIT)
    if isinstance(limit, str) and limit.isdecimal():
        limit = int(limit)
    if isinstance(limit, bool) or not isinstance(limit, int) or not 0 <= limit <= _MAX_LIMIT:
        raise MalformedInput("upload.step", f"{where}: the `limit` of a retry rule is from 0 to {_MAX_LIMIT}")
    return RetryRule(
        _read_statuses(rule.get("exit_status"), where),
        _read_name(rule.get("signal"), "signal", where),
        _read_name(rule.get("signal_reason"), "signal_reason", where),
        limit,
    )


def _read_statuses(value: Any, where: str) -> frozenset[int] | None:
    match value:
        case None | "*":
            return None
        case list():
            statuses = [_read_statuses(item, where) for item in value]
            return None if None in statuses else frozenset().union(*(item for item in statuses if item is not None))
        case bool():
            pass
        case int():
            return frozenset({value})
        case str() if value.removeprefix("-").isdecimal():
            return frozenset({int(value)})
    raise MalformedInput("upload.step", f"{where}: `exit_status` must be a number, a list of numbers or `*`")


def _read_name(value: Any, name: str, where: str) -> str | None:
    match value:
        case None | "*":
            return None
        case str():
            return value
        case _:
            raise MalformedInput("upload.step", f"{where}: `{name}` must be text")


def wants_retry(retry: Any, ending: Ending, tries: int) -> bool:
    """Whether a step asks for another try of a failed job.

    Parameters:
        retry: the step's `retry`, already checked.
        ending: how the job ended.
        tries: automatic retries made so far.

    Returns:
        True when the first rule that matches still has a try left.
    """
    for rule in read_automatic(retry, "step"):
        if _matches(rule, ending):
            return tries < rule.limit
    return False


def _matches(rule: RetryRule, ending: Ending) -> bool:
    if ending.signal_reason in _REFUSALS and rule.signal_reason is None:
        return False
    return (
        (rule.exit_statuses is None or ending.exit_status in rule.exit_statuses)
        and (rule.signal is None or _same_signal(rule.signal, ending.signal))
        and (rule.signal_reason is None or rule.signal_reason == (ending.signal_reason or "none"))
    )


def _same_signal(rule: str, signal: str) -> bool:
    return rule.upper().removeprefix("SIG") == (signal or "none").upper().removeprefix("SIG")


def check_soft_fail(value: Any, where: str) -> None:
    """Read a step's `soft_fail` for its errors.

    Raises:
        MalformedInput: `upload.step`.
    """
    match value:
        case None | bool() | "true" | "false":
            return
        case list():
            for item in value:
                if not isinstance(item, dict):
                    raise MalformedInput("upload.step", f"{where}: each item of `soft_fail` is a mapping")
                if item.get("exit_status") is None:  # a slip of the pen must not forgive every failure
                    raise MalformedInput("upload.step", f"{where}: each item of `soft_fail` needs `exit_status`")
                _read_statuses(item["exit_status"], where)
        case _:
            raise MalformedInput(
                "upload.step", f"{where}: `soft_fail` must be true, false or a list of exit statuses"
            )


def adjusted_soft_fail(soft_fail: Any, matrix: Any, combination: str | None) -> Any:
    """The `soft_fail` that is for one job of a step: that of an adjustment of its matrix, else the step's.

    Parameters:
        soft_fail: the step's.
        matrix: the step's, as it was uploaded.
        combination: of the job, as JSON; None without a matrix.
    """
    if combination is None or not isinstance(matrix, dict):
        return soft_fail
    wanted = msgspec.json.decode(combination, type=dict[str, str])
    for adjustment in reversed(matrix.get("adjustments") or ()):  # the last one counts, as for `skip`
        if isinstance(adjustment, dict) and "soft_fail" in adjustment:
            chosen = adjustment.get("with")
            values = chosen if isinstance(chosen, dict) else {"": chosen}
            if {name: scalar_text(value) for name, value in values.items()} == wanted:
                return adjustment["soft_fail"]
    return soft_fail


def is_soft(soft_fail: Any, ending: Ending) -> bool:
    """Whether a failure that ended so is a soft one, for a `soft_fail` already checked."""
    match soft_fail:
        case True | "true":
            return True
        case list():
            statuses = (_read_statuses(item.get("exit_status"), "step") for item in soft_fail)
            return any(wanted is None or ending.exit_status in wanted for wanted in statuses)
        case _:
            return False

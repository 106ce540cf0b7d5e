"""What came of a build, and whether it is what a scenario expects: every difference is named, not the first alone."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tests.interop.scenario import OURS, PAIRING_NAMES, STOCK, Pairing

# The times that agents put into logs (`ESC _ bk;t=... BEL`), colours, cursor movements, and a terminal's returns.
_NOISE = re.compile(rb"\x1b_bk;[^\x07]*\x07|\x1b\[[0-9;?]*[A-Za-z]|\r+(?=\n)")
# Of each log, when something is not as expected.
_SHOWN_LINES, _SHOWN_COLUMNS = 40, 300
_PLAIN_MEMBERS = ("exit_status", "signal", "signal_reason", "soft_failed", "retried", "type")


def clean_log(data: bytes) -> str:
    """A log's text without times, colours and returns."""
    return _NOISE.sub(b"", data).decode("utf-8", "replace")


@dataclass(frozen=True)
class Outcome:
    """A build that ended.

    Parameters:
        build: as the REST API shows it.
        logs: id of each job that has a log to its cleaned text.
        uploader: id of the job that uploaded the pipeline; empty when its steps were stored in settings.
        annotations, artifacts: as the REST API lists them; empty unless the scenario asks.
    """

    build: dict[str, Any]
    logs: dict[str, str]
    uploader: str
    annotations: dict[str, dict[str, Any]]
    artifacts: dict[str, str]

    def named_jobs(self) -> dict[str, list[dict[str, Any]]]:
        """Jobs by label, key or type, in build order; without the uploader and without waits."""
        jobs: dict[str, list[dict[str, Any]]] = {}
        for job in self.build["jobs"]:
            if job["id"] != self.uploader and job["type"] != "waiter":
                jobs.setdefault(job["label"] or job["step_key"] or job["type"], []).append(job)
        return jobs


def find_differences(expect: Mapping[str, Any], outcome: Outcome, pairing: Pairing) -> list[str]:
    """Everything in which an outcome is not what was expected; empty when it is.

    Parameters:
        expect: the content of `expect.json`.
        pairing: whose variants of an expectation (`ours`, `stock`, `stock-to-ours`, ...) count.
    """
    found = list(_compare(_for_pairing(expect, pairing), outcome, pairing))
    for name, job in _logged(outcome) if found else ():
        lines = [line[:_SHOWN_COLUMNS] for line in outcome.logs[job["id"]].splitlines()]
        found += [f"--- the log of {name}, {len(lines)} lines, ends with:", *lines[-_SHOWN_LINES:]]
    return found


def _logged(outcome: Outcome) -> Iterator[tuple[str, dict[str, Any]]]:
    for job in outcome.build["jobs"]:
        if job["id"] in outcome.logs:
            yield job["label"] or job["step_key"] or "?", job


def _compare(expect: Mapping[str, Any], outcome: Outcome, pairing: Pairing) -> Iterator[str]:
    build = outcome.build
    if build["state"] != expect["state"]:
        yield f"the build is {build['state']}, expected {expect['state']}"
    jobs = outcome.named_jobs()
    wanted: Mapping[str, Any] = expect.get("jobs", {})
    for name in jobs.keys() | wanted.keys():
        rows = wanted.get(name, [])
        rows = rows if isinstance(rows, list) else [rows]
        if len(rows) != len(jobs.get(name, [])):
            states = [job["state"] for job in jobs.get(name, [])]
            yield f"{name!r}: {len(states)} jobs {states}, expected {len(rows)}"
            continue
        for row, job in zip(rows, jobs.get(name, []), strict=True):
            yield from _compare_job(name, _for_pairing(row, pairing), job, outcome, pairing)
    for job in build["jobs"]:
        if job["id"] == outcome.uploader:
            upload = _for_pairing({"state": "passed", **expect.get("upload", {})}, pairing)
            yield from _compare_job("the upload", upload, job, outcome, pairing)
    yield from _compare_warnings(expect.get("warnings", []), build["warnings"])
    for key, value in expect.get("meta_data", {}).items():
        if build["meta_data"].get(key) != value:
            yield f"meta-data {key!r} is {build['meta_data'].get(key)!r}, expected {value!r}"
    for context, shape in expect.get("annotations", {}).items():
        shown = outcome.annotations.get(context, {})
        for member, value in shape.items():
            if shown.get(member) != value:
                yield f"annotation {context!r}: {member} is {shown.get(member)!r}, expected {value!r}"
    if "artifacts" in expect and outcome.artifacts != expect["artifacts"]:
        yield f"artifacts are {outcome.artifacts}, expected {expect['artifacts']}"


def _for_pairing(row: Mapping[str, Any], pairing: Pairing) -> dict[str, Any]:
    """An expectation with the variant for this runner, then for this pairing, laid over it."""
    plain = {name: value for name, value in row.items() if name not in {OURS, STOCK, *PAIRING_NAMES}}
    crossed = row.get(pairing.name, {}) if pairing.signer != pairing.runner else {}
    return {**plain, **row.get(pairing.runner, {}), **crossed}


def _compare_job(
    name: str, row: Mapping[str, Any], job: Mapping[str, Any], outcome: Outcome, pairing: Pairing
) -> Iterator[str]:
    if job["state"] != row.get("state", "passed"):
        reason = f" ({job['reason']})" if job["reason"] else ""
        yield f"{name}: is {job['state']}{reason}, expected {row.get('state', 'passed')}"
    for member in _PLAIN_MEMBERS:
        if member in row and job.get(member) != row[member]:
            yield f"{name}: {member} is {job.get(member)!r}, expected {row[member]!r}"
    if "reason" in row and row["reason"] not in (job["reason"] or ""):
        yield f"{name}: reason is {job['reason']!r}, expected one with {row['reason']!r}"
    if "refusal" in row and pairing.runner == OURS:
        code = (job["refusal"] or {}).get("code")
        if code != row["refusal"]:
            yield f"{name}: refused with {code!r}, expected {row['refusal']!r}"
    log = outcome.logs.get(job["id"], "")
    lines = log.splitlines()
    yield from _missing_lines(name, row.get("lines", ()), lines)
    for text in row.get("log", ()):
        if text not in log:
            yield f"{name}: {text!r} is not in its log"
    for text in row.get("absent", ()):
        if text in log:
            yield f"{name}: {text!r} is in its log"
    for text, count in row.get("times", {}).items():
        if log.count(text) != count:
            yield f"{name}: {text!r} is {log.count(text)} times in its log, expected {count}"


def _missing_lines(name: str, wanted: Sequence[str], lines: Sequence[str]) -> Iterator[str]:
    """Lines that do not occur whole and in this order."""
    position = 0
    for line in wanted:
        try:
            position = lines.index(line, position) + 1
        except ValueError:
            where = "in its log" if line not in lines else "in this place of its log"
            yield f"{name}: there is no line {line!r} {where}"


def _compare_warnings(wanted: Sequence[str], warnings: Sequence[str]) -> Iterator[str]:
    for text in wanted:
        if not any(text in warning for warning in warnings):
            yield f"no warning says {text!r}: {list(warnings)}"
    for warning in warnings:
        if not any(text in warning for text in wanted):
            yield f"unexpected warning {warning!r}"

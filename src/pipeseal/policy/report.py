"""What a decision log says, for each pipeline: how many jobs ran, and which would have been refused, for what."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from pipeseal.errors import escape_control
from pipeseal.errors.codes import find_code

MAX_LINE_BYTES = 1 << 20
_DECISIONS = ("approved", "observed", "refused")


@dataclass(slots=True)
class PipelineSummary:
    """One pipeline.

    Parameters:
        decisions: how often each was made.
        codes: how many jobs each code was found in.
        examples: for each code the last message, and the job it was about.
        fields: for each code the variables or fields it was about, by how often.
    """

    decisions: Counter[str] = field(default_factory=Counter)
    codes: Counter[str] = field(default_factory=Counter)
    examples: dict[str, tuple[str, str]] = field(default_factory=dict)
    fields: dict[str, Counter[str]] = field(default_factory=dict)


@dataclass(slots=True)
class Summary:
    """A whole log.

    Parameters:
        pipelines: by `ORGANISATION/PIPELINE`, or by repository where jobs name no pipeline.
        unreadable: lines that are no decisions.
    """

    pipelines: dict[str, PipelineSummary] = field(default_factory=dict)
    unreadable: int = 0

    def document(self) -> dict[str, Any]:
        """All of it, for JSON."""
        return {
            "pipelines": {
                name: {
                    "jobs": {decision: pipeline.decisions[decision] for decision in _DECISIONS},
                    "findings": [
                        {
                            "code": code,
                            "jobs": count,
                            "message": pipeline.examples[code][0],
                            "job": pipeline.examples[code][1],
                            "fields": dict(pipeline.fields[code].most_common(20)),
                        }
                        for code, count in pipeline.codes.most_common()
                    ],
                }
                for name, pipeline in sorted(self.pipelines.items())
            },
            "unreadable_lines": self.unreadable,
        }

    def lines(self) -> list[str]:
        """All of it, for people."""
        if not self.pipelines:
            return ["No decisions."]
        lines = []
        for name, pipeline in sorted(self.pipelines.items()):
            counts = pipeline.decisions
            lines.append(
                f"{escape_control(name)}: {sum(counts.values())} jobs, {counts['refused']} refused, "
                f"{counts['observed']} would have been"
            )
            for code, count in pipeline.codes.most_common():
                message, job = pipeline.examples[code]
                lines.append(f"  {count:>6}  {code}: {escape_control(message)}")
                names = ", ".join(escape_control(known) for known, _ in pipeline.fields[code].most_common(8))
                row = find_code(code)
                lines += [f"          about  {names}"] if names else []
                lines += [f"          do     {row.fix}"] if row is not None else []
                lines.append(f"          job    {escape_control(job)}")
            lines.append("")
        if self.unreadable:
            lines.append(f"{self.unreadable} lines are no decisions and were left out.")
        if not any(pipeline.codes for pipeline in self.pipelines.values()):
            lines.append("Nothing was or would have been refused: enforcing changes nothing for these jobs.")
        return [line for index, line in enumerate(lines) if line or index + 1 < len(lines)]


def summarize(lines: Iterable[bytes], *, since: float | None = None) -> Summary:
    """What a log says.

    Parameters:
        lines: of the log; what is not a decision is counted and left out.
        since: seconds since the epoch; None for all of it.
    """
    summary = Summary()
    for line in lines:
        record = _read(line)
        if record is None:
            summary.unreadable += bool(line.strip())
            continue
        if since is not None and _time(record) < since:
            continue
        place = "/".join(part for part in (_text(record, "organization"), _text(record, "pipeline")) if part)
        pipeline = summary.pipelines.setdefault(
            place or _text(record, "repository") or "(unnamed)", PipelineSummary()
        )
        pipeline.decisions[_text(record, "decision")] += 1
        findings = record.get("findings")
        seen = set()
        for finding in findings if isinstance(findings, list) else ():
            if not isinstance(finding, dict) or not (code := _text(finding, "code")):
                continue
            if code not in seen:
                pipeline.codes[code] += 1
            seen.add(code)
            pipeline.examples[code] = (_text(finding, "message"), _text(record, "job"))
            names = finding.get("fields")
            pipeline.fields.setdefault(code, Counter()).update(
                name for name in (names if isinstance(names, list) else ()) if isinstance(name, str)
            )
    return summary


def _read(line: bytes) -> dict[str, Any] | None:
    if len(line) > MAX_LINE_BYTES:
        return None
    try:
        record = json.loads(line)
    except (ValueError, RecursionError):
        return None
    if not isinstance(record, dict) or record.get("decision") not in _DECISIONS:
        return None
    return record


def _text(record: dict[str, Any], name: str) -> str:
    value = record.get(name)
    return value if isinstance(value, str) else ""


def _time(record: dict[str, Any]) -> float:
    from datetime import datetime

    try:
        return datetime.fromisoformat(_text(record, "time")).timestamp()
    except (ValueError, OverflowError):
        return 0.0

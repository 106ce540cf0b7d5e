"""Builds, jobs and logs as people read them on a terminal. Everything shown came from a server or a job: escaped."""

from __future__ import annotations

import re
from datetime import datetime
from typing import Any

from pipeseal.cli.rest_client import items, members, text
from pipeseal.errors import escape_control

# ECMA-48: strings that end with BEL or ESC \, CSI sequences, two-character sequences.
_STRING_SEQUENCE = re.compile(r"\x1b[P\]^_X].*?(?:\x07|\x1b\\|$)")
_CSI = re.compile(r"\x1b\[([0-?]*)[ -/]*([@-~])")
_ESCAPE = re.compile(r"\x1b.?")
_COLOUR = re.compile(r"[0-9;:]*")
_RESET = "\x1b[0m"


def clean_line(line: str, *, colours: bool) -> str:
    """A line of a log that is safe on a terminal.

    Parameters:
        line: without its line feed.
        colours: keep colours and styles (SGR); everything else that controls a terminal goes.

    Returns:
        What a terminal would leave standing of it, with further control characters escaped.
    """
    line = line.rstrip("\r").rpartition("\r")[2]
    if "\x1b" not in line:
        return escape_control(line.replace("\t", "    "))
    line = _STRING_SEQUENCE.sub("", line)
    parts: list[str] = []
    at = 0
    coloured = False
    for match in _CSI.finditer(line):
        parts.append(_plain(line[at : match.start()]))
        if colours and match[2] == "m" and _COLOUR.fullmatch(match[1]):
            parts.append(match[0])
            coloured = True
        at = match.end()
    parts.append(_plain(line[at:]))
    return "".join(parts) + (_RESET if coloured else "")


def _plain(piece: str) -> str:
    return escape_control(_ESCAPE.sub("", piece).replace("\t", "    "))


def job_name(job: dict[str, Any]) -> str:
    """What to call a job: its label, key or command, and its place among its like."""
    command = str(job.get("command") or "").strip().split("\n")[0]
    name = text(job.get("label") or job.get("step_key") or command[:60] or job.get("type"))
    total, index = job.get("parallel_group_total"), job.get("parallel_group_index")
    if isinstance(total, int) and isinstance(index, int):
        name += f" ({index + 1}/{total})"
    matrix = job.get("matrix")
    if isinstance(matrix, dict) and matrix and not job.get("label"):
        name += " [" + ", ".join(text(f"{key}={value}" if key else value) for key, value in matrix.items()) + "]"
    if job.get("retries_count"):
        name += f" (retry {text(job['retries_count'])})"
    return name


def job_state(job: dict[str, Any]) -> str:
    """The state of a job in a word or two."""
    if job.get("refusal"):
        return "refused"
    state = text(job.get("state"))
    if job.get("soft_failed"):
        return f"{state} (soft)"
    if state == "failed" and job.get("signal_reason"):
        return f"failed ({text(job['signal_reason'])})"
    if state == "failed" and job.get("exit_status") is not None:
        return f"failed ({text(job['exit_status'])})"
    return state


def render_build(build: dict[str, Any]) -> str:
    """A build with its jobs, its warnings, and why any job was refused."""
    pipeline = members(build.get("pipeline") or {})
    lines = [f"Build #{text(build.get('number'))} of {text(pipeline.get('slug'))}: {text(build.get('state'))}"]
    lines.append(f"  {text(build.get('branch'))} @ {text(build.get('commit'))}")
    subject = str(build.get("message") or "").split("\n")[0]
    if subject:
        lines.append(f"  {text(subject)}")
    lines += [f"  warning: {text(warning)}" for warning in build.get("warnings") or []]
    jobs = [job for job in items(build.get("jobs") or []) if job.get("type") != "waiter"]
    names = [job_name(job) for job in jobs]
    states = [job_state(job) for job in jobs]
    name_width = min(max(map(len, names), default=0), 60)
    state_width = max(map(len, states), default=0)
    lines.append("")
    for job, name, state in zip(jobs, names, states, strict=True):
        agent = job.get("agent")
        where = text(members(agent).get("name")) if agent else ""
        facts = [duration(job), where, text(job.get("id"))]
        lines.append(f"  {state:<{state_width}}  {name:<{name_width}}  {'  '.join(fact for fact in facts if fact)}")
        if job.get("reason") and not job.get("refusal"):
            lines.append(f"  {'':<{state_width}}  {text(job['reason'])}")
        if observed := observed_line(job):
            lines.append(f"  {'':<{state_width}}  {observed}")
    for job, name in zip(jobs, names, strict=True):
        if job.get("refusal"):
            lines += ["", render_refusal(job, name)]
    return "\n".join(lines)


def observed_line(job: dict[str, Any]) -> str:
    """What would have refused a job that ran, as its agent told the server; empty when nothing would have."""
    decision = members(job.get("decision") or {})
    codes = [text(finding.get("code")) for finding in items(decision.get("findings") or [])]
    if not codes or job.get("refusal"):
        return ""
    mode = text(decision.get("mode"))
    return f"would have been refused: {', '.join(dict.fromkeys(codes))} (the policy's mode is {mode})"


def render_refusal(job: dict[str, Any], name: str) -> str:
    """Why an agent refused a job: code, what differed, what to do."""
    refusal = members(job.get("refusal"))
    code = text(refusal.get("code"))
    agent = job.get("agent")
    by = f" by agent {text(members(agent).get('name'))}" if agent else ""
    lines = [f"{name}: REFUSED{by}, nothing was run", f"error[{code}]: {text(refusal.get('message'))}"]
    fields = refusal.get("fields")
    if isinstance(fields, list) and fields:
        lines.append(f"  differs      {', '.join(text(field) for field in fields)}")
    evidence = refusal.get("evidence")
    if isinstance(evidence, dict):
        lines += [f"  {text(key):<12} {text(value)}" for key, value in evidence.items()]
    lines.append(f"  more: pipeseal explain {code}")
    return "\n".join(lines)


def duration(job: dict[str, Any]) -> str:
    """How long a job ran; empty when it has not ended."""
    try:
        start = datetime.fromisoformat(str(job["started_at"]))
        end = datetime.fromisoformat(str(job["finished_at"]))
    except (KeyError, ValueError):
        return ""
    seconds = (end - start).total_seconds()
    return f"{seconds:.1f}s" if seconds < 60 else f"{int(seconds // 60)}m{int(seconds % 60):02}s"

"""What this agent decided of jobs, as it writes it down for its operator, and as it tells a server that asks.

The decision log has one JSON line for each job; `pipeseal policy report` reads it. A server is told names and digests
alone: what a message says of values stays here.
"""

from __future__ import annotations

import errno
import json
import os
import threading
from collections.abc import Sequence
from pathlib import Path

from pipeseal.agentapi.job import Job
from pipeseal.agentapi.messages import Decision, ObservedFinding
from pipeseal.clock import render_timestamp
from pipeseal.errors import ConfigurationError, escape_control
from pipeseal.policy.decision import ApprovedJob, Refused
from pipeseal.policy.facts import Finding

MAX_TEXT = 300
# Of what a server is told: a job's step may hold any number of names, of any length.
MAX_TOLD = 20
MAX_TOLD_TEXT = 100
NO_KEYS = "off"
NO_PROOF = "none"


def tell_decision(decision: ApprovedJob | Refused, unstarted: Finding | None = None) -> Decision:
    """What a server is told of a decision.

    Parameters:
        decision: what was decided.
        unstarted: why an approved job was not to start, and was started all the same.
    """
    mode = NO_KEYS if decision.mode is None else decision.mode.value
    if isinstance(decision, Refused):
        return Decision(mode=mode, proof=NO_PROOF)  # the refusal says why
    findings = (*decision.findings, *([unstarted] if unstarted is not None else []))
    key = decision.verified.key if decision.verified is not None else None
    return Decision(
        mode=mode,
        proof=NO_PROOF if decision.proof is None else decision.proof.value,
        key="" if key is None else _told(key.kid),
        thumbprint="" if key is None else key.thumbprint,
        seal=decision.seal_digest,
        findings=[
            ObservedFinding(code=finding.code, fields=[_told(name) for name in finding.fields[:MAX_TOLD]])
            for finding in findings[:MAX_TOLD]
        ],
    )


def _told(name: str) -> str:
    """A name as it can be sent: it may come from a step that nobody has signed."""
    return escape_control(name[:MAX_TOLD_TEXT])[:MAX_TOLD_TEXT]


class DecisionLog:
    """Appends decisions to a file; several agents may share one.

    Parameters:
        path: the file; made when it is not there, for its owner alone to read.

    Raises:
        ConfigurationError: `config.value`: it cannot be written.
    """

    def __init__(self, path: Path) -> None:
        self._lock = threading.Lock()
        self._is_torn = False  # the last line was cut off
        try:
            flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC
            self._descriptor = os.open(path, flags, 0o600)
        except OSError as error:
            raise ConfigurationError(
                "config.value", f"the decision log {path} cannot be written: {error.strerror}"
            ) from None

    def close(self) -> None:
        """Close the file."""
        os.close(self._descriptor)

    def write(
        self,
        decision: ApprovedJob | Refused,
        job: Job,
        *,
        agent: str,
        job_id: str,
        now: float,
        unstarted: Finding | None = None,
        refused: bool = False,
    ) -> None:
        """Note a decision.

        Parameters:
            decision: what was decided.
            job: what was decided about.
            agent: the agent's name.
            job_id: the job's id.
            now: seconds since the epoch.
            unstarted: why an approved job was not to start all the same.
            refused: whether it did not, for that reason.

        Raises:
            OSError: it cannot be written; the disk may be full.
        """
        line = json.dumps(
            _record(decision, job, unstarted, refused=refused, agent=agent, job_id=job_id, now=now),
            separators=(",", ":"),
            ensure_ascii=True,
        )
        with self._lock:
            # One write: lines of several agents do not mix (POSIX: appends are atomic). After a line that a full disk
            # cut, the next begins on a line of its own.
            data = b"\n" * self._is_torn + line.encode() + b"\n"
            written = os.write(self._descriptor, data)
            self._is_torn = written < len(data)
            if self._is_torn:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def _record(
    decision: ApprovedJob | Refused,
    job: Job,
    unstarted: Finding | None,
    *,
    refused: bool,
    agent: str,
    job_id: str,
    now: float,
) -> dict[str, object]:
    is_refused = refused or isinstance(decision, Refused)
    findings = (*decision.findings, *([unstarted] if unstarted is not None else []))
    env = job.env
    record: dict[str, object] = {
        "time": render_timestamp(now),
        "agent": _short(agent),
        "job": job_id,
        "decision": "refused" if is_refused else "observed" if findings else "approved",
        "organization": _short(env.get("BUILDKITE_ORGANIZATION_SLUG", "")),
        "pipeline": _short(env.get("BUILDKITE_PIPELINE_SLUG", "")),
        "repository": _short(env.get("BUILDKITE_REPO", "")),
        "step": _short(env.get("BUILDKITE_STEP_KEY") or env.get("BUILDKITE_LABEL", "")),
        "section": decision.section,
        "mode": NO_KEYS if decision.mode is None else decision.mode.value,
        "findings": _findings(findings),
    }
    if isinstance(decision, ApprovedJob):
        record["proof"] = decision.proof.value if decision.proof is not None else NO_PROOF
        if decision.verified is not None:
            record["key"] = decision.verified.key.kid
        if decision.seal_digest:
            record["seal"] = decision.seal_digest
    return record


def _findings(findings: Sequence[Finding]) -> list[dict[str, object]]:
    return [
        {"code": finding.code, "message": _short(finding.message), "fields": list(finding.fields[:20])}
        for finding in findings
    ]


def _short(text: str) -> str:
    return text if len(text) <= MAX_TEXT else f"{text[:MAX_TEXT]}…"

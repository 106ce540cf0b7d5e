"""What agents say their policies made of jobs: kept as it is told, within bounds, and shown as the server's word.

It is told with the end of a job, by whoever holds the token of that job. It proves nothing and decides nothing here:
no build goes on or stops for it, and what an agent does with the next job is in its own policy.
"""

from __future__ import annotations

from sqlite3 import Row
from typing import Any

import msgspec

from pipeseal.agentapi.messages import Decision, ObservedFinding
from pipeseal.controlplane.domain.rollout import PROOFS, STAGES, UNKNOWN
from pipeseal.controlplane.store import agents as agent_store
from pipeseal.controlplane.store import decisions as decision_store
from pipeseal.controlplane.store.database import Transaction

# An agent of ours sends no more; of anybody else's words so much is kept.
_MOST = 20
_MAX_TEXT = 200


def keep_decision(tx: Transaction, job: Row, told: Decision) -> None:
    """Keep what the agent of a job, whose token was checked, says of it."""
    mode = told.mode if told.mode in STAGES else UNKNOWN
    findings = [
        ObservedFinding(code=finding.code[:_MAX_TEXT], fields=[name[:_MAX_TEXT] for name in finding.fields[:_MOST]])
        for finding in told.findings[:_MOST]
    ]
    decision_store.insert_decision(
        tx,
        job["id"],
        mode=mode,
        proof=told.proof if told.proof in PROOFS else UNKNOWN,
        kid=told.key[:_MAX_TEXT],
        thumbprint=told.thumbprint[:_MAX_TEXT],
        seal=told.seal[:_MAX_TEXT],
        findings=msgspec.json.encode(findings).decode(),
        observed=len(findings),
    )
    agent_store.set_policy_mode(tx, job["agent_id"], mode)


def decision_shape(row: Row) -> dict[str, Any] | None:
    """What was told of a job, from its row joined with the decision's; None when nothing was."""
    if row["decision_mode"] is None:
        return None
    return {
        "mode": row["decision_mode"],
        "proof": row["decision_proof"],
        "key": row["decision_kid"] or None,
        "thumbprint": row["decision_thumbprint"] or None,
        "seal": row["decision_seal"] or None,
        "findings": msgspec.Raw(row["decision_findings"].encode()),
    }

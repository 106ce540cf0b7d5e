"""How often a proven job may be started: what an agent has to ask its ledger before anything of the job happens.

A proof says what may run, and says it for as long as it is good; that it has not run before is nothing a proof can
say. So starts are counted, by whoever runs the agents. Each job of a step has a place of its own, which is made of
what is proven: the seal, the matrix values, the index. How often the server says that a job was tried plays no part.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from hashlib import sha256
from typing import Final

from pipeseal.agentapi.job import Job
from pipeseal.policy.proof import ProvenJob
from pipeseal.policy.values import OBJECT_ID
from pipeseal.signing.seal.envelope import Seal
from pipeseal.signing.seal.verify import LEEWAY_SECONDS

BUILD_ID: Final = "BUILDKITE_BUILD_ID"
DAY_SECONDS: Final = 86_400
# Clocks of agents that share a ledger may differ by this much, and nothing is forgotten too early.
SLACK_SECONDS: Final = DAY_SECONDS
# What is remembered of jobs whose build, or whose id alone, is the server's word: more would keep it from nothing.
TOLD_SECONDS: Final = 30 * DAY_SECONDS


@dataclass(frozen=True, slots=True, kw_only=True)
class StartRequest:
    """One more start of a job, as a ledger is asked for it.

    Parameters:
        place: what is counted: SHA-256 in lower-case hex of the proof, the matrix values, the index and, where the
            proof names no build, of what stands in for it.
        subject: the same for people.
        attempts: how many starts there may be in this place; None when nobody says.
        exclusive: one start, whatever `attempts` says.
        keep_until: seconds since 1970 until which the start has to be remembered; None for ever.
        observed: a policy that does not enforce wants it reported, not refused.
    """

    place: str
    subject: str
    attempts: int | None
    exclusive: bool
    keep_until: int | None
    observed: bool = False

    @property
    def most(self) -> int | None:
        """How many starts there may be; None for any number."""
        return 1 if self.exclusive else self.attempts


def request_start(
    job: Job,
    proven: ProvenJob,
    *,
    now: float,
    max_attempts: int | None = None,
    static_starts: int | None = None,
    on_branch: bool = False,
    observed: bool = False,
) -> StartRequest:
    """What a ledger has to be asked before a proven job starts.

    A seal of a build is one place for each combination of its matrix and each index. A static seal has a place for
    each build that the server tells of, or, where the policy limits it or the step is exclusive, for each commit that
    the agent finds on an allowed branch. A signature alone says nothing of attempts and indices: its place is made of
    what it says, and of the index, and without a binding the build, as the server tells them.

    Parameters:
        job: what the server sent.
        proven: what is proven of it.
        now: seconds since 1970.
        max_attempts: the policy's; it lowers what a seal allows.
        static_starts: how often the policy lets a static step start for one commit; None without such a limit.
        on_branch: whether the commit must be part of an allowed branch.
        observed: see `StartRequest`.
    """
    seal = proven.seal
    index = job.env.get("BUILDKITE_PARALLEL_JOB", "")
    facts: dict[str, str] = {}
    told_build = job.env.get(BUILD_ID, "")
    exclusive = False
    if seal is None:
        kind, subject, words = "signature", proven.verified.digest, f"signed step {proven.verified.digest[:12]}…"
        attempts = max_attempts
        is_bound = BUILD_ID in proven.verified.environment
        if not is_bound:
            facts["build"] = told_build
        # A signature does not expire, so what it may do no more must never be forgotten.
        keep_until = None if is_bound and attempts is not None else int(now) + TOLD_SECONDS
    else:
        kind, subject, words = "seal", seal.digest, f"seal {seal.digest[:12]}…"
        attempts = seal.attempts if max_attempts is None else min(seal.attempts, max_attempts)
        exclusive = seal.exclusive
        keep_until = _end_of(seal)
        if seal.is_static:
            kind = "static seal"
            commit = proven.commit or job.env.get("BUILDKITE_COMMIT", "") or "HEAD"
            facts["commit"] = commit
            is_known = (on_branch or bool(proven.commit)) and OBJECT_ID.admits(commit)
            if static_starts is not None:
                attempts = static_starts if max_attempts is None else min(static_starts, max_attempts)
            elif not (exclusive and is_known):
                facts["build"] = told_build
                keep_until = int(now) + TOLD_SECONDS
    permutation = sorted((job.matrix_permutation or {}).items())
    place = json.dumps([kind, subject, permutation, index, sorted(facts.items())], separators=(",", ":"))
    return StartRequest(
        place=sha256(place.encode("utf-8", "surrogatepass")).hexdigest(),
        subject=_words(words, permutation, index),
        attempts=attempts,
        exclusive=exclusive,
        keep_until=keep_until,
        observed=observed,
    )


def _end_of(seal: Seal) -> int | None:
    return None if seal.expires is None else seal.expires + int(LEEWAY_SECONDS) + SLACK_SECONDS


def _words(subject: str, permutation: list[tuple[str, str]], index: str) -> str:
    values = ", ".join(f"{name}={value}" if name else value for name, value in permutation)
    return subject + (f" ({values})" if values else "") + (f", job {index}" if index else "")

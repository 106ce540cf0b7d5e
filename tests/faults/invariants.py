"""What must hold whatever failed: each job has one outcome, each log line is there once, nothing ran twice."""

from __future__ import annotations

import re
import time
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tests.controlplane.running import Api, job_states

# In a state of these nothing more happens to a job or a build, unless a person wants it.
ENDED_JOB = {"passed", "failed", "canceled", "timed_out", "skipped", "broken", "waiting_failed", "blocked_failed"}
ENDED_BUILD = {"passed", "failed", "canceled", "skipped", "not_run"}
# Of the address of a build: also the jobs that were retried.
ALL_JOBS = "include_retried_jobs=true"
# How many numbered lines a job of these tests prints.
LINES = 3

_LINE = re.compile(rb"line ([0-9]+) of ([0-9a-f-]{36})")


def numbered_lines(job_id: str) -> bytes:
    """What a job prints."""
    return b"".join(f"line {number} of {job_id}\n".encode() for number in range(1, LINES + 1))


def shell_job(ran: Path) -> str:
    """A job for a real agent: notes in `ran`, once for each time it runs, that it ran, and prints its lines.

    The note is one `write` to a file opened to append, so that jobs at the same time do not mix theirs.
    """
    count = " ".join(str(number) for number in range(1, LINES + 1))
    return f"echo $BUILDKITE_JOB_ID >> {ran}; for n in {count}; do echo line $n of $BUILDKITE_JOB_ID; done"


def read_ran(ran: Path) -> Counter[str]:
    """How often each job ran."""
    return Counter(ran.read_text("utf-8").split()) if ran.exists() else Counter()


def check_build(api: Api, build: Mapping[str, Any], ran: Mapping[str, int]) -> None:
    """Check a build that has ended.

    Parameters:
        ran: how often the command of each job ran.
    """
    assert build["state"] in ENDED_BUILD, (build["state"], job_states(build))
    jobs = [job for job in build["jobs"] if job["type"] == "script"]
    by_id = {job["id"]: job for job in jobs}
    retried_in = Counter(job["retried_in_job_id"] for job in jobs if job["retried"])
    assert all(count == 1 for count in retried_in.values()), f"two jobs have one retry: {retried_in}"
    for job in build["jobs"]:
        assert job["state"] in ENDED_JOB, f"job {job['id']} never came to an end: {job['state']}"
    for job in jobs:
        _check_job(api, build, job, ran.get(job["id"], 0))
        if job["retried"]:
            assert job["state"] in ("failed", "timed_out", "canceled"), f"{job['id']} was retried and {job['state']}"
            following = by_id[job["retried_in_job_id"]]
            assert following["retries_count"] == job["retries_count"] + 1
    # Each place of each step, retries left out, has one job.
    places = Counter((job["step"]["id"], job["parallel_group_index"]) for job in jobs if not job["retried"])
    assert all(count == 1 for count in places.values()), f"a step has two outcomes: {places}"


def _check_job(api: Api, build: Mapping[str, Any], job: Mapping[str, Any], times: int) -> None:
    name = f"job {job['id']} ({job['label'] or job['step_key']}, {job['state']}, {job['signal_reason']})"
    lost = job["signal_reason"] in ("agent_lost", "cancel", "agent_stop") or job["state"] in ("canceled", "timed_out")
    assert job["finished_at"] is not None, f"{name} has no end"
    if job["started_at"] is None:
        assert times == 0, f"{name} ran {times} times and was never started"
        return
    if lost:
        assert times <= 1, f"{name} ran {times} times"
    else:
        assert times == 1, f"{name} ran {times} times"
    log = api.log(build, job["id"])
    numbers = [int(number) for number, job_id in _LINE.findall(log) if job_id.decode() == job["id"]]
    strangers = {job_id for _, job_id in _LINE.findall(log)} - {job["id"].encode()}
    assert not strangers, f"{name} has lines of {strangers}"
    wanted = list(range(1, LINES + 1))
    if lost:
        assert numbers == wanted[: len(numbers)], f"{name} has the lines {numbers}"
    else:
        assert numbers == wanted, f"{name} has the lines {numbers}: {log!r}"
        assert job["log_missing_bytes"] in (0, None), f"{name} lost {job['log_missing_bytes']} bytes of its log"
        assert not job["chunks_failed"], f"{name} lost {job['chunks_failed']} chunks of its log"


class Outcomes:
    """Notes how jobs ended whenever it looks, and sees when one ends twice."""

    def __init__(self) -> None:
        self._ends: dict[str, tuple[str, Any, Any]] = {}

    def look(self, build: Mapping[str, Any]) -> None:
        """Compare with what was seen before."""
        for job in build["jobs"]:
            known = self._ends.get(job["id"])
            if job["state"] in ENDED_JOB and not job["state"].endswith("_failed"):
                end = (job["state"], job.get("exit_status"), job["finished_at"])
                assert known in (None, end), f"job {job['id']} ended twice: {known}, then {end}"
                self._ends[job["id"]] = end
            else:
                assert known is None, f"job {job['id']} ended as {known} and is {job['state']} now"


def wait_for_end(
    api: Api, number: int, slug: str = "demo", *, seconds: float = 60, outcomes: Outcomes | None = None
) -> dict[str, Any]:
    """Wait until a build has ended; errors of the server, and no answer at all, are waited out."""
    outcomes = outcomes or Outcomes()
    deadline = time.monotonic() + seconds
    last = "no answer"
    while True:
        try:
            answer = api.rest("GET", f"/pipelines/{slug}/builds/{number}?{ALL_JOBS}", timeout=5)
        except OSError as error:
            last = repr(error)
        else:
            if answer.status == 200:
                build: dict[str, Any] = answer.json
                outcomes.look(build)
                last = f"{build['state']}: {Counter(job_states(build).values())}"
                if build["state"] in ENDED_BUILD:
                    return build
            else:
                last = f"{answer.status} {answer.json}"
        assert time.monotonic() < deadline, f"build {number} of {slug} does not end: {last}"
        time.sleep(0.05)

"""One trace for each build, told from the database when a job or the build has ended.

Its ids are derived from those of build and jobs. So nothing of it is kept anywhere, an agent can be told its place
before the span is there, and any server tells of any job, however often servers were started anew meanwhile.
"""

from __future__ import annotations

import asyncio
import logging
from collections import OrderedDict
from collections.abc import Iterator
from sqlite3 import Row
from typing import TYPE_CHECKING, Final

from pipeseal.agentapi.traceparent import TraceContext, render_traceparent
from pipeseal.controlplane.domain.build import BuildState
from pipeseal.controlplane.domain.job import JobState
from pipeseal.controlplane.services.metrics import known_code
from pipeseal.controlplane.store import builds as build_store
from pipeseal.controlplane.store.database import Transaction
from pipeseal.policy.values import AGENT_NAME, KEY, OBJECT_ID, WORD, ValueType
from pipeseal.tracing.spans import Span, Tracing, derived_context

if TYPE_CHECKING:
    from pipeseal.controlplane.services.plane import ControlPlane

_log = logging.getLogger("pipeseal.server")
_ROOT: Final = "build"
# Transactions of which it was told already: one may bring a build up to date several times.
_REMEMBERED: Final = 1000
_NANOSECONDS: Final = 1000  # in a microsecond
# https://opentelemetry.io/docs/specs/semconv/registry/attributes/cicd/
_BUILD_RESULTS: Final = {
    BuildState.PASSED: "success",
    BuildState.FAILED: "failure",
    BuildState.CANCELED: "cancellation",
    BuildState.SKIPPED: "skip",
}
_JOB_RESULTS: Final = {
    JobState.PASSED: "success",
    JobState.FAILED: "failure",
    JobState.TIMED_OUT: "timeout",
    JobState.CANCELED: "cancellation",
    JobState.SKIPPED: "skip",
    JobState.BROKEN: "skip",
    JobState.WAITING_FAILED: "skip",
    JobState.BLOCKED_FAILED: "skip",
}


class BuildTraces:
    """The traces of this server's builds.

    Parameters:
        tracing: where spans go.
        plane: the control plane.
    """

    def __init__(self, tracing: Tracing, plane: ControlPlane) -> None:
        self._tracing = tracing
        self._plane = plane
        self._told: OrderedDict[tuple[str, int], None] = OrderedDict()
        self._telling: set[asyncio.Task[None]] = set()

    def traceparent(self, build_id: str, job_id: str) -> str:
        """What the agent of a job is told of the trace that the job belongs to."""
        return render_traceparent(self._place("job", build_id, job_id))

    def tell_later(self, build_id: str, now: int) -> None:
        """A transaction that may have ended something is durable; from any thread.

        Parameters:
            now: the time of the transaction, microseconds since the epoch.
        """
        self._plane.events.call(lambda: self._begin(build_id, now))

    def _begin(self, build_id: str, now: int) -> None:
        key = (build_id, now)
        if key in self._told:
            return
        self._told[key] = None
        if len(self._told) > _REMEMBERED:
            self._told.popitem(last=False)
        task = asyncio.ensure_future(self._tell(build_id, now))
        self._telling.add(task)
        task.add_done_callback(self._telling.discard)

    async def _tell(self, build_id: str, now: int) -> None:
        def tell(tx: Transaction) -> None:
            for span in self._spans(tx, build_id, now):
                self._tracing.record(span)

        try:
            await self._plane.database.read(tell)
        except Exception as error:  # nobody waits for it, and a trace that lacks something harms no build
            _log.warning("a part of the trace of build %s was lost: %s", build_id, type(error).__name__)

    def _place(self, kind: str, build_id: str, span_of: str) -> TraceContext:
        place = derived_context(kind, build_id, span_of, is_sampled=False)
        return place._replace(is_sampled=self._tracing.is_sampled(place.trace_id, _ROOT))

    def _spans(self, tx: Transaction, build_id: str, now: int) -> Iterator[Span]:
        """What ended at `now` of a build."""
        build = build_store.get_build(tx, build_id)
        root = self._place("build", build_id, build_id)
        if not root.is_sampled:
            return
        slug = build_store.slug_of(tx, build["pipeline_id"])
        shared = {"cicd.pipeline.name": slug, "cicd.pipeline.run.id": build_id}
        for job in tx.all(
            "SELECT jobs.*, steps.key AS step_key, agents.name AS agent_name FROM jobs "
            "JOIN steps ON steps.id = jobs.step_id LEFT JOIN agents ON agents.id = jobs.agent_id "
            "WHERE jobs.build_id = :build_id AND jobs.finished_at = :now AND jobs.kind <> 'waiter'",
            build_id=build_id,
            now=now,
        ):
            yield from self._job_spans(tx, job, root, shared)
        if build["finished_at"] == now:
            yield self._build_span(tx, build, root, slug, shared)

    def _build_span(self, tx: Transaction, build: Row, root: TraceContext, slug: str, shared: dict[str, str]) -> Span:
        state = BuildState(build["state"])
        plane, number = self._plane, build["number"]
        facts: dict[str, str | int | bool] = {
            **shared,
            "cicd.pipeline.result": _BUILD_RESULTS.get(state, "error"),
            "cicd.pipeline.run.url.full": f"{plane.url}/{plane.settings.organization}/{slug}/builds/{number}",
            "pipeseal.build.number": number,
            "pipeseal.build.state": state.value,
        }
        _add(facts, "pipeseal.build.source", WORD, build["source"])
        _add(facts, "vcs.ref.head.revision", OBJECT_ID, build["commit_id"])
        links = []
        if build["triggered_from_id"] is not None:
            trigger = tx.one("SELECT build_id FROM jobs WHERE id = :id", id=build["triggered_from_id"])
            if trigger is not None:
                links.append(self._place("job", trigger["build_id"], build["triggered_from_id"]))
        if build["rebuilt_from_id"] is not None:
            links.append(self._place("build", build["rebuilt_from_id"], build["rebuilt_from_id"]))
        return Span(
            name=_ROOT,
            context=root,
            parent=None,
            began=build["created_at"] * _NANOSECONDS,
            ended=build["finished_at"] * _NANOSECONDS,
            attributes=facts,
            links=tuple(links),
            is_failed=state is BuildState.FAILED,
        )

    def _job_spans(self, tx: Transaction, job: Row, root: TraceContext, shared: dict[str, str]) -> Iterator[Span]:
        """A job, and where its time went: waiting for steps, queued for an agent, with an agent, running."""
        state, build_id = JobState(job["state"]), job["build_id"]
        place = self._place("job", build_id, job["id"])
        facts: dict[str, str | int | bool] = {
            **shared,
            "cicd.pipeline.task.run.id": job["id"],
            "cicd.pipeline.task.run.result": _JOB_RESULTS.get(state, "error"),
            "pipeseal.job.kind": job["kind"],
            "pipeseal.job.state": state.value,
            "pipeseal.job.retries": job["retry_count"],
        }
        _add(facts, "cicd.pipeline.task.name", KEY, job["step_key"])
        _add(facts, "cicd.worker.id", WORD, job["agent_id"])
        _add(facts, "cicd.worker.name", AGENT_NAME, job["agent_name"])
        if job["exit_status"] is not None and job["exit_status"] >= 0:
            facts["process.exit.code"] = job["exit_status"]
        if job["refusal"] is not None:
            facts["pipeseal.code"] = known_code(job["refusal"])
        links = []
        retried = tx.one(
            "SELECT id FROM jobs WHERE build_id = :build_id AND retried_in = :id", build_id=build_id, id=job["id"]
        )
        if retried is not None:
            links.append(self._place("job", build_id, retried["id"]))
        if job["triggered_build_id"] is not None:
            links.append(self._place("build", job["triggered_build_id"], job["triggered_build_id"]))
        is_failed = state in (JobState.FAILED, JobState.TIMED_OUT)
        began, ended = job["created_at"] * _NANOSECONDS, job["finished_at"] * _NANOSECONDS
        moments = [("waiting", job["created_at"]), ("queued", job["runnable_at"])]
        moments += [("assigned", job["accepted_at"]), ("running", job["started_at"])]
        known = [(name, moment * _NANOSECONDS) for name, moment in moments if moment is not None]
        for (name, begins), (_, ends) in zip(known, [*known[1:], ("", ended)], strict=True):
            if ends > begins:
                within = derived_context(f"job {name}", build_id, job["id"], is_sampled=place.is_sampled)
                yield Span(name=name, context=within, parent=place, began=begins, ended=ends)
        yield Span(
            name="job",
            context=place,
            parent=root,
            began=began,
            ended=ended,
            attributes=facts,
            links=tuple(links),
            is_failed=is_failed,
        )


def _add(facts: dict[str, str | int | bool], name: str, form: ValueType, value: str | None) -> None:
    """Tell what somebody chose only where it has the form that it should have."""
    if value and form.admits(value):
        facts[name] = value

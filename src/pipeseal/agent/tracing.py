"""The trace of a job: what its agent did from the answer to the ping to the end, and how long each of it took.

Without tracing there is no `JobTrace`, and `span_of` costs a comparison. What the server says of traces is taken only
where the operator wants that (`tracing-propagate-traceparent`), and then it is the name of a trace and nothing more:
it decides neither what runs nor whether this agent's spans are sent.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import TYPE_CHECKING

from pipeseal.agent.connection import MAX_ANSWER_BYTES, TIMEOUT_SECONDS, Answer, Transport
from pipeseal.agentapi.traceparent import (
    HEADER,
    VARIABLE,
    TraceContext,
    make_span_id,
    make_trace_id,
    parse_traceparent,
    render_traceparent,
)
from pipeseal.errors import MalformedInput
from pipeseal.policy.values import IDENTIFIER, KEY, OBJECT_ID, SLUG, WORD
from pipeseal.tracing.spans import Span, Stopwatch, Tracing, child_of

if TYPE_CHECKING:
    from pipeseal.policy.decision import ApprovedJob, Refused

# Which of a job's variables a trace tells, as what, and in which form alone: names and addresses are not among them.
_TOLD = (
    ("BUILDKITE_PIPELINE_SLUG", "cicd.pipeline.name", SLUG),
    ("BUILDKITE_BUILD_ID", "cicd.pipeline.run.id", IDENTIFIER),
    ("BUILDKITE_STEP_KEY", "cicd.pipeline.task.name", KEY),
    ("BUILDKITE_COMMIT", "vcs.ref.head.revision", OBJECT_ID),
)
_ROOT = "job"


class OpenSpan:
    """A span that has not ended: facts may be added."""

    __slots__ = ("attributes", "is_failed")

    def __init__(self, attributes: Mapping[str, str | int | bool]) -> None:
        self.attributes = dict(attributes)
        self.is_failed = False

    def end(self, exit_status: int) -> None:
        """What it ran has ended."""
        self.attributes["process.exit.code"] = exit_status
        self.is_failed = self.is_failed or exit_status != 0


class _NoSpan(OpenSpan):
    """Where there is no trace."""

    def end(self, exit_status: int) -> None:
        """Nobody wants to know."""


class JobTrace:
    """The trace of one job; begins when it is made.

    Parameters:
        tracing: where spans go.
        job_id: the job.
        agent_id, agent_name: who runs it.
        joins: take the trace that the server names.
        randomness: gives random bytes.
        stopwatch: the time.
    """

    def __init__(
        self,
        tracing: Tracing,
        job_id: str,
        *,
        agent_id: str,
        agent_name: str,
        joins: bool,
        randomness: Callable[[int], bytes] = os.urandom,
        stopwatch: Stopwatch | None = None,
    ) -> None:
        self._tracing = tracing
        self._joins = joins
        self._randomness = randomness
        self._stopwatch = stopwatch or Stopwatch()
        self._began = self._stopwatch.now()
        self._parent: TraceContext | None = None
        self._root = self._place_root(make_trace_id(randomness))
        self._current = self._root
        self._facts = OpenSpan(
            {"cicd.pipeline.task.run.id": job_id, "cicd.worker.id": agent_id, "cicd.worker.name": agent_name}
        )

    def _place_root(self, trace_id: str) -> TraceContext:
        return TraceContext(trace_id, make_span_id(self._randomness), self._tracing.is_sampled(trace_id, _ROOT))

    @property
    def traceparent(self) -> str:
        """Where the job is now, for whom it starts and whom it asks; may be read from any thread."""
        return render_traceparent(self._current)

    def accept(self, traceparent: str) -> None:
        """The server's answer to accept is here.

        Parameters:
            traceparent: what it says of the trace that the job belongs to; dropped unless it is one and is wanted.
        """
        if self._joins:
            try:
                self._parent = parse_traceparent(traceparent)
            except MalformedInput:
                pass  # as if nothing had been said: what a server says of traces stops no job
            else:
                # Its trace, and its span above ours; whether we send anything is for our own settings.
                self._root = self._current = self._place_root(self._parent.trace_id)
                self._parent = self._parent._replace(is_sampled=self._root.is_sampled)
        self._record("accept", child_of(self._root, self._randomness), self._root, self._began, OpenSpan({}))

    @contextmanager
    def span(self, name: str, attributes: Mapping[str, str | int | bool] | None = None) -> Iterator[OpenSpan]:
        """Something that the job's own thread does; a part of whatever that thread was doing already.

        An exception marks it as failed, by the name of its type: its text may hold anything.
        """
        parent, place = self._current, child_of(self._current, self._randomness)
        facts, began = OpenSpan(attributes or {}), self._stopwatch.now()
        self._current = place
        try:
            yield facts
        except BaseException as error:
            facts.is_failed = True
            facts.attributes["error.type"] = type(error).__name__
            raise
        finally:
            self._current = parent
            self._record(name, place, parent, began, facts)

    def tell_decision(self, decision: ApprovedJob | Refused) -> None:
        """What `policy.evaluate` said, and what of the job it proved."""
        from pipeseal.policy.decision import Refused

        if isinstance(decision, Refused):
            self._facts.attributes |= {"pipeseal.decision": "refused", "pipeseal.code": decision.code}
            return
        told = {"pipeseal.decision": "observed" if decision.findings else "approved"}
        if decision.findings:
            told["pipeseal.code"] = decision.findings[0].code
        if decision.proof is not None:
            told["pipeseal.proof"] = decision.proof.value
        if decision.verified is not None and WORD.admits(decision.verified.key.kid):
            told["pipeseal.key"] = decision.verified.key.kid
        for variable, name, form in _TOLD:
            if (value := decision.env.get(variable, "")) and form.admits(value):
                told[name] = value
        self._facts.attributes |= told

    def finish(self, outcome: str, exit_status: int, code: str) -> None:
        """The job has ended, and the server was told.

        Parameters:
            outcome: one of `health.OUTCOMES`.
            exit_status: of its command; -1 when there is none.
            code: of the refusal; empty when it was none.
        """
        facts = self._facts
        facts.attributes |= {"pipeseal.outcome": outcome, "cicd.pipeline.task.run.result": _RESULTS[outcome]}
        if exit_status >= 0:
            facts.attributes["process.exit.code"] = exit_status
        if code:
            facts.attributes["pipeseal.code"] = code
        if outcome == "refused":
            facts.attributes["pipeseal.decision"] = "refused"  # also where the ledger or a phase found out
        facts.is_failed = outcome != "passed"
        self._record(_ROOT, self._root, self._parent, self._began, facts, has_remote_parent=self._parent is not None)

    def _record(
        self,
        name: str,
        place: TraceContext,
        parent: TraceContext | None,
        began: int,
        facts: OpenSpan,
        *,
        has_remote_parent: bool = False,
    ) -> None:
        self._tracing.record(
            Span(
                name=name,
                context=place,
                parent=parent,
                began=began,
                ended=self._stopwatch.now(),
                attributes=facts.attributes,
                is_failed=facts.is_failed,
                has_remote_parent=has_remote_parent,
            )
        )


# https://opentelemetry.io/docs/specs/semconv/registry/attributes/cicd/
_RESULTS = {"passed": "success", "failed": "failure", "cancelled": "cancellation", "refused": "error"}
_NOTHING = nullcontext(_NoSpan({}))


def span_of(
    trace: JobTrace | None, name: str, attributes: Mapping[str, str | int | bool] | None = None
) -> AbstractContextManager[OpenSpan]:
    """`JobTrace.span`, or nothing where there is no trace."""
    return _NOTHING if trace is None else trace.span(name, attributes)


def trace_variables(trace: JobTrace | None) -> dict[str, str]:
    """What a process of the job is told of the trace."""
    return {} if trace is None else {VARIABLE: trace.traceparent}


def hook_facts(scope: str, plugin: str) -> dict[str, str]:
    """What a trace tells of a hook. A plugin's name comes out of an address: it is told where it is a plain name."""
    facts = {"pipeseal.hook.scope": scope}
    if SLUG.admits(plugin):
        facts["pipeseal.plugin.name"] = plugin
    return facts


class _TracedTransport:
    """A transport whose calls say where in the trace they belong."""

    def __init__(self, inner: Transport, trace: JobTrace) -> None:
        self._inner = inner
        self._trace = trace

    def request(
        self,
        method: str,
        path: str,
        *,
        token: str,
        body: bytes | None = None,
        headers: Mapping[str, str] | None = None,
        timeout_seconds: float = TIMEOUT_SECONDS,
        max_bytes: int = MAX_ANSWER_BYTES,
    ) -> Answer:
        """As `Transport.request`."""
        return self._inner.request(
            method,
            path,
            token=token,
            body=body,
            headers={**(headers or {}), HEADER: self._trace.traceparent},
            timeout_seconds=timeout_seconds,
            max_bytes=max_bytes,
        )

    def close(self) -> None:
        """As `Transport.close`."""
        self._inner.close()


def traced(transport: Transport, trace: JobTrace | None) -> Transport:
    """A transport for a job's calls."""
    return transport if trace is None else _TracedTransport(transport, trace)

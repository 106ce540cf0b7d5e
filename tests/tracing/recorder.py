"""Where spans go in tests that need no collector."""

from __future__ import annotations

import threading
from collections.abc import Callable

from pipeseal.tracing.spans import Span

PATIENCE = 60.0


class Recorder:
    """Keeps the spans.

    Parameters:
        samples: whether traces are to be sent, but for those in `left_out`.
    """

    def __init__(self, samples: bool = True) -> None:
        self.samples = samples
        self.left_out: set[str] = set()
        self._changed = threading.Condition()
        self._spans: list[Span] = []

    def is_sampled(self, trace_id: str, name: str) -> bool:
        return self.samples and trace_id not in self.left_out

    def record(self, span: Span) -> None:
        with self._changed:
            self._spans.append(span)
            self._changed.notify_all()

    @property
    def spans(self) -> list[Span]:
        """What was recorded until now."""
        with self._changed:
            return list(self._spans)

    def named(self, name: str) -> list[Span]:
        """The spans of a name."""
        return [span for span in self.spans if span.name == name]

    def wait_for(self, check: Callable[[list[Span]], bool], what: str) -> list[Span]:
        """Wait until what was recorded satisfies `check`."""
        with self._changed:
            assert self._changed.wait_for(lambda: check(self._spans), PATIENCE), f"never came: {what}"
            return list(self._spans)

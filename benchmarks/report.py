"""Rows of results: what was measured on both sides, what was wanted, and how it is printed."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from benchmarks.measure import Pairs, Series

MIB = 1 << 20


@dataclass(frozen=True)
class Unit:
    """How seconds are shown: `us`, `ms` or `s` (or a share in `%`, bytes, a count), and the factor."""

    name: str
    factor: float


MICROSECONDS = Unit("us", 1e6)
MILLISECONDS = Unit("ms", 1e3)
SECONDS = Unit("s", 1.0)
PERCENT = Unit("%", 100.0)
MEGABYTES = Unit("MB", 1 / MIB)
KILOBYTES = Unit("KB", 1 / 1024)
BYTES = Unit("B", 1.0)
COUNT = Unit("", 1.0)


@dataclass(frozen=True)
class Target:
    """What is wanted of one quantity; nothing when both are None.

    Parameters:
        ratio: ours divided by the peer's, at most.
        limit: ours alone, at most, in seconds or bytes.
    """

    ratio: float | None = None
    limit: float | None = None

    def judge(self, ours: float, peer: float | None) -> str:
        """`met`, `missed`, `no peer` (a ratio is wanted, nothing to divide by), or empty without a target."""
        if self.limit is not None and ours > self.limit:
            return "missed"
        if self.ratio is None:
            return "" if self.limit is None else "met"
        if peer is None:
            return "no peer"
        return "met" if ours <= self.ratio * peer else "missed"

    def show(self, factor: float, unit: str) -> str:
        """The target as text, such as `<=0.5x` or `<=40MB`."""
        shown = [f"<={self.ratio:.3g}x"] if self.ratio is not None else []
        shown += [f"<={self.limit * factor:.4g}{unit}"] if self.limit is not None else []
        return " ".join(shown)


UNTARGETED = Target()


@dataclass(frozen=True)
class Row:
    """One line of the report.

    Parameters:
        name: as on the command line, such as `sign.tool.10k`.
        pairs: the samples of both sides.
        unit: how times are shown.
        time, memory: what is wanted of the median time and of the peak memory.
        peer: who the peer is; empty where there is none to have.
    """

    name: str
    pairs: Pairs
    unit: Unit
    peer: str
    time: Target = UNTARGETED
    memory: Target = UNTARGETED

    @property
    def verdicts(self) -> list[str]:
        """Verdicts on time and memory, without the empty ones."""
        ours, peer = self.pairs.ours, self.pairs.peer
        found = [
            self.time.judge(ours.p50, peer.p50 if peer else None),
            self.memory.judge(ours.max_rss_bytes, peer.max_rss_bytes if peer else None),
        ]
        return [verdict for verdict in found if verdict]

    @property
    def is_missed(self) -> bool:
        return "missed" in self.verdicts


HEADINGS = (
    "row",
    "ours p50 / p95",
    "peer p50 / p95",
    "time",
    "",
    "cpu",
    "MB ours / peer",
    "memory",
    "",
    "idle",
    "n",
    "peer",
)


def render_table(rows: Iterable[Row]) -> str:
    """The rows as a table for a terminal: time on the left, memory on the right."""
    cells = [HEADINGS, *(_cells(row) for row in rows)]
    widths = [max(len(line[column]) for line in cells) for column in range(len(HEADINGS))]
    left = {0, len(HEADINGS) - 1}
    return "\n".join(
        "  ".join(
            text.ljust(width) if column in left else text.rjust(width)
            for column, (text, width) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in cells
    )


def _cells(row: Row) -> tuple[str, ...]:
    ours, peer = row.pairs.ours, row.pairs.peer
    factor, unit = row.unit.factor, row.unit.name
    rss = [series.max_rss_bytes / MIB for series in (ours, peer) if series]
    return (
        row.name,
        _times(ours, row.unit),
        _times(peer, row.unit) if peer else "missing" if row.peer else "",
        _judged(ours.p50, peer.p50 if peer else None, row.time.show(factor, unit)),
        row.time.judge(ours.p50, peer.p50 if peer else None),
        _judged(ours.cpu_p50, peer.cpu_p50 if peer else None, ""),
        " / ".join(f"{size:.0f}" for size in rss) if any(rss) else "",
        _judged(ours.max_rss_bytes, peer.max_rss_bytes if peer else None, row.memory.show(1 / MIB, "MB")),
        row.memory.judge(ours.max_rss_bytes, peer.max_rss_bytes if peer else None),
        f"{row.pairs.idle:.0%}",
        str(len(ours.samples)),
        row.peer,
    )


def _times(series: Series, unit: Unit) -> str:
    amounts = [seconds * unit.factor for seconds in (series.p50, series.p95)]
    return " / ".join(f"{amount:.0f}" if amount >= 100 else f"{amount:.3g}" for amount in amounts) + f" {unit.name}"


def _judged(ours: float, peer: float | None, target: str) -> str:
    """Ratio and target, such as `0.33x (<=0.5x)`."""
    ratio = f"{ours / peer:.2f}x" if peer else ""
    return f"{ratio} ({target})".strip() if target else ratio


def row_value(row: Row) -> dict[str, Any]:
    """The row as JSON: every sample, in seconds and bytes, with the medians and ratios that were printed."""
    ours, peer = row.pairs.ours, row.pairs.peer
    return {
        "row": row.name,
        "peer": row.peer,
        "idle": row.pairs.idle,
        "time": {
            "ratio": ours.p50 / peer.p50 if peer and peer.p50 else None,
            "target_ratio": row.time.ratio,
            "limit_seconds": row.time.limit,
            "verdict": row.time.judge(ours.p50, peer.p50 if peer else None),
        },
        "memory": {
            "ratio": ours.max_rss_bytes / peer.max_rss_bytes if peer and peer.max_rss_bytes else None,
            "target_ratio": row.memory.ratio,
            "limit_bytes": row.memory.limit,
            "verdict": row.memory.judge(ours.max_rss_bytes, peer.max_rss_bytes if peer else None),
        },
        "ours": _series_value(ours),
        "theirs": _series_value(peer) if peer else None,
    }


def _series_value(series: Series) -> dict[str, Any]:
    return {
        "p50_seconds": series.p50,
        "p95_seconds": series.p95,
        "cpu_p50_seconds": series.cpu_p50,
        "max_rss_bytes": series.max_rss_bytes,
        "seconds": series.seconds,
    }

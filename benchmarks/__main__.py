"""`python -m benchmarks [ROW ...]`: measures ours beside the reference and prints ratios."""

from __future__ import annotations

import argparse
import json
import os
import platform
import signal
import sys
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Protocol

from benchmarks import (
    command_rows,
    drill_rows,
    job_rows,
    ledger_rows,
    log_rows,
    page_rows,
    peers,
    program_rows,
    scale_rows,
    seal_rows,
    step_rows,
    store_rows,
    web_rows,
)
from benchmarks.measure import CommandFailed
from benchmarks.report import Row, render_table, row_value
from benchmarks.workspace import Workspace


class Measure(Protocol):
    """Measures one row in a workspace, or several from one run."""

    def __call__(self, space: Workspace) -> Row | tuple[Row, ...]: ...


def _sized(name: str, measure: Callable[[Workspace, str], Row | tuple[Row, ...]], *sizes: str) -> dict[str, Measure]:
    def of(size: str) -> Measure:
        return lambda space: measure(space, size)

    return {f"{name}.{size}": of(size) for size in sizes}


ROWS: dict[str, Measure] = {
    **_sized("parse", step_rows.measure_parse, "1k", "10k"),
    **_sized("sign", step_rows.measure_sign, "1k", "10k"),
    **_sized("verify", step_rows.measure_verify, "1k", "10k"),
    **_sized("verify.job", step_rows.measure_verify_job, "1k", "10k"),
    "verify.step": step_rows.measure_verify_step,
    "verify.added": seal_rows.measure_added,
    **_sized("sign.tool", command_rows.measure_tool_sign, "1k", "10k"),
    **_sized("sign.tool.sealed", command_rows.measure_sealing_tool_sign, "1k", "10k"),
    "start.help": command_rows.measure_help,
    "start.job-side": command_rows.measure_dry_run,
    **_sized("upload", command_rows.measure_upload, "1", "1k", "10k"),
    **_sized("upload.sealed", command_rows.measure_sealed_upload, "1", "1k", "10k"),
    **_sized("upload.signer", seal_rows.measure_signer_upload, "1", "1k"),
    "start.server": program_rows.measure_server_start,
    "start.agent": program_rows.measure_agent_start,
    "idle.server": program_rows.measure_server_idle,
    "idle.agent": program_rows.measure_agent_idle,
    "dispatch.noop": job_rows.measure_dispatch,
    "dispatch.official": job_rows.measure_dispatch_official,
    "dispatch.checkout": job_rows.measure_dispatch_checkout,
    **_sized("throughput", job_rows.measure_throughput, "1", "8"),
    "log.100MB": log_rows.measure_log,
    "log.flat": log_rows.measure_log_growth,
    "log.read": log_rows.measure_log_read,
    **_sized("log.view", web_rows.measure_log_view, "100k", "500k"),
    "web.pages": page_rows.measure_pages,
    "log.view.follow": web_rows.measure_log_follow,
    **_sized("redact.stream", log_rows.measure_redaction, "20", "100"),
    **_sized("store.claim.sqlite", partial(store_rows.measure_claim, engine="sqlite"), "8", "100"),
    **_sized("store.claim.postgres", partial(store_rows.measure_claim, engine="postgres"), "8", "100"),
    **_sized("ledger.claim.sqlite", partial(ledger_rows.measure_claim, engine="sqlite"), "1", "8"),
    **_sized("ledger.claim.postgres", partial(ledger_rows.measure_claim, engine="postgres"), "1", "8"),
    "drill": drill_rows.measure_drill,
    "scale.queue": store_rows.measure_queue,
    "db.job": store_rows.measure_job_size,
    "scale.idle": scale_rows.measure_idle_agents,
    "scale.postgres": scale_rows.measure_two_servers,
    "soak": scale_rows.measure_soak,
}
# Run only when they are named.
ON_DEMAND = {"soak"}


def main() -> int:
    """Run the rows asked for; 1 when a row failed, or with --check when a target was missed twice in a row."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("rows", nargs="*", metavar="ROW", help=f"rows or their beginnings: {', '.join(ROWS)}")
    parser.add_argument("--pairs", type=int, default=11, help="pairs of runs for each row (default: 11, at least 5)")
    parser.add_argument("--budget", type=float, default=30, help="seconds before a row stops early (default: 30)")
    parser.add_argument("--soak-minutes", type=float, default=30, help="how long `soak` takes (default: 30)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every sample to FILE")
    parser.add_argument("--check", action="store_true", help="measure a missed row again; fail if missed twice")
    arguments = parser.parse_args()
    for word in arguments.rows:
        if not _select([word]):
            parser.error(f"no row is called {word}; rows: {', '.join(ROWS)}")
    names = _select(arguments.rows)
    # Servers, agents and databases end with the blocks that started them, so those must be left.
    signal.signal(signal.SIGTERM, lambda number, _frame: sys.exit(128 + number))

    go, stock, buildbot = peers.find_go_peer(), *(find() for find in peers.SLOW.values())
    for peer in (go, stock, buildbot):
        print(f"{peer.name}: {'' if peer.path else 'PEER MISSING: '}{peer.detail}")
        if peer.path is None and peers.peers_are_required():
            return 1
    print(f"{platform.platform()}, {os.cpu_count()} cores, Python {platform.python_version()}", flush=True)

    rows: list[Row] = []
    failed = False
    with tempfile.TemporaryDirectory(prefix="pipeseal-bench-") as directory:
        pairs, budget, soak = max(5, arguments.pairs), arguments.budget, arguments.soak_minutes
        space = Workspace(Path(directory), go, stock, buildbot, pairs, budget, soak)
        for name in names:
            print(f"  {name} ...", end="", flush=True)
            try:
                found = _measure(name, space)
                if arguments.check and any(row.is_missed for row in found):
                    missed = {row.name for row in found if row.is_missed}
                    found = _measure(name, space)
                    failed |= any(row.is_missed and row.name in missed for row in found)
            except CommandFailed as error:
                failed = True
                print(f" FAILED: {error}", flush=True)
                continue
            print(f" {' '.join(verdict for row in found for verdict in row.verdicts)}", flush=True)
            rows += found
    print()
    print(render_table(rows))
    if arguments.json:
        arguments.json.write_text(json.dumps([row_value(row) for row in rows], indent=1) + "\n", encoding="utf-8")
    return 1 if failed else 0


def _measure(name: str, space: Workspace) -> tuple[Row, ...]:
    found = ROWS[name](space)
    return (found,) if isinstance(found, Row) else found


def _select(wanted: list[str]) -> list[str]:
    """The names in `ROWS` that are one of `wanted` or lie below one (`sign` has `sign.1k` and `sign.tool.1k`).

    Without any `wanted`, all but those that take very long.
    """
    if not wanted:
        return [name for name in ROWS if name not in ON_DEMAND]
    return [name for name in ROWS if any(f"{name}.".startswith(f"{word}.") for word in wanted)]


if __name__ == "__main__":
    sys.exit(main())

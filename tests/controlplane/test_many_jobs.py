"""Many queued jobs, many agents, several servers: every job runs, and none of them twice."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path

from benchmarks.peers import Peer
from benchmarks.scale_rows import run_on_two_servers
from benchmarks.workspace import Workspace
from tests.controlplane.postgres_server import fresh_database


def test_500_queued_jobs_run_once_each_with_50_agents_on_two_servers(tmp_path: Path) -> None:
    none = Peer("none", None, "not wanted")
    space = Workspace(tmp_path, none, none, none, pairs=1, budget_seconds=1)
    with fresh_database() as url, ExitStack() as stack:
        run_on_two_servers(stack, space, url, jobs=500, agents=50)

"""The benchmark suite itself: what it generates, how it measures, and how it judges."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from contextlib import ExitStack, closing
from functools import partial
from pathlib import Path

import pytest

from benchmarks.__main__ import _select
from benchmarks.agents import MARK, NOOP_STEP
from benchmarks.buildbot import Buildbot
from benchmarks.control_plane import (
    create_pipeline,
    log_path,
    start_build,
    streams_pings,
    wait_for_all,
    wait_for_build,
    wait_for_output,
)
from benchmarks.generate import command_steps, generate_jobs, generate_log, generate_pipeline, generate_secrets
from benchmarks.job_rows import NOOP, open_place
from benchmarks.log_rows import PeakMemory, log_steps, print_log
from benchmarks.measure import (
    CommandFailed,
    Pairs,
    Sample,
    Series,
    Worker,
    alternate,
    alternate_all,
    descendants,
    run_command,
)
from benchmarks.peers import ROOT, Peer, find_peer, find_stock_agent
from benchmarks.report import MIB, MILLISECONDS, Row, Target, render_table, row_value
from benchmarks.workspace import PIPESEAL, Workspace
from pipeseal.pipeline.parse import parse_pipeline
from pipeseal.pipeline.steps import CommandStep, InputStep, WaitStep

ENV = {"PATH": os.environ["PATH"]}


def test_generated_pipeline_has_the_promised_steps() -> None:
    steps = parse_pipeline(generate_pipeline(1000)).steps
    commands = [step for step in steps if isinstance(step, CommandStep)]
    assert len(steps) == 1000
    assert sum(isinstance(step, WaitStep) for step in steps) == 20
    assert sum(isinstance(step, InputStep) for step in steps) == 20
    assert len(commands) == command_steps(1000) == 960
    assert len({step.key for step in commands}) == 960
    assert {step.command.count("\n") + 1 for step in commands} == {2}
    assert {len(step.env) for step in commands} == {3}
    assert {tuple(step.rest) for step in commands} == {("agents", "timeout_in_minutes")}
    assert sum(step.matrix is not None for step in commands) == 100
    assert sum(bool(step.plugins) for step in commands) == 200


def test_generated_pipeline_is_the_same_every_time() -> None:
    assert generate_pipeline(120) == generate_pipeline(120)
    assert generate_pipeline(120).startswith("# Generated: 120 steps.\n")


def test_generated_jobs_carry_the_first_combination_of_a_matrix() -> None:
    step = {"command": "run {{matrix.os}}", "key": "k", "matrix": {"setup": {"os": ["linux", "darwin"]}}}
    (job,) = generate_jobs({"steps": ["wait", step]})
    assert job["matrix_permutation"] == {"os": "linux"}
    assert job["env"]["BUILDKITE_COMMAND"] == "run linux"
    assert job["step"] == step


def test_measured_command_has_its_own_memory_and_cpu(tmp_path: Path) -> None:
    code = "import time; x = bytearray(200 << 20); x[::4096] = b'1' * len(x[::4096]); time.sleep(0.05)"
    big = run_command([sys.executable, "-I", "-S", "-c", code], env=ENV, cwd=tmp_path)
    small = run_command(["true"], env=ENV, cwd=tmp_path)
    assert big.seconds >= 0.05
    assert big.max_rss_bytes > 200 * MIB
    # Not the harness's own memory, which pytest makes far larger than this.
    assert small.max_rss_bytes < 20 * MIB
    assert small.cpu_seconds < big.cpu_seconds


def test_failed_command_is_not_a_measurement(tmp_path: Path) -> None:
    with pytest.raises(CommandFailed, match="exited with 3: no such pipeline"):
        run_command(["sh", "-c", "echo no such pipeline >&2; exit 3"], env=ENV, cwd=tmp_path)


def test_dead_worker_is_not_a_measurement(tmp_path: Path) -> None:
    with Worker(["false"], env=ENV, cwd=tmp_path) as worker, pytest.raises(CommandFailed, match="ended with 1"):
        worker.one_pass()


def test_sides_alternate_after_one_unmeasured_round(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("benchmarks.measure.QUIET_SECONDS", 0.0)
    seen = []

    def side(name: str) -> Sample:
        seen.append(name)
        return Sample(float(len(seen)), 0.0, 1)

    pairs = alternate(lambda: side("a"), lambda: side("b"), pairs=5, budget_seconds=60)
    assert seen == ["a", "b"] * 6
    assert pairs.peer is not None
    assert pairs.ours.seconds == [3, 5, 7, 9, 11]
    assert pairs.peer.p50 == 8


def test_any_number_of_sides_alternate(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("benchmarks.measure.QUIET_SECONDS", 0.0)
    seen = []

    def side(name: str) -> Sample:
        seen.append(name)
        return Sample(float(len(seen)), 0.0, 1)

    sides = [partial(side, name) for name in "abc"]
    series, idle = alternate_all(sides, rounds=2, budget_seconds=60, fewest=2)
    assert seen == list("abc" * 3)
    assert [one.seconds for one in series] == [[4, 7], [5, 8], [6, 9]]
    assert 0 <= idle <= 1


def test_peak_memory_sees_what_a_process_starts() -> None:
    code = "import time; x = bytearray(120 << 20); x[::4096] = b'1' * len(x[::4096]); time.sleep(60)"
    command = ["sh", "-c", f'{sys.executable} -I -S -c "{code}"; true']
    with subprocess.Popen(command) as process:
        try:
            with PeakMemory(process.pid) as peak:
                end = time.monotonic() + 60
                while peak.bytes < 120 * MIB:
                    assert time.monotonic() < end, f"saw {peak.bytes} bytes"
                    time.sleep(0.01)
        finally:
            for pid in reversed(descendants(process.pid)):
                os.kill(pid, signal.SIGKILL)


def test_generated_log_has_a_secret_in_each_hundredth_line(tmp_path: Path) -> None:
    secrets = generate_secrets(3)
    path = tmp_path / "log"
    with path.open("wb") as file:
        generate_log(file, 100_000, secrets)
    lines = path.read_text(encoding="ascii").splitlines()
    assert path.stat().st_size >= 100_000
    assert len(lines) % 300 == 0
    shown = [[secret in line for secret in secrets] for line in lines]
    assert all(any(found) == (number % 100 == 99) for number, found in enumerate(shown))
    assert shown[-1][0]


@pytest.mark.parametrize("operation", ["redact", "redact-re"])
def test_redaction_worker_makes_passes(operation: str, tmp_path: Path) -> None:
    path = tmp_path / "log"
    with path.open("wb") as file:
        generate_log(file, 2_000_000, generate_secrets(20))
    command = [sys.executable, "-m", "benchmarks.worker", operation, "--input", path, "--secrets", "20"]
    with Worker(command, env=ENV, cwd=ROOT) as worker:
        assert worker.one_pass().seconds > 0


@pytest.fixture
def space(tmp_path: Path) -> Workspace:
    """A workspace without peers."""
    missing = Peer("none", None, "not wanted")
    return Workspace(tmp_path, missing, missing, missing, pairs=1, budget_seconds=1)


def test_jobs_are_measured_from_trigger_to_output(space: Workspace) -> None:
    with ExitStack() as stack:
        server, place = open_place(stack, space, PIPESEAL, steps=log_steps(space, 1))
        sample, build = print_log(place, 1)
        assert sample.max_rss_bytes > 10 * MIB
        assert 0 < sample.seconds < 60
        log = place.rest.fetch("GET", log_path(build, "noop")).content
        assert log.count(b"[REDACTED]") >= 1_000_000 // (121 * 110)
        assert not any(secret.encode() in log for secret in generate_secrets(20))
        create_pipeline(place.rest, "unsigned", NOOP_STEP)
        unsigned = start_build(place.rest, "unsigned")
        with pytest.raises(CommandFailed, match=r"build 1 of unsigned is failed"):
            wait_for_build(place.rest, "unsigned", unsigned["number"])
        with pytest.raises(CommandFailed, match="did not print"):
            wait_for_output(place.rest, log_path(unsigned, "unsigned"), MARK)
        with pytest.raises(CommandFailed, match="build 1 of unsigned failed"):
            wait_for_all(place.rest, "unsigned")
        assert place.server_seconds() > 0 < place.worker_seconds()
        with closing(server.rest()) as rest:
            assert streams_pings(rest)


@pytest.mark.peer("buildbot")
def test_buildbot_runs_a_build_and_shows_its_log(space: Workspace) -> None:
    programs = find_peer("buildbot").path
    assert programs is not None
    with Buildbot(space, programs, {"noop": NOOP, "fail": ["false"]}) as buildbot:
        buildbot.wait_for_output(buildbot.force("noop"), MARK)
        buildbot.wait_for_builds("noop", 1)
        assert b"\n" + MARK in buildbot.read(f"{buildbot.log_of_build('noop', 1)}/raw")
        assert buildbot.database.exists()
        buildbot.force("fail")
        with pytest.raises(CommandFailed, match="build 1 of fail failed"):
            buildbot.wait_for_builds("fail", 1)


def test_long_rows_run_only_when_named() -> None:
    assert "soak" not in _select([])
    assert _select(["soak"]) == ["soak"]
    wanted = ["log.100MB", "log.flat", "log.read", "log.view.100k", "log.view.500k", "log.view.follow"]
    assert _select(["log"]) == wanted


def test_row_is_judged_by_the_ratio_of_medians() -> None:
    def series(*milliseconds: float) -> Series:
        return Series([Sample(value / 1000, value / 1000, 10 * MIB) for value in milliseconds])

    pairs = Pairs(series(4, 5, 90), series(9, 10, 11), idle=0.5)
    met = Row("some.row", pairs, MILLISECONDS, "peer", time=Target(ratio=0.5), memory=Target(limit=10 * MIB))
    missed = Row("some.row", pairs, MILLISECONDS, "peer", time=Target(ratio=0.49))
    alone = Row("some.row", Pairs(pairs.ours, None, 1.0), MILLISECONDS, "peer", time=Target(ratio=0.5))
    assert (met.verdicts, missed.verdicts, alone.verdicts) == (["met", "met"], ["missed"], ["no peer"])
    assert row_value(met)["time"]["ratio"] == 0.5
    json.dumps(row_value(alone))
    heading, line = render_table([met]).splitlines()
    assert "some.row" in line and "5 / 90 ms" in line and "0.50x (<=0.5x)" in line and "met" in line
    assert len(heading) <= 160


def test_unknown_row_is_refused() -> None:
    done = subprocess.run([sys.executable, "-m", "benchmarks", "no.such"], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 2
    assert "no row is called no.such" in done.stderr


def test_something_else_is_not_taken_for_the_stock_agent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    other = tmp_path / "buildkite-agent"
    other.write_text("#!/bin/sh\necho pipeseal 0.1.0\n")
    other.chmod(0o755)
    monkeypatch.setenv("PIPESEAL_BUILDKITE_AGENT", str(other))
    peer = find_stock_agent()
    assert peer.path is None
    assert "pipeseal 0.1.0" in peer.detail


@pytest.mark.parametrize(("demand", "outcome"), [("1", "1 error"), ("", "1 skipped")])
def test_missing_peer_is_an_error_only_where_peers_are_required(demand: str, outcome: str, tmp_path: Path) -> None:
    (tmp_path / "test_peer.py").write_text(
        "import pytest\n@pytest.mark.peer('buildkite-agent')\ndef test_with_peer(): pass\n"
    )
    options = ["-rs", "-p", "tests.conftest", "--rootdir", str(tmp_path), str(tmp_path)]
    command = [sys.executable, "-m", "pytest", *options]
    environment = {**os.environ, "PIPESEAL_BUILDKITE_AGENT": "/bin/true", "PIPESEAL_REQUIRE_PEERS": demand}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert outcome in done.stdout
    assert "is not version" in done.stdout

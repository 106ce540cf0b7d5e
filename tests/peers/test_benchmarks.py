"""The benchmark suite itself: what it generates, how it measures, and how it judges."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.generate import command_steps, generate_jobs, generate_pipeline
from benchmarks.measure import CommandFailed, Pairs, Sample, Series, Worker, alternate, run_command
from benchmarks.peers import ROOT, find_stock_agent
from benchmarks.report import MIB, MILLISECONDS, Row, Target, render_table, row_value
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

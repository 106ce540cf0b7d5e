"""Rows in which a library works on steps in a process that stays: parse, sign, verify, and verify of jobs."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from contextlib import ExitStack

from benchmarks.generate import REPOSITORY_URL
from benchmarks.measure import Worker, alternate
from benchmarks.peers import ROOT
from benchmarks.report import MICROSECONDS, Row, Target
from benchmarks.workspace import Workspace


def measure_parse(space: Workspace, size: str) -> Row:
    """Per step: YAML bytes to a pipeline."""
    return _beside_go(space, f"parse.{size}", "parse", ["--input", space.pipeline(size)], Target(ratio=1.2))


def measure_sign(space: Workspace, size: str) -> Row:
    """Per step: a parsed pipeline to one with signatures."""
    arguments = ["--input", space.pipeline(size), "--jwks", space.private_keys, "--repo", REPOSITORY_URL]
    return _beside_go(space, f"sign.{size}", "sign", arguments, Target(ratio=1.0))


def measure_verify(space: Workspace, size: str) -> Row:
    """Per step: a decoded step and the job's variables to a proven step."""
    arguments = ["--input", space.jobs(size), "--jwks", space.public_keys]
    return _beside_go(space, f"verify.{size}", "verify", arguments, Target(ratio=1.0))


def measure_verify_job(space: Workspace, size: str) -> Row:
    """Per job: the bytes received from the server to a job that may run: decoding, signature, and comparison."""
    arguments = ["--input", space.jobs(size), "--jwks", space.public_keys]
    return _beside_go(space, f"verify.job.{size}", "verify-job", arguments, Target(ratio=1.0))


def measure_verify_step(space: Workspace) -> Row:
    """Per step: our whole verification beside the bare signature check of `cryptography`, at 0.85 of its rate."""
    arguments = ["--input", space.jobs("1k"), "--jwks", space.public_keys]
    with ExitStack() as stack:
        ours = stack.enter_context(_our_worker(space, "verify", arguments))
        raw = stack.enter_context(_our_worker(space, "verify-raw", arguments))
        pairs = alternate(ours.one_pass, raw.one_pass, pairs=space.pairs, budget_seconds=space.budget_seconds)
    return Row("verify.step", pairs, MICROSECONDS, "cryptography", time=Target(ratio=1 / 0.85))


def _beside_go(space: Workspace, name: str, operation: str, arguments: Sequence[object], target: Target) -> Row:
    with ExitStack() as stack:
        ours = stack.enter_context(_our_worker(space, operation, arguments))
        peer = None
        if space.go.path:
            command = [space.go.path, "bench", operation, *arguments]
            peer = stack.enter_context(Worker(command, env=space.env, cwd=space.directory)).one_pass
        pairs = alternate(ours.one_pass, peer, pairs=space.pairs, budget_seconds=space.budget_seconds)
    return Row(name, pairs, MICROSECONDS, "go-pipeline", time=target)


def _our_worker(space: Workspace, operation: str, arguments: Sequence[object]) -> Worker:
    command = [sys.executable, "-m", "benchmarks.worker", operation, *arguments]
    return Worker(command, env=space.env, cwd=ROOT)

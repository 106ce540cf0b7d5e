"""The vectors of `jobverify`, end to end: a server hands each job to a real agent process.

For each case: exit status, signal reason, log, and whether anything ran. One agent serves all cases with the same
keys and behaviour.
"""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.agent.agent_process import VECTORS, AgentProcess, agent_process
from tests.agent.fake_server import FakeServer, JobRecord, fake_server

Case = dict[str, Any]


def _load() -> list[Case]:
    path = VECTORS / "jobverify.json"
    if path.is_file():
        cases: list[Case] = json.loads(path.read_text("utf-8"))
        return cases
    if os.environ.get("PIPESEAL_REQUIRE_PEERS") == "1":
        pytest.fail(f"{path} is missing (PIPESEAL_REQUIRE_PEERS=1 demands it)", pytrace=False)
    pytest.skip(f"the vectors are not beside the checkout ({path})", allow_module_level=True)


CASES = _load()


def _keys_of(case: Case) -> tuple[str | None, str]:
    given = case["input"]
    keys = json.dumps(given["jwks"]) if "jwks" in given else given.get("jwks_raw")
    return keys, given["behavior"]


GROUPS: dict[tuple[str | None, str], list[Case]] = {}
for _case in CASES:
    GROUPS.setdefault(_keys_of(_case), []).append(_case)
READY = [key for key, cases in GROUPS.items() if cases[0]["expect"].get("error_stage") not in ("jwks", "config")]
UNUSABLE = [key for key in GROUPS if key not in READY]


@contextmanager
def _agent(server: FakeServer, folder: Path, keys: str | None, behavior: str, *flags: str) -> Iterator[AgentProcess]:
    more = ["--verification-failure-behavior", behavior] if behavior else []
    if keys is None:
        more.append("--no-verification")
    else:
        (folder / "keys.json").write_text(keys, "utf-8")
        # Most vectors have secrets that signer and verifier share, which agents do not take unless told to.
        more += ["--verification-jwks-file", str(folder / "keys.json"), "--allow-shared-secrets"]
    with agent_process(server, folder, *more, *flags, environment=_environment(folder)) as agent:
        yield agent


def _environment(folder: Path) -> dict[str, str]:
    return {"PATH": f"{folder / 'tools'}:/usr/bin:/bin"}


def _run(server: FakeServer, cases: list[Case]) -> list[JobRecord]:
    """Hand out the cases one after the other."""
    jobs = []
    for number, case in enumerate(cases, 1):
        raw = case["input"]["job_raw"].encode("utf-8", "surrogatepass")
        # Cases have the same id or none: give each one its own, where it stands.
        job_id = f"job-{number:04}"
        job = server.add_job(raw.replace(b'"job-0001"', f'"{job_id}"'.encode()), job_id)
        assert job.finished.wait(60), f"{case['name']} did not finish"
        jobs.append(job)
    return jobs


def _covered(case: Case) -> set[str]:
    step = json.loads(case["input"]["job_raw"]).get("step") or {}
    fields = (step.get("signature") or {}).get("signed_fields") or []
    return {*(step.get("env") or {}), *(name.removeprefix("env::") for name in fields)}


def _uncovered(case: Case) -> set[str]:
    """Variables that no table has: where nothing covers them the reference hands them on, and this agent refuses."""
    return {"LD_PRELOAD", "BUILDKITE_X", "X"} & (json.loads(case["input"]["job_raw"]).get("env") or {}).keys()


def _expectation(case: Case) -> tuple[bool, str, str]:
    expect = case["expect"]
    if expect.get("ran") and case["input"]["behavior"] != "warn" and _uncovered(case) - _covered(case):
        return False, "-1", "agent_refused"
    if expect.get("lenient") or case.get("lenient"):
        return False, "-1", "signature_rejected"
    if "error_stage" in expect:
        return False, "-1", "agent_refused"
    return expect["ran"], expect["exit_status"], expect["signal_reason"]


@pytest.mark.parametrize("key", READY, ids=lambda key: str(READY.index(key)))
def test_cases_with_these_keys(tmp_path: Path, key: tuple[str | None, str]) -> None:
    keys, behavior = key
    cases = GROUPS[key]
    sentinels = tmp_path / "ran"
    sentinels.mkdir()
    script = tmp_path / "job-program"
    script.write_text(f'#!/bin/sh\n: > "{sentinels}/$BUILDKITE_JOB_ID"\n')
    script.chmod(0o755)
    problems = []
    with (
        fake_server(20) as server,
        _agent(server, tmp_path, keys, behavior, "--bootstrap-script", str(script)) as agent,
    ):
        for case, job in zip(cases, _run(server, cases), strict=True):
            assert job.finish is not None
            found = (
                (sentinels / job.id).exists(),
                job.finish["exit_status"],
                job.finish["signal_reason"],
            )
            if found != _expectation(case):
                problems.append(f"{case['name']}: {found} instead of {_expectation(case)}")
            if case["expect"].get("lenient") or "error_stage" in case["expect"]:
                continue
            problems += [
                f"{case['name']}: no {line!r}" for line in case["expect"]["log_contains"] if line not in job.text
            ]
            if not job.text.startswith(case["expect"].get("log", "")):
                problems.append(f"{case['name']}: the log begins otherwise: {job.text[:300]!r}")
            if not found[0]:
                code = job.finish["refusal"]["code"]
                if f"code={code}" not in agent.log or f"refused[{code}]" not in job.text or not code:
                    problems.append(f"{case['name']}: {code} is not in the log of the job and of the agent")
    assert not problems, "\n".join(problems)


@pytest.mark.parametrize("key", UNUSABLE, ids=lambda key: str(UNUSABLE.index(key)))
def test_agent_does_not_start_with_unusable_keys(tmp_path: Path, key: tuple[str | None, str]) -> None:
    keys, behavior = key
    with fake_server() as server, _agent(server, tmp_path, keys, behavior) as agent:
        assert agent.wait() in (2, 6)
        assert "error[" in agent.log
        assert not server.requests


def _git(folder: Path, *arguments: str) -> None:
    subprocess.run(
        ["git", "-c", "user.name=t", "-c", "user.email=t@example.test", "-c", "init.defaultBranch=main", *arguments],
        cwd=folder,
        check=True,
        capture_output=True,
        env={**os.environ, "GIT_CONFIG_GLOBAL": "/dev/null", "GIT_CONFIG_NOSYSTEM": "1"},
    )


def _repository(folder: Path, files: dict[str, str], tag: str = "") -> None:
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        path.chmod(0o755)
    _git(folder, "init", "-q")
    _git(folder, "add", "-A")
    _git(folder, "commit", "-q", "-m", "one")
    if tag:
        _git(folder, "tag", tag)


def test_integration_cases_with_all_phases(tmp_path: Path) -> None:
    """Checkout, plugin hook, agent hook and command leave their marks, or nothing does."""
    cases = [case for case in CASES if case["area"] == "integration"]
    marks = tmp_path / "marks"
    marks.mkdir()
    tools = tmp_path / "tools"
    tools.mkdir()
    (tools / "rake").write_text(f'#!/bin/sh\n: > "{marks}/command-$BUILDKITE_JOB_ID"; test -f Rakefile\n')
    (tools / "rake").chmod(0o755)
    hooks = tmp_path / "hooks"
    hooks.mkdir()
    (hooks / "environment").write_text(f': > "{marks}/hook-$BUILDKITE_JOB_ID"\n')
    remotes = tmp_path / "remotes"
    _repository(remotes / "acme" / "widgets.git", {"Rakefile": "task :spec\n"})
    _repository(
        remotes / "cacher-buildkite-plugin",
        {"hooks/pre-command": f': > "{marks}/plugin-$BUILDKITE_JOB_ID-$BUILDKITE_PLUGIN_CACHER_PATH"\n'},
        "v2.1.0",
    )
    home = tmp_path / "home"
    home.mkdir()
    (home / ".gitconfig").write_text(
        f'[url "{remotes}/"]\n insteadOf = https://git.example.test/\n insteadOf = https://github.com/buildkite-plugins/\n'
    )
    ran = 0
    by_keys: dict[tuple[str | None, str], list[Case]] = {}
    for case in cases:
        by_keys.setdefault(_keys_of(case), []).append(case)
    for index, ((keys, behavior), group) in enumerate(by_keys.items()):
        with (
            fake_server(20) as server,
            _agent(
                server,
                tmp_path,
                keys,
                behavior,
                *("--hooks-path", str(hooks), "--name", f"tester-{index}"),
                # The remotes are folders here.
                *("--git-config-file", str(home / ".gitconfig")),
            ) as agent,
        ):
            for case, job in zip(group, _run(server, group), strict=True):
                left = sorted(path.name.replace(job.id, "ID") for path in marks.iterdir() if job.id in path.name)
                assert job.finish is not None
                assert job.finish["exit_status"] == case["expect"]["exit_status"], (case["name"], job.text, agent.log)
                if case["expect"]["ran"]:
                    ran += 1
                    plugin = ["plugin-ID-vendor"] if "cacher" in case["input"]["job_raw"] else []
                    assert left == ["command-ID", "hook-ID", *plugin], case["name"]
                else:
                    assert left == [], case["name"]
                    assert "Preparing working directory" not in job.text
        for mark in marks.iterdir():
            mark.unlink()
    assert ran == sum(case["expect"]["ran"] for case in cases) > 0

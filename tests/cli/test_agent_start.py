"""`agent start`: what it says at the start, and when it does not start."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from pipeseal.signing.keys.files import write_key_file
from pipeseal.signing.keys.generate import generate_key_pair
from tests.agent.agent_process import agent_process
from tests.agent.fake_server import fake_server


@pytest.fixture
def keys(tmp_path: Path) -> Path:
    pair = generate_key_pair("EdDSA", "signer")
    write_key_file(tmp_path / "signing.json", pair.private_set)
    write_key_file(tmp_path / "verification.json", pair.public_set)
    return tmp_path


def start(folder: Path, *flags: str, token: str = "T", **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "pipeseal", "agent", "start", "--endpoint", "http://127.0.0.1:1/v3", *flags],
        env={"PATH": os.environ["PATH"], "HOME": str(folder), "BUILDKITE_AGENT_TOKEN": token, **environment},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


def test_without_keys_it_does_not_start_and_says_exactly_what_to_do(tmp_path: Path) -> None:
    done = start(tmp_path)
    assert done.returncode == 6
    assert "key.none" in done.stderr and "does not start" in done.stderr
    assert "--verification-jwks-file" in done.stderr and "--no-verification" in done.stderr
    assert "Traceback" not in done.stderr


def test_contradictions_and_unusable_keys_are_refused(tmp_path: Path, keys: Path) -> None:
    verification = str(keys / "verification.json")
    both = start(tmp_path, "--no-verification", "--verification-jwks-file", verification)
    assert both.returncode == 6 and "contradict" in both.stderr
    missing = start(tmp_path, "--verification-jwks-file", str(tmp_path / "nowhere.json"))
    assert missing.returncode == 6 and "key.unreadable" in missing.stderr
    (keys / "verification.json").chmod(0o666)
    writable = start(tmp_path, "--verification-jwks-file", verification)
    assert writable.returncode == 6 and "key.permissions" in writable.stderr
    (keys / "verification.json").chmod(0o644)
    public = start(tmp_path, "--verification-jwks-file", verification, "--signing-jwks-file", verification)
    assert public.returncode != 0 and "error[key." in public.stderr


def test_settings_that_nobody_knows_are_refused(tmp_path: Path) -> None:
    (tmp_path / "agent.cfg").write_text('name="x"\nverification-jwks-fiel="y"\n')
    done = start(tmp_path, "--config", str(tmp_path / "agent.cfg"))
    assert done.returncode == 6 and "config.key" in done.stderr and "agent.cfg:2" in done.stderr
    flag = start(tmp_path, "--verification-jwks-fiel", "y")
    assert flag.returncode == 2 and "--verification-jwks-file" in flag.stderr


def test_banner_says_whom_it_trusts_and_what_is_weak(tmp_path: Path, keys: Path) -> None:
    config = tmp_path / "agent.cfg"
    config.write_text(
        f'verification-jwks-file="{keys / "verification.json"}"\nsigning-jwks-file="{keys / "signing.json"}"\n'
        "allowed-plugins=docker\nno-command-eval=true\nkubernetes-exec=/m\nno-ssh-keyscan=true\n"
    )
    (keys / "signing.json").chmod(0o644)
    with fake_server(20) as server, agent_process(server, tmp_path, "--config", str(config)) as agent:
        server.wait_for(lambda: "Waiting for jobs" in agent.log)
        log = agent.log
    assert "(not trusted for steps)" in log and "verify with 1 key(s): signer (" in log
    assert "enforce: without a good signature, refuse the job" in log
    assert f"sign with {keys / 'signing.json'}" in log and "command eval: off" in log
    assert "'docker' is not anchored" in log and "kubernetes-exec is not supported yet" in log
    assert "can be read by other users" in log and "ssh-keyscan" not in log


def test_unverified_agent_says_so(tmp_path: Path) -> None:
    with fake_server(20) as server, agent_process(server, tmp_path, "--no-verification") as agent:
        server.wait_for(lambda: "Waiting for jobs" in agent.log)
        assert "NOT VERIFIED: this agent runs whatever the server sends" in agent.log


def test_log_as_json(tmp_path: Path) -> None:
    with (
        fake_server(20) as server,
        agent_process(server, tmp_path, "--no-verification", "--log-format", "json") as agent,
    ):
        server.wait_for(lambda: "Waiting for jobs" in agent.log)
        agent.signal(signal.SIGTERM)
        assert agent.wait() == 0
        lines = [json.loads(line) for line in agent.log.splitlines()]
    assert [line["message"] for line in lines][:2] == ["Connected", "Waiting for jobs"]
    assert all(line["level"] and line["time"] for line in lines)


def test_help_names_files_and_signals(tmp_path: Path) -> None:
    done = start(tmp_path, "--help")
    assert done.returncode == 0
    assert "Three times: end at once" in done.stdout and "--verification-jwks-file" in done.stdout

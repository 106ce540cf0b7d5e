"""Our commands beside the stock agent's: same exit status, output and requests, on the same server and sockets."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from benchmarks.peers import find_peer
from pipeseal.agent.artifacts.find import Search, collect_files
from pipeseal.agent.job_api.client import LockClient
from pipeseal.agent.job_api.locks import LockApi
from pipeseal.agent.job_api.server import JobApi
from pipeseal.errors import PipesealError, Unavailable
from tests.cli.fake_job_server import FakeJobServer, Recorded, fake_job_server
from tests.cli.job_commands import run_command

pytestmark = pytest.mark.peer("buildkite-agent")


class Seen(NamedTuple):
    """What a command did, without what differs from run to run."""

    status: int
    out: bytes
    effect: Any


def run_stock(environment: Mapping[str, str], arguments: list[str], stdin: bytes, folder: Path) -> tuple[int, bytes]:
    stock = find_peer("buildkite-agent").path
    assert stock is not None
    done = subprocess.run(
        [stock, *arguments],
        env={"PATH": os.environ["PATH"], "HOME": str(folder), **environment},
        input=stdin,
        cwd=folder,
        capture_output=True,
        timeout=60,
        check=False,
    )
    return done.returncode, done.stdout


def run_ours(environment: Mapping[str, str], arguments: list[str], stdin: bytes, folder: Path) -> tuple[int, bytes]:
    done = run_command({**environment, "HOME": str(folder)}, *arguments, stdin=stdin, cwd=folder)
    assert "Traceback" not in done.err
    return done.status, done.out


# --- on one server ------------------------------------------------------------------------------------------------

ON_A_SERVER: list[tuple[list[str], bytes]] = [
    (["meta-data", "set", "k", "v"], b""),
    (["meta-data", "set", "k"], b"from stdin\n"),
    (["meta-data", "set", " ", "v"], b""),
    (["meta-data", "set", "k", "with my-token-value in it"], b""),
    (["meta-data", "set-batch", "a=1", "b=2=3"], b""),
    (["meta-data", "set-batch", "a"], b""),
    (["meta-data", "get", "k"], b""),
    (["meta-data", "get", "zz"], b""),
    (["meta-data", "get", "zz", "--default", ""], b""),
    (["meta-data", "get", "k", "--build", "b9"], b""),
    (["meta-data", "exists", "k"], b""),
    (["meta-data", "exists", "zz"], b""),
    (["meta-data", "keys"], b""),
    (["annotate", "hello", "--style", "info", "--context", "c.x"], b""),
    (["annotate", "--append"], b"body"),
    (["annotate", "--style", "error"], b""),
    (["annotate"], b"x" * ((1 << 20) + 1)),
    (["annotation", "remove", "--context", "a/b.c"], b""),
    (["step", "get", "label"], b""),
    (["step", "get", "--format", "json", "--step", "k.e"], b""),
    (["step", "update", "label", "--append"], b"stdin"),
    (["step", "cancel", "--force", "--force-grace-period-seconds", "3"], b""),
    (["build", "cancel"], b""),
    (["job", "update", "timeout", "20"], b""),
    (["job", "promise-failure", "2", "--reason", "r"], b""),
    (["job", "promise-failure", "0"], b""),
    (["stop", "--force"], b""),
    (["pause", "--note", "n", "--timeout-in-minutes", "5"], b""),
    (["resume"], b""),
    (["secret", "get", "A"], b""),
    (["secret", "get", "A", "--skip-redaction"], b""),
    (["secret", "get", "A", "B", "--skip-redaction"], b""),
    (["secret", "get", "--format", "env", "A", "B", "--skip-redaction"], b""),
    (["oidc", "request-token", "--audience", "a", "--claim", "x,y", "--skip-redaction", "--format", "gcp"], b""),
    (["artifact", "upload", "**/*.txt"], b""),
    (["artifact", "upload", "--literal", "missing.txt"], b""),
    (["artifact", "upload", "nothing*"], b""),
    (["artifact", "upload", "*", "x://y"], b""),
    (["artifact", "search", "*"], b""),
    (["artifact", "search", "*", "--format", r'%i|%p|%s|%S|%T|%u\t"x"\n'], b""),
    (["artifact", "search", "zzz"], b""),
    (["artifact", "search", "zzz", "--allow-empty-results"], b""),
    (["artifact", "search", "*", "--format", r"\q"], b""),
    (["artifact", "shasum", "pre/one.txt"], b""),
    (["artifact", "shasum", "pre/one.txt", "--sha256"], b""),
    (["artifact", "shasum", "*"], b""),
    (["artifact", "download", "pre/*", "d"], b""),
    (["artifact", "download", "pre/*", "pre"], b""),
    (["artifact", "download", "zzz", "d"], b""),
    (["artifact", "download", "pre/*", "missing"], b""),
    (["env", "dump"], b""),
    (["env", "get"], b""),
    (["lock", "get", "k"], b""),
    (["meta-data", "get"], b""),
    (["no-such-command"], b""),
]


def _request(one: Recorded) -> tuple[Any, ...]:
    try:
        body = json.loads(one.body) if one.body else None
    except ValueError:
        body = len(one.body) > 0
    if isinstance(body, dict):
        body.pop("idempotency_uuid", None)
        body.pop("id", None)
        if isinstance(body.get("artifacts"), list):
            for artifact in body["artifacts"]:
                artifact.pop("absolute_path", None)
            body["artifacts"].sort(key=lambda artifact: (artifact.get("path", ""), artifact["id"]))
    return one.method, one.path, sorted(one.query.items()), body


def _on_a_server(run: Any, arguments: list[str], stdin: bytes, folder: Path) -> Seen:
    for path in ("a.txt", "b.log", "d/c.txt", "d/e/f.txt", ".hidden.txt"):
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text(path)
    (folder / "pre").mkdir()
    (folder / "link.txt").symlink_to("a.txt")
    (folder / "linked").symlink_to("d")
    with fake_job_server() as server:
        _fill(server)
        environment = {**server.environment(), "MY_TOKEN": "my-token-value", "LC_ALL": "C.UTF-8"}
        status, out = run(environment, arguments, stdin, folder)
        requests = sorted((_request(one) for one in server.requests if one.path.startswith("/v3/")), key=repr)
        stored = {path: content for path, content in server.stored.items() if not path.startswith("pre/")}
        port, here = str(server.port).encode(), str(folder).encode()
    files = {str(file.relative_to(folder)): file.read_bytes() for file in folder.rglob("*") if file.is_file()}
    text = out.replace(port, b"PORT").replace(here, b"HERE")
    text = re.sub(rb'"_[A-Z_]+":"[^"]*",?', b"", text)  # what Go's tool chain adds to its own environment
    return Seen(status, text.replace(b",}", b"}"), (requests, stored, files))


def _fill(server: FakeJobServer) -> None:
    server.meta_data["k"] = "val\nue"
    server.secrets = {"A": "se'cret-a", "B": "secret-b"}
    server.add_artifact("pre/one.txt", b"one")
    server.add_artifact("pre/two.txt", b"two")


@pytest.mark.parametrize(("arguments", "stdin"), ON_A_SERVER, ids=lambda value: str(value)[:60])
def test_the_same_happens_on_a_server(arguments: list[str], stdin: bytes, tmp_path: Path) -> None:
    seen = []
    for name, run in (("stock", run_stock), ("ours", run_ours)):
        folder = tmp_path / name
        folder.mkdir()
        seen.append(_on_a_server(run, arguments, stdin, folder))
    assert seen[1] == seen[0]


# --- on one agent's sockets ---------------------------------------------------------------------------------------

ON_SOCKETS: list[tuple[list[str], bytes]] = [
    (["env", "get"], b""),
    (["env", "get", "A"], b""),
    (["env", "get", "A", "Z"], b""),
    (["env", "get", "--format", "json-pretty", "A", "B"], b""),
    (["env", "set", "N=1", "A=2"], b""),
    (["env", "set", "--output-format", "json", "N=1", "A=2"], b""),
    (["env", "set", "--input-format", "json", "-"], b'{"Q":"1"}'),
    (["env", "set", "-"], b"Q=1\nR=2\n"),
    (["env", "set", "bad"], b""),
    (["env", "set", "BUILDKITE_AGENT_PID=1"], b""),
    (["env", "set", "BUILDKITE_REFSPEC=1"], b""),
    (["env", "unset", "A", "Z"], b""),
    (["env", "unset", "Z"], b""),
    (["env", "unset", "--output-format", "json", "A", "Z"], b""),
    (["env", "unset", "BUILDKITE_SHELL"], b""),
    (["workdir", "set", "."], b""),
    (["workdir", "set", "missing"], b""),
    (["redactor", "add"], b" secret-value\n"),
    (["redactor", "add", "--format", "json", "--apply-vars-filter"], b'{"a_TOKEN":"secret1","b":"secret22"}'),
    (["redactor", "add", "--format", "json"], b"nope"),
    (["job", "promise-failure", "3"], b""),
    (["job", "promise-failure", "9"], b""),
    (["lock", "get", "held"], b""),
    (["lock", "release", "free", "t"], b""),
    (["lock", "release", "held", "me"], b""),
    (["lock", "do", "free"], b""),
    (["lock", "done", "free"], b""),
    (["lock", "do", "held"], b""),
    (["lock", "acquire", "held", "--lock-wait-timeout", "150ms"], b""),
    (["lock", "acquire", "free"], b""),
]


class Control:
    """A job that does what its API asks, and remembers it."""

    def __init__(self) -> None:
        self.variables = {"A": "1", "B": "x=y"}
        self.done: list[object] = []

    def environment(self) -> Mapping[str, str]:
        return self.variables

    def change_environment(self, values: Mapping[str, str], removed: Collection[str]) -> None:
        self.variables.update(values)
        for name in removed:
            del self.variables[name]

    def set_directory(self, directory: str) -> None:
        self.done.append(Path(directory).name)

    def redact(self, value: str) -> None:
        self.done.append(value)

    def promise_failure(self, exit_status: int, reason: str) -> None:
        self.done.append((exit_status, reason))
        if exit_status == 9:
            raise Unavailable("api.status", "promised before", status=409)


@pytest.fixture
def sockets() -> Iterator[Path]:
    # Not below pytest's folder: a socket's path may have 107 bytes.
    folder = Path(tempfile.mkdtemp(prefix="ps-"))
    yield folder
    shutil.rmtree(folder)


def _on_sockets(run: Any, arguments: list[str], stdin: bytes, folder: Path, sockets: Path) -> Seen:
    control, locks = Control(), LockApi(sockets)
    locks.start()
    client = LockClient(sockets)
    client._swap("held", "", "me")
    with JobApi(control, sockets) as api:
        environment = {
            **api.environment,
            "BUILDKITE_SOCKETS_PATH": str(sockets),
            "BUILDKITE_JOB_ID": "j",
            "BUILDKITE_AGENT_ACCESS_TOKEN": "t",
            "BUILDKITE_AGENT_ENDPOINT": "http://127.0.0.1:1/v3",
        }
        status, out = run(environment, arguments, stdin, folder)
        state = {key: _without_token(client.get(key).encode()) for key in ("held", "free")}
    client.close()
    locks.close()
    text = _without_token(out.replace(str(folder).encode(), b"HERE"))
    return Seen(status, text, (dict(sorted(control.variables.items())), sorted(map(str, control.done)), state))


def _without_token(text: bytes) -> bytes:
    return re.sub(rb"acquired\(pid=\d+,otp=[0-9a-f]{32}\)", b"TOKEN", text)


@pytest.mark.parametrize(("arguments", "stdin"), ON_SOCKETS, ids=lambda value: str(value)[:60])
def test_the_same_happens_on_our_agent_s_sockets(
    arguments: list[str], stdin: bytes, tmp_path: Path, sockets: Path
) -> None:
    seen = []
    for name, run in (("stock", run_stock), ("ours", run_ours)):
        (sockets / name).mkdir()
        folder = tmp_path / "same"
        folder.mkdir(exist_ok=True)
        seen.append(_on_sockets(run, arguments, stdin, folder, sockets / name))
    assert seen[1] == seen[0]


# --- patterns -----------------------------------------------------------------------------------------------------

PATTERNS = [
    "*", "**", "**/*", "*/*", "a*", "?", "??", "[ab]", "[^ab]", "[a-c]", "{a,b}", "{a,b}/*", "{a*,b/**}", "{,a}b",
    "a/**", "a/**/b", "**/b", "**/{a,b}/*", "*.b", ".*", "./a", "a/../b", r"\[x\]", "[[]x]", r"\*", r"a\,b",
    "{a\\,b,b}", "a,b", "a}", "a]", "a[", "a[b", "a{b", "***", "a**", "**b", "é*", "[^a]*", "{a,{b,c}}*", "a/?",
    "dangling", "missing", "a/", "*/", "linked/*", "l*/*", "{}", "[]", "a//b", "\\", "{a,b",
]  # fmt: skip


def _plant(folder: Path) -> None:
    for path in (
        "a/a", "a/b", "a/b.b", "a/c/b", "b/a/b", "b/x", "c", "ab", "b.b", ".b", "[x]", "*", "a,b", "é", "éa", "d/a",
    ):  # fmt: skip
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text(path)
    (folder / "linked").symlink_to("a")


@pytest.mark.parametrize("follow", [False, True], ids=["", "following links"])
def test_patterns_mean_the_same(tmp_path: Path, follow: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    _plant(tmp_path)
    monkeypatch.chdir(tmp_path)
    switch = ["--glob-resolve-follow-symlinks"] if follow else []
    differ = {}
    with fake_job_server() as server:
        for pattern in PATTERNS:
            server.artifacts.clear()
            arguments = ["artifact", "upload", "--log-level", "fatal", *switch, pattern]
            status, _ = run_stock(server.environment(), arguments, b"", tmp_path)
            theirs = sorted(artifact["path"] for artifact in server.artifacts.values())
            try:
                ours = sorted(file.path for file in collect_files(Search(pattern, follow_links=follow)))
                failed = False
            except PipesealError:
                ours, failed = [], True
            if (status != 0, theirs) != (failed, ours):
                differ[pattern] = (theirs, ours)
    assert differ == {}

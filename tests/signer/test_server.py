"""The signer's socket: who may speak there, what it makes of nonsense, and what happens to two who come at once."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeAlias

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeseal.agent.signer_client import SignerClient
from pipeseal.errors import ConfigurationError, MalformedInput, PipesealError, Unavailable, VerificationError
from pipeseal.signer import server as server_module
from pipeseal.signer.server import SignerServer
from pipeseal.signerapi.messages import (
    Granted,
    GrantRequest,
    RevokeRequest,
    Signed,
    SignRequest,
    parse_granted,
    parse_request,
    parse_signed,
    render_answer,
    render_request,
)
from tests.signer.workshop import JOB, STRANGER, SUPERVISOR, Workshop

GROUP = 70010
ASK = """
import socket, sys
with socket.socket(socket.AF_UNIX) as s:
    try:
        s.connect(sys.argv[1])
    except OSError as error:
        sys.exit(f"connect: {error.strerror}")
    try:
        s.sendall(sys.stdin.buffer.read())
        s.shutdown(socket.SHUT_WR)
    except BrokenPipeError:
        pass
    while piece := s.recv(65536):
        sys.stdout.buffer.write(piece)
"""
READ = "import sys; sys.stdout.write(open(sys.argv[1]).read())"
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can play other users")

Ended: TypeAlias = "subprocess.CompletedProcess[bytes]"


class Served:
    """A signer that listens, in a folder that any user can get to."""

    def __init__(self, folder: Path, shop: Workshop, *, group: int | None = None) -> None:
        self.shop = shop
        self.socket = folder / "socket"
        self.server = SignerServer(self.socket, shop.service, tell=shop.said.append, group=group)
        self.thread = threading.Thread(target=self.server.serve)
        self.thread.start()

    def close(self) -> None:
        self.server.close()
        self.thread.join()

    def ask(self, request: bytes, uid: int, *, in_group: bool = True) -> Ended:
        """What the signer answers to a process of another user."""
        return as_user(uid, ASK, str(self.socket), data=request, group=GROUP if in_group else uid)


def as_user(uid: int, script: str, *arguments: str, data: bytes = b"", group: int = GROUP) -> Ended:
    """A small program of another user's."""
    python = os.path.realpath(sys.executable)
    command = [python, "-I", "-S", "-c", script, *arguments]
    try:
        return subprocess.run(
            command, input=data, capture_output=True, check=False, cwd="/", user=uid, group=group, extra_groups=[]
        )
    except PermissionError:
        pytest.skip(f"other users cannot run {python}")


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder with a short name that other users can look into."""
    path = Path(tempfile.mkdtemp(prefix="signer-"))
    path.chmod(0o711)
    yield path
    shutil.rmtree(path)


@pytest.fixture
def served(folder: Path, tmp_path: Path) -> Iterator[Served]:
    served = Served(folder, Workshop(tmp_path), group=GROUP)
    yield served
    served.close()


@pytest.fixture
def own(folder: Path, tmp_path: Path) -> Iterator[Served]:
    """A signer whose supervisors and jobs run as whoever runs the tests."""
    uid = os.getuid()
    served = Served(folder, Workshop(tmp_path, uids=(uid, uid)))
    yield served
    served.close()


@needs_root
def test_each_user_is_known_by_the_kernel_and_may_do_its_own_part(served: Served) -> None:
    shop = served.shop
    job = shop.job()
    grant = render_request(job.request)
    for uid in (JOB, STRANGER, 0):  # not even root, unless the signer's file names it
        with pytest.raises(VerificationError) as refused:
            parse_granted(served.ask(grant, uid).stdout)
        assert refused.value.code == "signer.not_allowed"
    capability = parse_granted(served.ask(grant, SUPERVISOR).stdout).capability
    assert capability
    sign = render_request(SignRequest(capability=capability, job_id=job.id))
    for uid in (SUPERVISOR, STRANGER):
        with pytest.raises(VerificationError) as refused:
            parse_signed(served.ask(sign, uid).stdout)
        assert refused.value.code == "signer.not_allowed"
    with pytest.raises(VerificationError) as refused:
        parse_granted(served.ask(render_request(RevokeRequest(job_id=job.id)), JOB).stdout)
    assert refused.value.code == "signer.not_allowed"
    signed = parse_signed(served.ask(sign, JOB).stdout)
    assert [step.command for step in shop.verified(signed.pipelines[0])] == ["scripts/test"]
    assert any("uid 70003" in line for line in shop.said)


@needs_root
def test_a_job_can_neither_read_the_key_nor_get_anything_signed(served: Served) -> None:
    # G06, G07, G08: everything that a job can do by itself, as the user that jobs run as.
    shop = served.shop
    shop.folder.chmod(0o755)
    for parent in shop.folder.parents:
        if parent == Path(tempfile.gettempdir()):
            break
        parent.chmod(0o755)
    for path in (shop.home / "signing.json", shop.home / "signer.toml", shop.home / "state" / "grants.db"):
        assert path.is_file()
        denied = as_user(JOB, READ, str(path), group=JOB)
        assert denied.returncode != 0 and b"PermissionError" in denied.stderr, path
        assert "signing.json" not in path.parent.name
    readable = as_user(0, READ, str(shop.home / "signing.json"), group=0)
    assert b'"d"' in readable.stdout  # the twin: who may read it reads it
    job = shop.job()
    requests = [
        render_request(SignRequest(capability="", job_id=job.id)),
        render_request(SignRequest(capability="x" * 43, job_id=job.id)),
        render_request(SignRequest(capability="x" * 43, job_id=job.id, generated="steps: [{command: evil}]")),
        render_request(job.request),
        json.dumps({"version": 1, "call": "sign", "capability": "x", "job_id": job.id, "uid": SUPERVISOR}).encode(),
        json.dumps({"version": 1, "call": "sign", "capability": "x", "repository": "/elsewhere"}).encode(),
    ]
    for request in requests:
        answer = served.ask(request, JOB).stdout
        assert set(json.loads(answer)) == {"error"}, answer
    # Who is not in the socket's group does not even get to speak.
    outside = served.ask(requests[0], JOB, in_group=False)
    assert outside.returncode != 0 and b"connect: Permission denied" in outside.stderr
    capability = shop.grant(job)
    signed = served.ask(render_request(SignRequest(capability=capability, job_id=job.id)), JOB)
    assert b"PIPESEAL_SEAL" in signed.stdout


def test_of_two_that_use_one_capability_at_once_one_gets_it(own: Served) -> None:
    shop = own.shop
    job = shop.job()
    client = SignerClient(own.socket)
    capability = client.grant(job.request).capability
    outcomes: list[str] = []
    start = threading.Barrier(8)

    def use() -> None:
        start.wait()
        try:
            outcomes.append(SignerClient(own.socket).sign(SignRequest(capability=capability, job_id=job.id)).source)
        except PipesealError as error:
            outcomes.append(error.code)

    threads = [threading.Thread(target=use) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(outcomes) == [".buildkite/pipeline.yml", *["signer.used"] * 7]


def test_a_refusal_keeps_its_place_on_its_way_to_the_job(own: Served) -> None:
    own.shop.add_commit({".buildkite/pipeline.yml": "steps:\n  - command: $BUILDKITE_MESSAGE\n"})
    job = own.shop.job()
    client = SignerClient(own.socket)
    capability = client.grant(job.request).capability
    with pytest.raises(MalformedInput) as refused:
        client.sign(SignRequest(capability=capability, job_id=job.id))
    assert refused.value.code == "signer.taint" and refused.value.position is not None
    assert str(refused.value.position) == ".buildkite/pipeline.yml:2:14"


def test_grants_end_when_their_supervisor_says_so(own: Served) -> None:
    client = SignerClient(own.socket)
    job = own.shop.job()
    capability = client.grant(job.request).capability
    client.revoke(job.id)
    client.revoke("never heard of")
    with pytest.raises(VerificationError) as refused:
        client.sign(SignRequest(capability=capability, job_id=job.id))
    assert refused.value.code == "signer.ended"


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"{",
        b"[]",
        b'"text"',
        b'{"version": 1}',
        b'{"version": 2, "call": "sign"}',
        b'{"version": 1, "call": "__class__"}',
        b'{"version": 1, "call": "sign", "capability": 7}',
        b'{"version": 1, "call": "sign", "environment": {"BUILDKITE_BRANCH": "evil"}}',
        b'{"version": 1, "call": "grant", "tags": "queue=default"}',
        b'{"version": 1, "call": "sign", "generated": "\\ud800"}',
        b"\xff" * 1000,
        b"[" * 100_000,
    ],
)
def test_nonsense_is_refused(own: Served, data: bytes) -> None:
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(str(own.socket))
        connection.sendall(data)
        connection.shutdown(socket.SHUT_WR)
        answer = json.loads(connection.makefile("rb").read())
    assert answer["error"]["code"] == "signer.request"


def test_a_request_that_never_ends_is_cut_off(own: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(server_module, "REQUEST_SECONDS", 0.2)
        patch.setattr(server_module, "MAX_GRANT_BYTES", 1000)
        _send_without_end(own)
    assert SignerClient(own.socket).grant(own.shop.job().request).capability


def _send_without_end(own: Served) -> None:
    for data in (b"{", b"x" * 5000):
        with socket.socket(socket.AF_UNIX) as connection:
            connection.connect(str(own.socket))
            connection.sendall(data)
            answer = json.loads(connection.makefile("rb").read())
        assert answer["error"]["code"] == "signer.request"


@needs_root
def test_jobs_that_hold_the_signer_up_do_not_keep_supervisors_out(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(served.server, "_jobs", threading.Semaphore(0))
    job = served.shop.job()
    with pytest.raises(Unavailable) as refused:
        parse_signed(served.ask(render_request(SignRequest(capability="x", job_id=job.id)), JOB).stdout)
    assert refused.value.code == "signer.busy"
    assert parse_granted(served.ask(render_request(job.request), SUPERVISOR).stdout).capability


def test_the_socket_is_for_its_group_alone_and_for_one_signer(own: Served, folder: Path) -> None:
    assert own.socket.stat().st_mode & 0o777 == 0o660
    with pytest.raises(ConfigurationError) as refused:
        SignerServer(own.socket, own.shop.service, tell=own.shop.said.append)
    assert refused.value.code == "signer.socket"
    (folder / "file").write_text("x")
    for path in (folder / "file", folder / "not-there" / "socket", folder / ("x" * 200)):
        with pytest.raises(ConfigurationError) as refused:
            SignerServer(path, own.shop.service, tell=own.shop.said.append)
        assert refused.value.code == "signer.socket"


def test_what_a_dead_signer_left_behind_is_no_obstacle(own: Served, folder: Path) -> None:
    left = folder / "left"
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(left))
    again = SignerServer(left, own.shop.service, tell=own.shop.said.append)
    again.close()
    assert not left.exists()


def test_without_a_signer_nothing_is_signed_and_it_says_so(folder: Path) -> None:
    with pytest.raises(Unavailable) as refused:
        SignerClient(folder / "none").sign(SignRequest(capability="x", job_id="j"))
    assert refused.value.code == "signer.unavailable"


def test_a_fault_of_the_signers_own_signs_nothing(own: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(own.shop.service, "answer", fail)
    with pytest.raises(Unavailable) as refused:
        SignerClient(own.socket).grant(own.shop.job().request)
    assert refused.value.code == "signer.fault"


def test_grants_that_cannot_be_written_down_are_not_made(own: Served) -> None:
    job = own.shop.job()
    client = SignerClient(own.socket)
    capability = client.grant(job.request).capability
    (own.shop.home / "state" / "grants.db").write_bytes(b"not a database" * 1000)
    for ask in (
        lambda: client.sign(SignRequest(capability=capability, job_id=job.id)),
        lambda: client.grant(own.shop.job().request),
    ):
        with pytest.raises(Unavailable) as refused:
            ask()
        assert refused.value.code == "signer.state"


# --- messages -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("answer", [b"", b"{", b"[]", b'{"capability": 1}', b'{"error": {}}', b'{"error": 1}'])
def test_answers_that_are_none_are_malformed(answer: bytes) -> None:
    parsers: list[Callable[[bytes], object]] = (
        [parse_granted, parse_signed] if b"capa" not in answer else [parse_granted]
    )
    for parse in parsers:
        with pytest.raises(MalformedInput) as refused:
            parse(answer)
        assert refused.value.code == "signer.answer"
    with pytest.raises(MalformedInput):
        parse_signed(b'{"source": "x", "pipelines": ["a"], "summaries": []}')


texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)


@given(
    st.builds(
        GrantRequest, job=texts, job_id=texts, agent_id=texts, agent_name=texts, tags=st.lists(texts).map(tuple)
    )
    | st.builds(RevokeRequest, job_id=texts)
    | st.builds(SignRequest, capability=texts, job_id=texts, file=texts, generated=st.none() | texts)
)
def test_requests_are_read_as_they_were_written(request: GrantRequest | RevokeRequest | SignRequest) -> None:
    assert parse_request(render_request(request)) == request


@given(
    st.binary(max_size=200)
    | st.recursive(
        st.none() | st.booleans() | st.integers() | texts,
        lambda inner: st.lists(inner) | st.dictionaries(texts, inner),
    ).map(lambda value: json.dumps(value).encode())
)
def test_whatever_comes_is_read_or_malformed(data: bytes) -> None:
    for parse in (parse_request, parse_granted, parse_signed):
        try:
            parse(data)
        except PipesealError:
            pass


def test_answers_and_errors_are_read_as_they_were_written() -> None:
    signed = Signed(source="a", pipelines=("{}",), summaries=("1 step",), notes=("note",))
    assert parse_signed(render_answer(signed)) == signed
    granted = Granted(capability="c")
    assert parse_granted(render_answer(granted)) == granted
    for error in (
        VerificationError("signer.used", "m", help="h", evidence={"a": "b"}),
        Unavailable("git.failed", "m"),
        ConfigurationError("upload.no_file", "m"),
        MalformedInput("yaml.syntax", "m"),
    ):
        with pytest.raises(type(error)) as raised:
            parse_signed(render_answer(error))
        assert (raised.value.code, raised.value.message, raised.value.help) == (error.code, error.message, error.help)
        assert raised.value.evidence == error.evidence

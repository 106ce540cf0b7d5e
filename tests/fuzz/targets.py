"""What is fuzzed: readers of bytes that others write, each with honest bytes to begin with.

A target may raise an error of the four families, or take the bytes. Anything else is a fault.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from http import HTTPStatus
from socketserver import StreamRequestHandler, ThreadingTCPServer

from pipeseal.agent.client import AgentClient
from pipeseal.agent.connection import OneShot, parse_endpoint
from pipeseal.agent.pool import ConnectionPool
from pipeseal.agent.settings import parse_config_file
from pipeseal.agentapi.job import parse_job
from pipeseal.errors import PipesealError, VerificationError
from pipeseal.pipeline.parse import parse_pipeline
from pipeseal.policy import evaluate
from pipeseal.policy.file import parse_policy
from pipeseal.signing.jws import parse_jws, verify_jws
from pipeseal.signing.keys.jwk import parse_jwks
from pipeseal.signing.keys.verification_keys import parse_verification_keys
from pipeseal.signing.seal.jws import parse_seal_jws
from pipeseal.signing.seal.parse import parse_seal
from pipeseal.signing.seal.verify import verify_seal
from tests.policy.honest import LOCAL, NOW, SETTINGS, document
from tests.signing.material import pair_of, verification_keys

PIPELINE = b"""\
env: {TIER: gold, N: 1}
agents: {queue: default}
steps:
  - label: "test {{matrix}}"
    key: test
    command: &c ["make test", 'echo "$$X ${Y:-z}"']
    plugins: [{docker#v5: {image: alpine, n: 0x1F}}, ./local]
    matrix: {setup: {os: [a, b]}, adjustments: [{with: {os: c}, skip: true}]}
    secrets: {TOKEN: key}
  - wait: ~
  - {group: g, steps: [{<<: {retry: {automatic: true}}, command: *c}]}
  - block: b
  - trigger: other
"""
POLICY = b"""\
version = 1
mode = "enforce"
keys = ["a", "b*"]
server-variables = ["X_*"]
[[allow]]
repository = "git@example.test:acme/*"
branches = ["main"]
max-attempts = 3
[key."a"]
not-after = 2030-01-01T00:00:00Z
revoked = "lost"
"""
SETTINGS_FILE = (
    b'endpoint="https://x/v3" # there\nexport tags=\'a=b,c=d\'\nspawn: 3\n\n# no\nshell="/bin/sh -c \\"x\\""\n'
)


@dataclass(frozen=True)
class Target:
    """One reader.

    Parameters:
        name: its name.
        read: takes bytes.
        seeds: honest bytes.
    """

    name: str
    read: Callable[[bytes], object]
    seeds: Callable[[], list[bytes]]


def _text(read: Callable[[str], object]) -> Callable[[bytes], object]:
    return lambda data: read(data.decode("utf-8", "surrogateescape"))


def _evaluate(data: bytes) -> None:
    """A decision, whatever the job: `evaluate` raises nothing at all."""
    try:
        job = parse_job(data)
    except PipesealError:
        return
    decision = evaluate(job, SETTINGS, LOCAL)
    code = getattr(decision, "code", "")
    if code == "verification.fault":
        raise AssertionError(f"verification itself failed: {decision}")


def _jws(text: str) -> None:
    parse_jws(text)
    verify_jws(text, b"payload", verification_keys(), algorithm="EdDSA")


def _seal(text: str) -> None:
    try:
        parse_seal_jws(text)
    finally:
        try:
            verify_seal(text, verification_keys(), now=NOW, agent_tags=LOCAL.tags)
        except VerificationError:
            pass


def _jobs() -> list[bytes]:
    return [json.dumps(document(how)).encode() for how in ("reference", "bound", "static", "sealed")]


def _signatures() -> list[bytes]:
    return [document(how)["step"]["signature"]["value"].encode() for how in ("bound", "sealed")]


def _seals() -> list[bytes]:
    return [document("sealed")["step"]["env"]["PIPESEAL_SEAL"].encode()]


class _Answering(ThreadingTCPServer):
    """Answers each connection with the same bytes, whatever is asked."""

    daemon_threads = True
    block_on_close = False
    answer = b""

    def __init__(self) -> None:
        server = self

        class Handler(StreamRequestHandler):
            def handle(self) -> None:
                try:
                    while self.rfile.readline(65_536).strip():
                        pass
                    self.wfile.write(server.answer)
                except OSError:
                    pass  # the client has seen enough

        super().__init__(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.serve_forever, args=(0.05,), daemon=True).start()


@cache
def _answering() -> _Answering:
    return _Answering()


def _ask(data: bytes) -> None:
    """The agent's client, on both of its transports, of a server that answers with these bytes."""
    server = _answering()
    server.answer = data
    url = f"http://127.0.0.1:{server.server_address[1]}/v3"
    endpoint = parse_endpoint(url)
    faults = []
    for transport in (OneShot(endpoint, user_agent="fuzz"), ConnectionPool(endpoint, user_agent="fuzz")):
        client = AgentClient(url, "token", transport=transport)
        try:
            client.ping(timeout_seconds=1.0)
        except PipesealError as error:
            faults.append(error)
        finally:
            client.close()
    if faults:
        raise faults[0]


def _answers() -> list[bytes]:
    bodies = [
        b'{"action":"","message":"x","job":{"id":"0193d0a1-0000-7000-8000-000000000001","state":"accepted"}}',
        b"{}",
        b'{"message":"no"}',
    ]
    answers = []
    for status in (HTTPStatus.OK, HTTPStatus.FOUND, HTTPStatus.INTERNAL_SERVER_ERROR):
        for body in bodies:
            head = (
                f"HTTP/1.1 {status.value} {status.phrase}\r\nContent-Type: text/plain\r\nContent-Length: {len(body)}"
            )
            answers.append(f"{head}\r\nRetry-After: 3\r\nLocation: http://x/\r\n\r\n".encode() + body)
    answers.append(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n")
    return answers


TARGETS = (
    Target("pipeline", parse_pipeline, lambda: [PIPELINE, json.dumps({"steps": [{"command": "x"}]}).encode()]),
    Target("job", parse_job, _jobs),
    Target("decision", _evaluate, _jobs),
    Target("jwks", parse_jwks, lambda: [pair_of(name).private_set.encode() for name in ("EdDSA", "ES256", "PS256")]),
    Target(
        "verification keys",
        parse_verification_keys,
        lambda: [pair_of(n).public_set.encode() for n in ("EdDSA", "ES384")],
    ),
    Target("signature", _text(_jws), _signatures),
    Target("seal", _text(_seal), _seals),
    Target("seal payload", _text(parse_seal), _seals),
    Target("policy", parse_policy, lambda: [POLICY]),
    Target("settings", _text(lambda text: parse_config_file(text, "agent.cfg")), lambda: [SETTINGS_FILE]),
    Target("answer", _ask, _answers),
)
BY_NAME = {target.name: target for target in TARGETS}

"""Our side of the rows per step: prepares an input, then makes one pass over it for each line on standard input.

`python -m benchmarks.worker OPERATION --input FILE [--jwks FILE] [--repo URL] [--secrets COUNT]` answers each line
with a JSON line of `items`, `seconds` and `cpu_seconds`, as the Go peer's `bench` does. `signed` is the exception: it
reads a pipeline and writes it signed, once, as the Go peer's `sign` does.
"""

from __future__ import annotations

import argparse
import json
import resource
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from pipeseal.agentapi.job import parse_job
from pipeseal.pipeline.parse import parse_command_step, parse_pipeline
from pipeseal.pipeline.render import pipeline_value
from pipeseal.pipeline.steps import CommandStep
from pipeseal.policy import ApprovedJob, VerificationSettings, evaluate
from pipeseal.signing.keys.open import load_verification_keys, open_signing_key
from pipeseal.signing.sign import sign_pipeline
from pipeseal.signing.verify import verify_step

# One pass: does the work once and says how many steps or jobs that was.
Pass = Callable[[], int]


def prepare_parse(arguments: argparse.Namespace) -> Pass:
    """YAML bytes to a pipeline."""
    data = arguments.input.read_bytes()

    def one_pass() -> int:
        return len(parse_pipeline(data).steps)

    return one_pass


def prepare_sign(arguments: argparse.Namespace) -> Pass:
    """A parsed pipeline to a signed one; what the Go peer signs too, so without bindings."""
    pipeline = parse_pipeline(arguments.input.read_bytes())
    key = open_signing_key(str(arguments.jwks))
    commands = sum(isinstance(step, CommandStep) for step in pipeline.steps)

    def one_pass() -> int:
        sign_pipeline(pipeline, key=key, pipeline_env=pipeline.env, repository_url=arguments.repo)
        return commands

    return one_pass


def prepare_verify(arguments: argparse.Namespace) -> Pass:
    """A decoded step and the job's variables to a proven step."""
    keys = load_verification_keys(str(arguments.jwks))
    jobs = [(parse_command_step(job["step"]), job["env"]) for job in _read_jobs(arguments.input)]

    def one_pass() -> int:
        for step, env in jobs:
            verify_step(step, env=env, repository_url=env["BUILDKITE_REPO"], keys=keys)
        return len(jobs)

    return one_pass


def prepare_verify_job(arguments: argparse.Namespace) -> Pass:
    """The bytes of a job to an approved job."""
    settings = VerificationSettings(keys=load_verification_keys(str(arguments.jwks)))
    jobs = arguments.input.read_bytes().strip().split(b"\n")

    def one_pass() -> int:
        for data in jobs:
            assert isinstance(evaluate(parse_job(data), settings), ApprovedJob)
        return len(jobs)

    return one_pass


def prepare_verify_raw(arguments: argparse.Namespace) -> Pass:
    """The bare Ed25519 check of `cryptography` over the same signed bytes, made beforehand."""
    import base64

    import rfc8785
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

    def decode(text: str) -> bytes:
        return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))

    key = Ed25519PublicKey.from_public_bytes(decode(json.loads(arguments.jwks.read_bytes())["keys"][0]["x"]))
    checks = []
    for job in _read_jobs(arguments.input):
        step = job["step"]
        values = {name: step.get(name) for name in ("command", "env", "plugins", "matrix")}
        values["repository_url"] = job["env"]["BUILDKITE_REPO"]
        assert sorted(values) == step["signature"]["signed_fields"]
        payload = rfc8785.dumps({"alg": "EdDSA", "values": values})
        header, _, signature = step["signature"]["value"].split(".")
        signed = header.encode() + b"." + base64.urlsafe_b64encode(payload).rstrip(b"=")
        checks.append((decode(signature), signed))

    def one_pass() -> int:
        for signature, signed in checks:
            key.verify(signature, signed)
        return len(checks)

    return one_pass


def prepare_redact(arguments: argparse.Namespace) -> Pass:
    """A log in reads of 64 KiB through the redactor; nothing of a secret may be left."""
    from benchmarks.generate import generate_secrets
    from pipeseal.agent.redaction import MARK, Redactor

    reads, secrets = _read_blocks(arguments.input), generate_secrets(arguments.secrets)
    hidden = sum(map(b"".join(reads).count, (secret.encode() for secret in secrets)))

    def one_pass() -> int:
        redactor = Redactor()
        redactor.add_all(secrets)
        shown = [redactor.feed(block) for block in reads]
        shown.append(redactor.flush())
        marks = sum(block.count(MARK) for block in shown)
        assert marks == hidden, f"{marks} marks for {hidden} secrets"
        return sum(map(len, reads)) // 1_000_000

    return one_pass


def prepare_redact_re(arguments: argparse.Namespace) -> Pass:
    """The same reads through one alternation of `re`, each alone."""
    import re

    from benchmarks.generate import generate_secrets

    reads = _read_blocks(arguments.input)
    pattern = re.compile("|".join(map(re.escape, generate_secrets(arguments.secrets))).encode())

    def one_pass() -> int:
        for block in reads:
            pattern.sub(b"[REDACTED]", block)
        return sum(map(len, reads)) // 1_000_000

    return one_pass


OPERATIONS: dict[str, Callable[[argparse.Namespace], Pass]] = {
    "parse": prepare_parse,
    "sign": prepare_sign,
    "verify": prepare_verify,
    "verify-job": prepare_verify_job,
    "verify-raw": prepare_verify_raw,
    "redact": prepare_redact,
    "redact-re": prepare_redact_re,
}


def _read_blocks(path: Path) -> list[bytes]:
    with path.open("rb") as file:
        return list(iter(partial(file.read, 65_536), b""))


def _read_jobs(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_bytes().splitlines()]


def write_signed(arguments: argparse.Namespace) -> None:
    """A pipeline from standard input to standard output as signed JSON."""
    pipeline = parse_pipeline(sys.stdin.buffer.read())
    key = open_signing_key(str(arguments.jwks))
    signed = sign_pipeline(pipeline, key=key, pipeline_env=pipeline.env, repository_url=arguments.repo)
    json.dump(pipeline_value(signed), sys.stdout)


def main() -> None:
    """Serve passes until standard input ends."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.worker", description=__doc__)
    parser.add_argument("operation", choices=[*OPERATIONS, "signed"])
    parser.add_argument("--input", type=Path)
    parser.add_argument("--jwks", type=Path)
    parser.add_argument("--repo", default="")
    parser.add_argument("--secrets", type=int, default=0)
    arguments = parser.parse_args()
    if arguments.operation == "signed":
        write_signed(arguments)
        return
    one_pass = OPERATIONS[arguments.operation](arguments)
    for _ in sys.stdin:
        before, start = _cpu_seconds(), time.monotonic()
        items = one_pass()
        seconds, cpu_seconds = time.monotonic() - start, _cpu_seconds() - before
        print(json.dumps({"items": items, "seconds": seconds, "cpu_seconds": cpu_seconds}), flush=True)


def _cpu_seconds() -> float:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


if __name__ == "__main__":
    main()

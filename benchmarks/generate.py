"""The generated pipeline that every benchmark reads, and the jobs a control plane would make of its steps.

Everything is a function of the number of steps: the same number gives the same bytes on every machine.
"""

from __future__ import annotations

import itertools
import json
import random
import string
from collections.abc import Iterator, Sequence
from typing import Any, BinaryIO

REPOSITORY_URL = "https://git.example.com/acme/monorepo.git"
COMMIT = "4f2a9c1d7be0835f6a1c2d3e4f5061728394a5b6"
QUEUES = ("default", "builders", "arm", "large")
PLUGIN_IMAGES = ("python:3.11", "golang:1.25", "node:22", "rust:1.90")


def is_wait(index: int) -> bool:
    """Whether the step at `index` (from 0) of the generated pipeline is a wait: every 50th."""
    return index % 50 == 25


def is_block(index: int) -> bool:
    """Whether the step at `index` (from 0) of the generated pipeline is a block: every 50th, none of them a wait."""
    return index % 50 == 40


def command_steps(steps: int) -> int:
    """How many of the first `steps` steps are command steps."""
    return sum(not is_wait(index) and not is_block(index) for index in range(steps))


def generate_pipeline(steps: int) -> str:
    """A pipeline of `steps` steps as YAML text, without any variable to interpolate.

    Every 50th step is a `wait` and another 50th a `block`; the rest are command steps with label, key, two commands,
    three variables, agents and a timeout, every fifth with a configured plugin and every tenth with a 2x2 matrix.

    Parameters:
        steps: how many steps, at least 1.
    """
    lines = [f"# Generated: {steps} steps.", "steps:"]
    for index in range(steps):
        lines += _step(index)
    return "\n".join(lines) + "\n"


def _step(index: int) -> list[str]:
    name = f"{index:05}"
    if is_wait(index):
        return ["  - wait"]
    if is_block(index):
        return [f'  - block: ":lock: Release {name}"', f"    key: block-{name}", "    prompt: Ship this part?"]
    matrix = index % 10 == 7
    suffix = "-{{matrix.os}}-{{matrix.arch}}" if matrix else ""
    lines = [
        f'  - label: ":test_tube: Check package {name}"',
        f"    key: check-{name}",
        "    commands:",
        f"      - make -C packages/p{name} build{suffix}",
        f'      - "make -C packages/p{name} test{suffix} REPORT=\\"reports/{name}.xml\\""',
        "    env:",
        f"      PACKAGE: p{name}",
        f'      SHARD: "{index % 16}"',
        '      CACHE_DIR: "/var/cache/build"',
        "    agents:",
        f"      queue: {QUEUES[index % len(QUEUES)]}",
        f"    timeout_in_minutes: {10 + index % 50}",
    ]
    if index % 5 == 4:
        lines += [
            "    plugins:",
            "      - docker#v5.13.0:",
            f'          image: "{PLUGIN_IMAGES[index % len(PLUGIN_IMAGES)]}"',
            "          workdir: /work",
            "          propagate-environment: true",
            f'          environment: ["PACKAGE", "SHARD={index % 16}"]',
        ]
    if matrix:
        lines += ["    matrix:", "      setup:", "        os: [linux, darwin]", "        arch: [amd64, arm64]"]
    return lines


def generate_jobs(signed: dict[str, Any], repository_url: str = REPOSITORY_URL) -> Iterator[dict[str, Any]]:
    """One job for each command step of a signed pipeline, as a control plane hands it to an agent.

    Parameters:
        signed: the pipeline as JSON, each plugin in its full form (that is how a signer marshals it).
        repository_url: becomes BUILDKITE_REPO.

    Returns:
        Objects with the members `id`, `state`, `token`, `env` (text by name), `step`, and `matrix_permutation`
        (None without a matrix, else the first combination).
    """
    number = 0
    for step in signed["steps"]:
        if isinstance(step, dict) and "command" in step:
            number += 1
            yield generate_job(step, signed.get("env") or {}, number, repository_url)


def generate_job(
    step: dict[str, Any], pipeline_env: dict[str, str], number: int, repository_url: str = REPOSITORY_URL
) -> dict[str, Any]:
    """The job of one step; see `generate_jobs`."""
    permutation = _first_permutation(step.get("matrix"))
    step_env: dict[str, str] = step.get("env") or {}
    env = {
        **pipeline_env,
        **{name: _replace(value, permutation) for name, value in step_env.items()},
        "BUILDKITE": "true",
        "CI": "true",
        "BUILDKITE_AGENT_ID": "0192f0a4-1111-7000-8000-00000000a9e7",
        "BUILDKITE_AGENT_NAME": "builder-1",
        "BUILDKITE_ARTIFACT_PATHS": "",
        "BUILDKITE_BRANCH": "main",
        "BUILDKITE_BUILD_AUTHOR": "",
        "BUILDKITE_BUILD_CREATOR": "",
        "BUILDKITE_BUILD_ID": "0192f0a4-2222-7000-8000-0000000b111d",
        "BUILDKITE_BUILD_NUMBER": "1234",
        "BUILDKITE_BUILD_URL": "https://ci.example.com/acme/monorepo/builds/1234",
        "BUILDKITE_COMMAND": _replace(step["command"], permutation),
        "BUILDKITE_COMMIT": COMMIT,
        "BUILDKITE_JOB_ID": f"0192f0a4-3333-7000-8000-{number:012x}",
        "BUILDKITE_LABEL": _replace(step.get("label", ""), permutation),
        "BUILDKITE_MESSAGE": "Make the cache warm before the first build of the day",
        "BUILDKITE_ORGANIZATION_SLUG": "acme",
        "BUILDKITE_PIPELINE_DEFAULT_BRANCH": "main",
        "BUILDKITE_PIPELINE_ID": "0192f0a4-4444-7000-8000-000000919e11",
        "BUILDKITE_PIPELINE_NAME": "monorepo",
        "BUILDKITE_PIPELINE_PROVIDER": "git",
        "BUILDKITE_PIPELINE_SLUG": "monorepo",
        "BUILDKITE_PLUGINS": _replace(json.dumps(step.get("plugins") or [], separators=(",", ":")), permutation),
        "BUILDKITE_PROJECT_PROVIDER": "git",
        "BUILDKITE_PROJECT_SLUG": "acme/monorepo",
        "BUILDKITE_PULL_REQUEST": "false",
        "BUILDKITE_PULL_REQUEST_BASE_BRANCH": "",
        "BUILDKITE_PULL_REQUEST_REPO": "",
        "BUILDKITE_REBUILT_FROM_BUILD_ID": "",
        "BUILDKITE_REPO": repository_url,
        "BUILDKITE_RETRY_COUNT": "0",
        "BUILDKITE_SCRIPT_PATH": _replace(step["command"], permutation),
        "BUILDKITE_SOURCE": "webhook",
        "BUILDKITE_STEP_ID": f"0192f0a4-5555-7000-8000-{number:012x}",
        "BUILDKITE_STEP_KEY": step.get("key", ""),
        "BUILDKITE_TAG": "",
        "BUILDKITE_TIMEOUT": str(step.get("timeout_in_minutes", "false")),
    }
    return {
        "id": env["BUILDKITE_JOB_ID"],
        "state": "accepted",
        "token": f"bkaj_{number:040x}",
        "chunks_max_size_bytes": 102400,
        "chunks_interval_seconds": 1,
        "log_max_size_bytes": 1 << 30,
        "env": env,
        "step": step,
        "matrix_permutation": permutation,
    }


def _first_permutation(matrix: Any) -> dict[str, str] | None:
    if not matrix:
        return None
    if isinstance(matrix, list):
        return {"": matrix[0]}
    setup = matrix["setup"]
    if isinstance(setup, list):
        return {"": setup[0]}
    return next(dict(zip(setup, combination, strict=True)) for combination in itertools.product(*setup.values()))


def _replace(text: str, permutation: dict[str, str] | None) -> str:
    for name, value in (permutation or {}).items():
        text = text.replace("{{matrix." + name + "}}" if name else "{{matrix}}", value)
    return text


def generate_secrets(count: int) -> list[str]:
    """So many secrets of 32 letters and digits, the same every time."""
    characters = random.Random("secrets")
    return ["".join(characters.choices(string.ascii_letters + string.digits, k=32)) for _ in range(count)]


def generate_log(file: BinaryIO, size: int, secrets: Sequence[str]) -> None:
    """Write a log of at least `size` bytes: lines of some 120 bytes, one in a hundred, the last too, with a secret.

    Parameters:
        file: open for writing.
        secrets: which of them comes next goes round.
    """
    source = random.Random("log")
    words = ["".join(source.choices("etaoinshrdlucmfwypvbgk", k=source.randint(2, 10))) for _ in range(500)]
    lines = []
    for number in range(100 * len(secrets)):
        text = f"{number // 60 % 60:02}:{number % 60:02}.{number * 37 % 1000:03} INFO [{source.choice(words)}]"
        text += " " + " ".join(source.choices(words, k=14))
        if number % 100 == 99:
            text += f" password={secrets[(number + 1) // 100 % len(secrets)]}"
        lines.append(text + "\n")
    block = "".join(lines).encode()
    for _ in range(-(-size // len(block))):
        file.write(block)

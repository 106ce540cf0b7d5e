"""Signed builds on a whole installation: what holds from the repository to the running command."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pipeseal.lab.lying_server import Job, Lie, LyingServer

if TYPE_CHECKING:
    from .conftest import Installation

PIPELINE = """\
env:
  COLOUR: blue
steps:
  - label: one
    key: one
    command: echo "$$COLOUR $$SHAPE $$BUILDKITE_STEP_KEY"
    env: {SHAPE: square}
  - wait
  - label: two {{matrix}}
    command: echo two {{matrix}}
    matrix: [a, b]
"""


def _jobs(build: dict[str, Any]) -> dict[str, str]:
    return {job["name"]: job["state"] for job in build["jobs"] if job["type"] == "script"}


def test_a_build_of_HEAD_is_bound_to_the_commit_it_became(installation: Installation) -> None:
    commit = installation.begin(PIPELINE)
    build = installation.build("--commit", "HEAD")
    assert build["state"] == "passed"
    assert build["commit"] == commit
    assert _jobs(build) == {"upload": "passed", "one": "passed", "two a": "passed", "two b": "passed"}
    log = installation.log(build["number"], "one")
    assert "Job signature verified" in log
    assert "sealed: sha256 " in log
    assert "blue square one" in log


def test_each_binding_holds_against_a_control_plane_that_moves_the_step(installation: Installation) -> None:
    installation.begin("steps:\n  - {label: one, key: one, command: echo ran}\n", runner=["--queue", "nobody"])
    moved = {
        "BUILDKITE_ORGANIZATION_SLUG": "other",
        "BUILDKITE_PIPELINE_SLUG": "other",
        "BUILDKITE_BUILD_ID": "00000000-0000-4000-8000-000000000000",
        "BUILDKITE_COMMIT": "0" * 40,
        "BUILDKITE_BRANCH": "release",
        "BUILDKITE_TAG": "v1",
        "BUILDKITE_PULL_REQUEST": "7",
        "BUILDKITE_STEP_KEY": "other",
    }

    def move(name: str, value: str | None) -> Lie:
        def lie(job: Job) -> Job:
            env = {key: text for key, text in job["env"].items() if key != name}
            return {**job, "env": env if value is None else {**env, name: value}}

        return lie

    with LyingServer(installation.url) as liar:
        installation.start_agent("lied-to", [], endpoint=f"{liar.url}/v3")
        assert _jobs(installation.build()) == {"upload": "passed", "one": "passed"}
        for name, value in moved.items():
            for change, code in ((value, "signature.mismatch"), (None, "environment.missing")):
                liar.lie = move(name, change)
                build = installation.build()
                (job,) = (job for job in build["jobs"] if job["name"] == "one")
                assert job["state"] != "passed", name
                assert job["refusal"]["code"] == code, name
                assert "ran" not in installation.log(build["number"], "one").splitlines()


def test_a_seal_holds_where_no_signature_does(installation: Installation) -> None:
    installation.begin(
        "steps:\n  - {label: one, key: one, command: echo ran, agents: {queue: default}}\n",
        runner=["--queue", "nobody"],
    )

    def with_member(name: str, value: Any) -> Lie:
        return lambda job: {**job, "step": {**job["step"], name: value}}

    def with_variable(name: str, value: str) -> Lie:
        return lambda job: {**job, "env": {**job["env"], name: value}}

    lies: dict[str, tuple[Lie, str, list[str]]] = {
        "label": (with_member("label", "other"), "seal.differs", ["step.label"]),
        "patterns": (
            with_variable("BUILDKITE_ARTIFACT_PATHS", "/etc/*"),
            "seal.differs",
            ["step.artifact_paths"],
        ),
        "attempts": (with_variable("BUILDKITE_RETRY_COUNT", "99"), "seal.attempts", ["attempts"]),
    }
    with LyingServer(installation.url) as liar:
        installation.start_agent("lied-to", [], endpoint=f"{liar.url}/v3")
        assert _jobs(installation.build()) == {"upload": "passed", "one": "passed"}
        for name, (lie, code, fields) in lies.items():
            liar.lie = lie
            build = installation.build()
            (job,) = (job for job in build["jobs"] if job["name"] == "one")
            assert job["state"] != "passed", name
            assert (job["refusal"]["code"], job["refusal"]["fields"]) == (code, fields), name
            assert "ran" not in installation.log(build["number"], "one").splitlines()

"""Rows in which a person or a job types a command: whole processes, from start to exit."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from benchmarks.control_plane import LIMITS, PretendAgent, Server, create_build, create_pipeline
from benchmarks.generate import COMMIT, REPOSITORY_URL
from benchmarks.measure import CommandFailed, Sample, alternate, run_command
from benchmarks.report import MILLISECONDS, UNTARGETED, Row, Target
from benchmarks.workspace import KEY_ID, PIPESEAL, SIZES, Workspace

STOCK = "buildkite-agent"
UPLOAD_TARGETS = {"1": Target(ratio=2.5), "1k": Target(ratio=1.0), "10k": Target(ratio=0.8)}
JOBS_IN_SETTINGS = "steps:\n  - command: 'true'\n    label: upload\n"


def measure_tool_sign(space: Workspace, size: str) -> Row:
    """`tool sign` of a YAML file to standard output; seals, which the stock tool has not, have their own row."""
    memory = Target(ratio=0.4) if size == "10k" else UNTARGETED
    return _tool_sign(space, f"sign.tool.{size}", size, ["--no-seal"], Target(ratio=0.5), memory)


def measure_sealing_tool_sign(space: Workspace, size: str) -> Row:
    """The same as people type it: ours seals the steps too."""
    return _tool_sign(space, f"sign.tool.sealed.{size}", size, [], UNTARGETED, UNTARGETED)


def _tool_sign(space: Workspace, name: str, size: str, our_flags: list[str], time: Target, memory: Target) -> Row:
    words = ["tool", "sign", "--jwks-file", space.private_keys, "--repo", REPOSITORY_URL, space.pipeline(size)]
    return _beside_stock(space, name, words, time, memory, our_flags=our_flags)


def measure_help(space: Workspace) -> Row:
    """`--help`, which must read nothing and import little."""
    return _beside_stock(space, "start.help", ["--help"])


def measure_dry_run(space: Workspace) -> Row:
    """A job-side command with a signing key and no network: `pipeline upload --dry-run` of one step."""
    words = [
        "pipeline", "upload", space.pipeline("1"), "--dry-run", "--jwks-file", space.private_keys,
        "--jwks-key-id", KEY_ID,
    ]  # fmt: skip
    return _beside_stock(
        space, "start.job-side", words, UPLOAD_TARGETS["1"], ours=space.job_command, our_flags=["--no-seal"]
    )


def _beside_stock(
    space: Workspace,
    name: str,
    words: Sequence[object],
    time: Target = UNTARGETED,
    memory: Target = UNTARGETED,
    *,
    ours: Path = PIPESEAL,
    our_flags: Sequence[str] = (),
) -> Row:
    def side(program: Path, flags: Sequence[str] = ()) -> Sample:
        return run_command([program, *words, *flags], env=job_env(space), cwd=space.directory)

    stock = space.stock.path
    peer = (lambda: side(stock)) if stock else None
    pairs = alternate(lambda: side(ours, our_flags), peer, pairs=space.pairs, budget_seconds=space.budget_seconds)
    return Row(name, pairs, MILLISECONDS, STOCK, time=time, memory=memory)


def measure_upload(space: Workspace, size: str) -> Row:
    """`pipeline upload` from inside a running job to our server: when it returns, the jobs are runnable.

    Both sides sign, ours with its bindings; seals, which the stock agent has nothing like, have their own row.
    """
    return _upload(space, f"upload.{size}", size, ["--no-seal"], UPLOAD_TARGETS[size])


def measure_sealed_upload(space: Workspace, size: str) -> Row:
    """The same as people type it: ours seals the steps too. The stock agent does half of the work."""
    return _upload(space, f"upload.sealed.{size}", size, [], UNTARGETED)


def _upload(space: Workspace, name: str, size: str, our_flags: list[str], target: Target) -> Row:
    data = space.directory / name
    commit = space.commit
    with Server(data, space.env, *LIMITS) as server:
        rest = server.rest()
        create_pipeline(rest, "monorepo", JOBS_IN_SETTINGS)
        agent = PretendAgent(server)

        def side(program: Path, flags: Sequence[str] = ()) -> Sample:
            number = create_build(rest, "monorepo", commit)
            job = agent.start_next_job()
            env = job_env(space) | job["env"] | {
                "BUILDKITE_AGENT_ENDPOINT": server.agent_endpoint,
                "BUILDKITE_AGENT_ACCESS_TOKEN": job["token"],
                "BUILDKITE_AGENT_JWKS_FILE": str(space.private_keys),
                "BUILDKITE_AGENT_JWKS_KEY_ID": KEY_ID,
            }  # fmt: skip
            sample = run_command(
                [program, "pipeline", "upload", *flags, space.pipeline(size)], env=env, cwd=space.checkout
            )
            uploaded = len(rest.call("GET", f"/pipelines/monorepo/builds/{number}")["jobs"])
            if uploaded < SIZES[size]:
                raise CommandFailed(f"{program.name} uploaded {SIZES[size]} steps and the build has {uploaded} jobs")
            rest.call("PUT", f"/pipelines/monorepo/builds/{number}/cancel")
            agent.finish(job)
            return sample

        stock = space.stock.path
        peer = (lambda: side(stock)) if stock else None
        pairs = alternate(
            lambda: side(space.job_command, our_flags), peer, pairs=space.pairs, budget_seconds=space.budget_seconds
        )
        agent.close()
        rest.close()
    return Row(name, pairs, MILLISECONDS, STOCK, time=target)


def job_env(space: Workspace) -> dict[str, str]:
    """What a command inside a job finds, with values that no server chose."""
    return space.env | {
        "BUILDKITE": "true",
        "BUILDKITE_REPO": REPOSITORY_URL,
        "BUILDKITE_COMMIT": COMMIT,
        "BUILDKITE_BRANCH": "main",
        "BUILDKITE_ORGANIZATION_SLUG": "acme",
        "BUILDKITE_PIPELINE_SLUG": "monorepo",
        "BUILDKITE_BUILD_ID": "0192f0a4-2222-7000-8000-0000000b111d",
        "BUILDKITE_JOB_ID": "0192f0a4-3333-7000-8000-000000000001",
        "BUILDKITE_AGENT_ACCESS_TOKEN": "bkaj_bench",
    }

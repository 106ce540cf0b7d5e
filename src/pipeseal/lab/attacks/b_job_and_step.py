"""Group B: the job says things beside its signed step, to make an agent verify one thing and do another."""

from __future__ import annotations

import json
import uuid
from typing import TYPE_CHECKING

from pipeseal.lab import lies
from pipeseal.lab.honest import JobDocument
from pipeseal.lab.scenario import Attempt, Scenario

if TYPE_CHECKING:
    from pipeseal.lab.drill import Drill
    from pipeseal.lab.ground import Ground

_CP = ("CP",)
NAME, FORBIDDEN = "environment.name", "environment.forbidden"


def variables(names: str, value: str) -> list[Attempt]:
    """One attempt for each of these variables, sent with a sealed job."""
    return [Attempt(lies.set_variables({name: value}), name) for name in names.split()]


def _shadows(ground: Ground) -> list[Attempt]:
    def shadowing(count: int) -> Attempt:
        decoys: dict[str, str | None] = {f"BUILDKITE_COMMAND={ground.evil} #{n}": "" for n in range(count)}
        return Attempt(lies.set_variables(decoys), f"{count} of them")

    others = (
        f"BUILDKITE_REPO={ground.lookalike}",
        f"BUILDKITE_PLUGINS=[{json.dumps(ground.evil_plugin)}]",
        "SAFETY=off",
    )
    return [*map(shadowing, (1, 5, 100)), *(Attempt(lies.set_variables({name: ""}), name[:20]) for name in others)]


def _other_job(drill: Drill) -> None:
    """Asked for one job, answered with another: bytes that are an honest job, under an id that was not asked for."""
    for kind in ("sealed", "bound"):
        drill.twin(kind)
        asked = str(uuid.uuid4())
        record = drill.send(drill.honest(kind), job_id=asked)
        drill.must_refuse(record, ("job.other",), what=kind)


def _file_named_like_the_command(drill: Drill) -> None:
    """The tree holds an executable file whose path is the whole command line; it must stay text for a shell."""
    drill.attempts += 1
    twin = drill.twin("shell", again=True)
    drill.must("command" in twin.ran, "the command was not run as text for a shell")


def _attributes(_ground: Ground) -> list[Attempt]:
    values = {
        "label": "other",
        "key": "other",
        "agents": {"queue": "deploy"},
        "artifact_paths": ["**/*"],
        "branches": "*",
        "cache": {"paths": ["/"]},
        "cancel_on_build_failing": True,
        "concurrency": 99,
        "concurrency_group": "other",
        "depends_on": ["other"],
        "if": "true",
        "notify": ["slack"],
        "parallelism": 7,
        "priority": 9,
        "retry": {"automatic": [{"exit_status": "*", "limit": 10}]},
        "skip": True,
        "soft_fail": True,
        "timeout_in_minutes": 100_000,
        "unheard_of": {"x": 1},
    }
    return [Attempt(lies.set_step(**{name: value}), name) for name, value in values.items()]


def _identities(job: JobDocument) -> str:
    return str(uuid.uuid5(uuid.NAMESPACE_URL, str(job["id"])))


SCENARIOS = (
    Scenario(
        id="B01",
        title="Variable name with `=` that shadows a verified one",
        actors=_CP,
        change='a variable called `"BUILDKITE_COMMAND=<other> #"`, 1, 5 and 100 times; or another name',
        happens="names are names: letters, digits and `_`",
        codes=(NAME,),
        attempts=_shadows,
    ),
    Scenario(
        id="B02",
        title="The same trick with the agent's own settings",
        actors=_CP,
        change='`"BUILDKITE_HOOKS_PATH=/other"`, `"BUILDKITE_SHELL=..."`, `"BUILDKITE_GIT_CLONE_FLAGS=..."`',
        happens="names are names, and no setting of an agent travels with a job",
        codes=(NAME,),
        attempts=lambda ground: [
            Attempt(lies.set_variables({f"{name}={value}": ""}), name)
            for name, value in (
                ("BUILDKITE_HOOKS_PATH", ground.evil_hooks),
                ("BUILDKITE_SHELL", ground.evil),
                ("BUILDKITE_GIT_CLONE_FLAGS", f"--upload-pack={ground.evil}"),
                ("PATH", ground.evil.parent / "bin"),
            )
        ],
    ),
    Scenario(
        id="B03",
        title="Phases suppressed",
        actors=_CP,
        change="`BUILDKITE_BOOTSTRAP_PHASES`",
        happens="no phase is chosen over the wire",
        codes=(FORBIDDEN,),
        attempts=lambda _ground: [
            Attempt(lies.set_env(BUILDKITE_BOOTSTRAP_PHASES=phases), phases) for phases in ("command", "checkout")
        ],
    ),
    Scenario(
        id="B04",
        title="Plugin configuration through variables",
        actors=_CP,
        change="`BUILDKITE_PLUGIN_...`",
        happens="a plugin's configuration is derived from the signed step alone",
        codes=(FORBIDDEN,),
        attempts=lambda ground: variables(
            "BUILDKITE_PLUGIN_DOCKER_COMMAND_0 BUILDKITE_PLUGIN_DOCKER_PRIVILEGED BUILDKITE_PLUGIN_DOCKER_VOLUMES_0 "
            "BUILDKITE_PLUGIN_DOCKER_ENTRYPOINT BUILDKITE_PLUGIN_CONFIGURATION BUILDKITE_PLUGIN_NAME "
            "BUILDKITE_PLUGIN_BANNER_TEXT",
            str(ground.evil),
        ),
    ),
    Scenario(
        id="B05",
        title="Old container integration switched on",
        actors=_CP,
        change="`BUILDKITE_DOCKER`, `BUILDKITE_DOCKER_FILE`, `BUILDKITE_DOCKER_COMPOSE_...`",
        happens="there is no such integration, and the names are refused",
        codes=(FORBIDDEN,),
        attempts=lambda _ground: variables(
            "BUILDKITE_DOCKER BUILDKITE_DOCKER_FILE BUILDKITE_DOCKER_COMPOSE_CONTAINER BUILDKITE_DOCKER_COMPOSE_FILE",
            "true",
        ),
    ),
    Scenario(
        id="B06",
        title="Secrets through a variable",
        actors=_CP,
        change="`BUILDKITE_SECRETS_CONFIG`, for a step that has none",
        happens="which secrets a job gets is the signed step's to say",
        codes=(FORBIDDEN,),
        attempts=lambda _ground: [
            Attempt(
                lies.set_env(BUILDKITE_SECRETS_CONFIG=json.dumps([{"key": "x", "environment_variable": name}])), name
            )
            for name in ("LD_PRELOAD", "BASH_FUNC_make%%", "TOKEN")
        ],
    ),
    Scenario(
        id="B07",
        title="Answered with another job",
        actors=_CP,
        change="the answer to accept is a job with another id than was asked for",
        happens="the agent takes the job that it asked for, or none",
        codes=("job.other",),
        play=_other_job,
    ),
    Scenario(
        id="B08",
        title="Two identities of one job",
        actors=_CP,
        change="`BUILDKITE_JOB_ID` is not the job's id",
        happens="there is one id, the one that the agent asked for",
        codes=("job.identity", "environment.value"),
        attempts=lambda _ground: [
            Attempt(lambda job: lies.set_env(BUILDKITE_JOB_ID=_identities(job))(job), "another"),
            Attempt(lies.set_env(BUILDKITE_JOB_ID=""), "empty"),
            Attempt(lies.set_env(BUILDKITE_JOB_ID="../../x"), "a path"),
        ],
    ),
    Scenario(
        id="B09",
        title="A file that is called like the signed command",
        actors=("CP", "PR"),
        change="the tree has an executable file whose path is the whole command line",
        happens="ignored: the seal says that the command is text for a shell",
        setting='`proof = "seal"`: a signature alone does not say how a command is run',
        play=_file_named_like_the_command,
    ),
    Scenario(
        id="B10",
        title="Names that differ by case alone",
        actors=_CP,
        change="`Buildkite_Command` beside `BUILDKITE_COMMAND`",
        happens="such names are refused on every system",
        codes=(NAME,),
        attempts=lambda ground: variables(
            "Buildkite_Command buildkite_command BUILDKITE_command bUILDKITE_REPO", str(ground.evil)
        ),
    ),
    Scenario(
        id="B11",
        title="Something acts before verification",
        actors=_CP,
        change="`BUILDKITE_PLUGINS` with the specification of a pod",
        happens="nothing reads the variable before the job is approved, and then it is compared with the step",
        codes=("plugins.differ",),
        attempts=lambda _ground: [
            Attempt(
                lies.set_env(
                    BUILDKITE_PLUGINS=json.dumps([{"kubernetes": {"podSpec": {"containers": [{"image": "evil"}]}}}])
                )
            )
        ],
    ),
    Scenario(
        id="B12",
        title="Members of a step that no signature covers",
        actors=_CP,
        change="each in turn: label, key, agents, artifact paths, timeout, retry, soft fail, condition, cache, ...",
        happens="a seal covers the whole step, unknown members too",
        codes=("seal.differs", "seal.skipped"),
        setting='`proof = "seal"`',
        attempts=_attributes,
    ),
)

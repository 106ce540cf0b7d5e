"""Group A: what a signature covers is changed, taken away or mixed, in every place where a job repeats it."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from pipeseal.lab import lies
from pipeseal.lab.honest import JobDocument
from pipeseal.lab.scenario import Attempt, JobLie, Scenario

if TYPE_CHECKING:
    from pipeseal.lab.drill import Drill
    from pipeseal.lab.ground import Ground

_CP = ("CP",)
_MISMATCH = ("signature.mismatch",)
# Every job by each sort of proof that the drill's policy accepts.
PROOFS = ("sealed", "bound")


def _both(lie: JobLie, what: str = "", *codes: str) -> list[Attempt]:
    """One lie about a sealed job, and about one that is only signed."""
    return [Attempt(lie, what=what, job=job, codes=codes) for job in PROOFS]


def _step_env(job: JobDocument, **changes: str | None) -> JobDocument:
    """Other variables of the step, consistently: in the step and in the job."""
    env = {name: value for name, value in {**job["step"].get("env", {}), **changes}.items() if value is not None}
    return lies.all_of(lies.set_step(env=env), lies.set_env(**changes))(job)


def _plugins(ground: Ground) -> list[Attempt]:
    def replaced(source: str, config: object) -> JobLie:
        plugins = [{source: config}]
        return lies.all_of(lies.set_step(plugins=plugins), lies.set_env(BUILDKITE_PLUGINS=json.dumps(plugins)))

    repository = ground.plugin.partition("#")[0]
    config = {"text": "checked", "account": 9007199254740991}
    both_places = [
        ("another added", lies.add_plugin(ground.evil_plugin)),
        ("another", replaced(ground.evil_plugin, None)),
        ("other version", replaced(f"{repository}#main", config)),
        ("other configuration", replaced(ground.plugin, {**config, "text": "other"})),
        ("removed", lies.all_of(lies.set_step(plugins=None), lies.set_env(BUILDKITE_PLUGINS=None))),
    ]
    variable = [
        ("another in the variable", lies.set_env(BUILDKITE_PLUGINS=json.dumps([{ground.evil_plugin: None}]))),
        ("removed from the variable", lies.set_env(BUILDKITE_PLUGINS=None)),
    ]
    return [
        *(attempt for what, lie in both_places for attempt in _both(lie, what, "signature.mismatch")),
        *(attempt for what, lie in variable for attempt in _both(lie, what, "plugins.differ")),
    ]


def _signature_removed(drill: Drill) -> None:
    drill.must_not_start("without-keys", {"verification-jwks-file": "", "policy-file": ""}, "key.none")


def _checkout_honoured(drill: Drill) -> None:
    """The positive test: checkout settings that were sealed are what the checkout uses."""
    drill.attempts += 1
    twin = drill.twin("checkout", again=True)
    drill.must(
        twin.environment.get("BUILDKITE_GIT_CLEAN_FLAGS") == "-ffdx", "sealed checkout settings are not honoured"
    )
    calls = drill.ground.notes.read_text(encoding="utf-8")
    drill.must(" clean -ffdx " in calls, "sealed flags of git clean were not used")


def _spliced(ground: Ground) -> list[Attempt]:
    """The signature of one honest step over parts of another."""

    def lie(*members: str) -> JobLie:
        def splice(job: JobDocument) -> JobDocument:
            other = lies.edit_command(str(ground.evil))(job)
            other = _step_env(other, SAFETY="off")
            other = lies.set_step(plugins=None)(other)
            step = {**job["step"], **{name: other["step"].get(name) for name in members}}
            env = {**job["env"]}
            if "command" in members:
                env["BUILDKITE_COMMAND"] = other["env"]["BUILDKITE_COMMAND"]
            if "env" in members:
                env["SAFETY"] = "off"
            if "plugins" in members:
                env.pop("BUILDKITE_PLUGINS", None)
            return {**job, "step": {name: value for name, value in step.items() if value is not None}, "env": env}

        return splice

    parts = (("command",), ("env",), ("plugins",), ("command", "plugins"), ("env", "plugins"))
    return [attempt for members in parts for attempt in _both(lie(*members), " and ".join(members))]


SCENARIOS = (
    Scenario(
        id="A01",
        title="Command replaced consistently",
        actors=_CP,
        change="`step.command` and `BUILDKITE_COMMAND`, to the same text",
        happens="the signature does not hold over another command",
        codes=_MISMATCH,
        attempts=lambda ground: _both(lies.edit_command(str(ground.evil))),
    ),
    Scenario(
        id="A02",
        title="Command replaced in the job's variable alone",
        actors=_CP,
        change="`BUILDKITE_COMMAND`",
        happens="the variable is compared with the signed step; it is never what runs",
        codes=("command.differs",),
        attempts=lambda ground: [
            *_both(lies.set_env(BUILDKITE_COMMAND=str(ground.evil)), "replaced"),
            *_both(lies.set_env(BUILDKITE_COMMAND=""), "emptied"),
        ],
    ),
    Scenario(
        id="A03",
        title="Variable of the step changed, added or removed",
        actors=_CP,
        change="`step.env`, and the job's variables with it",
        happens="the signature covers the whole map",
        codes=_MISMATCH,
        attempts=lambda _ground: [
            *_both(lambda job: _step_env(job, SAFETY="off"), "changed"),
            *_both(lambda job: _step_env(job, ADDED="x"), "added"),
            *_both(lambda job: _step_env(job, SAFETY=None), "removed"),
        ],
    ),
    Scenario(
        id="A04",
        title="Signed variable overridden in the job",
        actors=_CP,
        change="the job's value of a variable that the step sets",
        happens="the two are compared; the job's environment is built from the step",
        codes=("environment.differs",),
        attempts=lambda _ground: [
            *_both(lies.set_env(SAFETY="off"), "changed"),
            *_both(lies.set_env(SAFETY=""), "emptied"),
            *_both(lies.set_env(SAFETY=None), "removed"),
        ],
    ),
    Scenario(
        id="A05",
        title="Pipeline variable changed or withheld",
        actors=_CP,
        change="the job's value of a variable that the pipeline sets",
        happens="the signature covers it by name and value, and it has to be there",
        codes=_MISMATCH,
        attempts=lambda _ground: [
            *_both(lies.set_env(TIER="bronze"), "changed"),
            *_both(lies.set_env(TIER=None), "withheld", "environment.missing"),
        ],
    ),
    Scenario(
        id="A06",
        title="Plugins changed",
        actors=_CP,
        change="`step.plugins` and `BUILDKITE_PLUGINS`: list, version, configuration; or the variable alone",
        happens="plugins come from the signed step; the variable is compared with it",
        codes=("signature.mismatch", "plugins.differ"),
        attempts=_plugins,
    ),
    Scenario(
        id="A07",
        title="Repository changed",
        actors=_CP,
        change="`BUILDKITE_REPO`",
        happens="the signature covers the repository",
        codes=_MISMATCH,
        setting="`repositories`, `repository` of a section",
        attempts=lambda ground: _both(lies.swap_repository(str(ground.lookalike))),
    ),
    Scenario(
        id="A08",
        title="Signature removed",
        actors=("CP", "UI"),
        change="`step.signature`; the command with it",
        happens="an unsigned job is refused, and an agent without keys does not start",
        codes=("signature.missing", "key.none"),
        setting="`mode`: an observing agent runs it",
        attempts=lambda ground: _both(lies.strip_signature(str(ground.evil)), "", "signature.missing"),
        play=_signature_removed,
    ),
    Scenario(
        id="A09",
        title="Signed fields emptied, or a mandatory one dropped",
        actors=_CP,
        change="`signature.signed_fields`",
        happens="which fields have to be covered is fixed, whatever the message says",
        codes=("field.none", "field.not_signed"),
        attempts=lambda ground: [
            *_both(lies.all_of(lies.set_signature(signed_fields=[]), lies.edit_command(str(ground.evil))), "emptied"),
            *(
                attempt
                for name in ("command", "env", "plugins", "matrix", "repository_url")
                for attempt in _both(lies.without_signed_field(name), f"without {name}")
            ),
        ],
    ),
    Scenario(
        id="A10",
        title="Optional field dropped from the signed fields",
        actors=_CP,
        change="`signature.signed_fields` without a variable or a member that the step has",
        happens="what was signed is another text then, or the member has to be covered because the step has it",
        codes=("signature.mismatch", "field.not_signed"),
        attempts=lambda _ground: [
            *_both(lies.without_signed_field("env::TIER"), "a variable"),
            *_both(lies.without_signed_field("env::BUILDKITE_COMMIT"), "the commit"),
            *_both(lies.without_signed_field("env::BUILDKITE_BUILD_ID"), "the build"),
            Attempt(lies.without_signed_field("secrets"), "secrets", job="secrets"),
            Attempt(lies.without_signed_field("secrets"), "secrets", job="bound-secrets"),
            Attempt(lies.without_signed_field("checkout"), "checkout", job="checkout"),
        ],
    ),
    Scenario(
        id="A11",
        title="Secret's key or its variable changed",
        actors=_CP,
        change="`step.secrets`",
        happens="the signature covers which secret goes where",
        codes=_MISMATCH,
        attempts=lambda _ground: [
            Attempt(lies.set_step(secrets=[{"key": key, "environment_variable": name}]), what, job=job)
            for job in ("secrets", "bound-secrets")
            for what, key, name in (
                ("key", "other-key", "DEPLOY_KEY"),
                ("variable", "deploy-key", "LD_PRELOAD"),
                ("other variable", "deploy-key", "BASH_ENV"),
            )
        ],
    ),
    Scenario(
        id="A12",
        title="Matrix changed",
        actors=_CP,
        change="`step.matrix`, and the job's values with it",
        happens="the signature covers all combinations",
        codes=_MISMATCH,
        attempts=lambda _ground: [
            Attempt(
                lies.all_of(
                    lies.set_step(matrix=["alpine", "debian", "; evil"]),
                    lies.set_job(matrix_permutation={"": "; evil"}),
                    lies.set_env(BUILDKITE_COMMAND="scripts/test ; evil"),
                ),
                "a value added",
                job=job,
            )
            for job in ("matrix", "bound-matrix")
        ],
    ),
    Scenario(
        id="A13",
        title="Unknown name among the signed fields",
        actors=_CP,
        change="`signature.signed_fields` with one more name",
        happens="what is not known is not skipped",
        codes=("field.unknown",),
        attempts=lambda _ground: _both(
            lambda job: lies.set_signature(
                signed_fields=sorted([*job["step"]["signature"]["signed_fields"], "future"])
            )(job)
        ),
    ),
    Scenario(
        id="A14",
        title="Checkout settings added or changed",
        actors=_CP,
        change="`step.checkout`",
        happens="they are signed and sealed where a step has them; sealed ones are what the checkout uses",
        codes=("signature.mismatch", "field.not_signed", "seal.differs", "environment.forbidden"),
        setting='`proof = "seal"`: a signature alone cannot have checkout settings verified',
        attempts=lambda _ground: [
            *_both(lies.set_step(checkout={"skip": True}), "skip added"),
            *_both(lies.set_step(checkout={"submodules": True, "ssh_secret": "x"}), "an SSH secret added"),
            Attempt(lies.set_step(checkout={"depth": 2}), "changed", job="checkout"),
            Attempt(lies.set_step(checkout=None), "removed", job="checkout"),
        ],
        play=_checkout_honoured,
    ),
    Scenario(
        id="A15",
        title="Signature of one step, parts of another",
        actors=_CP,
        change="`step`: members of two honest steps, spliced",
        happens="one digest covers all of a step",
        codes=_MISMATCH,
        attempts=_spliced,
    ),
)

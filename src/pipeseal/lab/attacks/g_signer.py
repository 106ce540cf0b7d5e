"""Group G: having the signer sign what nobody asked for."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING

from pipeseal.lab.agents import JOB_SECONDS
from pipeseal.lab.hostile_server import Answer, Request, answer_json
from pipeseal.lab.scenario import Scenario
from pipeseal.lab.uploads import AGENT, FILE, GENERATE, HONEST, TEMPLATES, UPLOAD, Uploads
from pipeseal.signerapi.messages import SignRequest
from pipeseal.signing.seal.parse import parse_seal

if TYPE_CHECKING:
    from pipeseal.lab.drill import Drill


def _unsigned(drill: Drill) -> None:
    uploads = Uploads(drill)
    honest = uploads.job("first", {FILE: HONEST})
    uploads.must_upload(honest)
    job = uploads.job("first", {FILE: HONEST})
    bare = {name: value for name, value in job["step"].items() if name not in ("signature", "env")}
    env = {name: value for name, value in job["env"].items() if name != "PIPESEAL_SEAL"}
    drill.must_refuse(drill.send({**job, "step": bare, "env": env}, AGENT), ("signature.missing",))
    uploads.must_not_sign_directly({**job, "step": bare, "env": env}, "signature.missing")


def _elsewhere(drill: Drill) -> None:
    uploads, ground = Uploads(drill), drill.ground
    uploads.must_upload(uploads.job("commit", {FILE: HONEST}))
    evil = uploads.commit("evil", {FILE: "steps: [{command: evil}]\n"})
    for commit, branch in (
        (ground.loose_commit, "uploads/commit"),  # of a fork's pull request
        (evil, "uploads/commit"),  # of a branch that somebody may push, said to be another
    ):
        uploads.must_not_sign_directly(uploads.at(commit, branch), "commit.not_on_branch")
    uploads.must_not_sign_directly(uploads.at(ground.loose_commit, "attack"), "branch.not_allowed")
    job = uploads.at(evil, "uploads/commit")
    job["env"]["BUILDKITE_COMMIT"] = "refs/heads/uploads/evil"
    uploads.must_not_sign_directly(job, "environment.value")


def _tainted(drill: Drill) -> None:
    uploads = Uploads(drill)
    good = "steps: [{command: 'scripts/test $BUILDKITE_COMMIT $BUILDKITE_BRANCH $$BUILDKITE_MESSAGE'}]\n"
    (step,) = uploads.must_upload(uploads.job("variables", {FILE: good}))
    drill.must("uploads/variables $BUILDKITE_MESSAGE" in step["command"], f"it became {step['command']!r}")
    for name in ("BUILDKITE_MESSAGE", "BUILDKITE_BUILD_AUTHOR", "BUILDKITE_BUILD_NUMBER", "BUILDKITE_BUILD_URL"):
        text = f"steps:\n  - command: scripts/test ${name}\n"
        record = uploads.must_not_sign(uploads.job("variables", {FILE: text}), "signer.taint", name)
        drill.must(f"{FILE}:2:" in record.log and name in record.log, f"{name}: the line is not said")


def _defaults(drill: Drill) -> None:
    uploads = Uploads(drill)
    honest = "env: {DEPLOY_TARGET: staging}\nsteps: [{command: 'scripts/test ${DEPLOY_TARGET:-none}'}]\n"
    (step,) = uploads.must_upload(uploads.job("defaults", {FILE: honest}))
    drill.must(step["command"] == "scripts/test staging", f"it became {step['command']!r}")
    text = "steps:\n  - command: scripts/test ${DEPLOY_TARGET:-staging}\n"
    job = uploads.job("defaults", {FILE: text})
    job["env"]["DEPLOY_TARGET"] = "evil"
    drill.must_refuse(drill.send(job, AGENT), ("environment.unknown",), what="set by the server")
    uploads.must_not_sign(uploads.job("defaults", {FILE: text}), "signer.taint", "left out by the server")


def _switched(drill: Drill) -> None:
    uploads = Uploads(drill)
    files = {FILE: "steps: [{command: scripts/test, if_changed: nothing/**}]\n"}
    (step,) = uploads.must_upload(uploads.job("switches", files))
    drill.must("skip" not in step, "a step was skipped")
    for name, value in {
        "BUILDKITE_PIPELINE_NO_INTERPOLATION": "true",
        "BUILDKITE_PIPELINE_REPLACE": "true",
        "BUILDKITE_PIPELINE_UPLOAD_DRY_RUN": "true",
        "BUILDKITE_CHANGED_FILES_PATH": "/dev/null",
        "BUILDKITE_GIT_DIFF_BASE": "HEAD",
        "BUILDKITE_FETCH_DIFF_BASE": "true",
        "BUILDKITE_AGENT_APPLY_IF_CHANGED": "true",
    }.items():
        job = uploads.job("switches", files)
        job["env"][name] = value
        drill.must_refuse(drill.send(job, AGENT), ("environment.forbidden",), what=name)


def _any_job(drill: Drill) -> None:
    uploads = Uploads(drill)
    uploads.must_upload(uploads.job("any", {FILE: HONEST}))
    # A script that any signed step runs, and that somebody has changed in a pull request.
    sneak = f"#!/bin/bash\nset -e\n{UPLOAD} {FILE}\n"
    files = {FILE: HONEST, "scripts/sneak": sneak}
    uploads.must_not_sign(uploads.job("any", files, "scripts/sneak"), "signer.no_grant", "a test script")
    other = uploads.at(uploads.commit("any", files), "uploads/any", "scripts/sneak")
    uploads.must_not_sign_directly(other, "signer.not_upload_step")
    job = uploads.job("any", {FILE: HONEST})
    invented = SignRequest(capability="x" * 43, job_id=job["id"])
    uploads.must_not_sign_directly(job, "signer.unknown", invented)


def _other_repository(drill: Drill) -> None:
    uploads, ground = Uploads(drill), drill.ground
    # What a hook of the repository, a plugin or the job can do to its own environment before it uploads.
    hook = f"export BUILDKITE_REPO={ground.lookalike} BUILDKITE_COMMIT={ground.loose_commit}\n"
    hook += "export BUILDKITE_BUILD_ID=evil BUILDKITE_PIPELINE_SLUG=evil\n"
    files = {FILE: HONEST, ".buildkite/hooks/pre-command": f"#!/bin/bash\n{hook}"}
    job = uploads.job("repository", files)
    (step,) = uploads.must_upload(job, "with another repository in its variables")
    drill.attempts += 1
    seal = parse_seal(step["env"]["PIPESEAL_SEAL"])
    build = seal.build
    drill.must(
        (seal.audience.repository, seal.audience.pipeline) == (ground.repository, ground.pipeline)
        and build is not None
        and (build.commit, build.id) == (job["env"]["BUILDKITE_COMMIT"], job["env"]["BUILDKITE_BUILD_ID"]),
        "the steps were signed for something else than the verified step's repository and build",
        "signed for the verified step's repository and build",
    )
    for path in ("../../evil.yml", "/etc/hostname", "evil.yml"):
        hook = f"#!/bin/bash\necho 'steps: [{{command: evil}}]' > evil.yml\n{UPLOAD} {path}\n"
        files = {FILE: HONEST, ".buildkite/hooks/pre-command": hook}
        uploads.must_not_sign(uploads.job("repository", files), "signer.file", path)


def _key(drill: Drill) -> None:
    uploads = Uploads(drill)
    uploads.must_upload(uploads.job("key", {FILE: HONEST}))
    # Nothing that a job is told names the key.
    show = f"#!/bin/bash\nenv -0 | tr '\\0' '\\n'\n{UPLOAD} {FILE}\n"
    job = uploads.job("key", {FILE: HONEST, "scripts/show": show}, "scripts/show")
    record = uploads.must_not_sign(job, "signer.no_grant", "a job that looks for the key")
    drill.must(str(uploads.key) not in record.log and "JWKS" not in record.log, "the job is told where the key is")
    # A signer whose key others could read does not start.
    uploads.key.chmod(0o644)
    try:
        words = ["signer", "--check", "--config", str(uploads.folder / "signer.toml")]
        done = drill.actors.run(words, timeout_seconds=JOB_SECONDS)
        drill.attempts += 1
        drill.must(
            done.returncode != 0 and "[signer.permissions]" in done.stderr, "a signer starts with a key for everybody"
        )
        drill.note_code("signer.permissions")
    finally:
        uploads.key.chmod(0o600)
    if os.geteuid() == 0:
        _key_of_another_user(drill, uploads)


def _key_of_another_user(drill: Drill, uploads: Uploads) -> None:
    """With the rights of somebody else the key cannot be opened."""
    import subprocess

    nobody = 65_534
    words = ["/bin/cat", str(uploads.key)]
    done = subprocess.run(words, capture_output=True, check=False, user=nobody, group=nobody, extra_groups=[])
    drill.attempts += 1
    drill.must(
        done.returncode != 0 and not done.stdout, "another user can read the key", "another uid cannot read it"
    )


def _mounted(drill: Drill) -> None:
    uploads = Uploads(drill)
    uploads.must_upload(uploads.job("mounted", {FILE: HONEST}))
    # An agent that has a signer does not start with a key beside it, wherever that is mounted.
    settings = {"signer-socket": str(uploads.socket), "signing-jwks-file": str(uploads.key)}
    drill.must_not_start("both", settings, "config.value")


def _generated(drill: Drill) -> None:
    uploads = Uploads(drill)

    def files(pipeline: object) -> dict[str, str]:
        script = f"#!/bin/bash\ncat <<'END'\n{json.dumps(pipeline)}\nEND\n"
        return {FILE: HONEST, ".buildkite/templates.yml": TEMPLATES, "scripts/generate": script}

    shard = {"label": "Shard 3", "command": "scripts/test 3"}
    uploads.must_upload(uploads.job("generated", files({"steps": [shard, "wait"]}), GENERATE))
    for what, pipeline in {
        "a step of its own": {"steps": [shard, {"command": "evil"}]},
        "a hole filled wrongly": {"steps": [{"label": "Shard 3; evil", "command": "scripts/test 3; evil"}]},
        "one more member": {"steps": [{**shard, "plugins": [drill.ground.evil_plugin]}]},
        "variables for all": {"steps": [shard], "env": {"BASH_ENV": str(drill.ground.evil)}},
        "another pipeline": {"steps": [{"trigger": "deploy"}]},
    }.items():
        job = uploads.job("generated", files(pipeline), GENERATE)
        uploads.must_not_sign(job, "signer.generated", what)


def _generated_from_server(drill: Drill) -> None:
    uploads = Uploads(drill)
    script = "#!/bin/bash\nnumber=$(buildkite-agent meta-data get shards)\n"
    script += "echo \"steps: [{label: 'Shard $number', command: 'scripts/test $number'}]\"\n"
    files = {FILE: HONEST, ".buildkite/templates.yml": TEMPLATES, "scripts/generate": script}
    drill.server.meta_data["shards"] = "4"
    (step,) = uploads.must_upload(uploads.job("meta-data", files, GENERATE))
    drill.must(step["command"] == "scripts/test 4", f"it became {step['command']!r}")
    for value in ("4; evil", "99", "$(evil)", "4 4"):
        drill.server.meta_data["shards"] = value
        uploads.must_not_sign(uploads.job("meta-data", files, GENERATE), "signer.generated", value)


def _odd(drill: Drill) -> None:
    uploads = Uploads(drill)
    text = "x: &x {label: Odd, commands: [scripts/test, 'true']}\nsteps:\n  - <<: *x\n  - *x\n"
    text += "  - command: a\n    command: b\n"
    steps = uploads.must_upload(uploads.job("odd", {FILE: text}))
    for step in steps:
        seal = parse_seal(step["env"]["PIPESEAL_SEAL"])
        drill.attempts += 1
        drill.must(
            seal.step.command == step["command"] and seal.step.label == step.get("label", ""),
            "a seal says something else than what the server was sent",
            "what was sent is what was sealed",
        )
    for text, code in (
        ("steps: [{type: unheard, command: evil}]\n", "signing.unknown_step"),
        ("steps: [{command: a}, {group: g, steps: [{surprise: 1}]}]\n", "signing.unknown_step"),
        ("steps: [{command: [}]\n", "yaml.syntax"),
    ):
        uploads.must_not_sign(uploads.job("odd", {FILE: text}), code, text)


def _blindly(drill: Drill) -> None:
    def lie(repository: str, steps: str) -> None:
        pipeline = {"id": "1", "repository": {"url": repository}, "steps": {"yaml": steps}}

        def interfere(request: Request) -> Answer | None:
            return answer_json({"data": {"pipeline": pipeline}}) if request.path == "/graphql" else None

        drill.server.interfere = interfere

    ground = drill.ground
    words = ["tool", "sign", "--jwks-file", str(ground.keys / "signing.json"), "--graphql-token", "token"]
    words += ["--graphql-endpoint", drill.server.endpoint.replace("/v3", "/graphql")]
    words += ["--organization-slug", ground.organization, "--pipeline-slug", ground.pipeline]
    uploads = Uploads(drill)
    honest = uploads.folder / "settings.yml"
    honest.write_text(f"steps:\n  - command: {UPLOAD}\n", encoding="utf-8")
    file_words = ["tool", "sign", str(honest), *words[2:4], "--repo", ground.repository]
    drill.must(drill.actors.run(file_words).returncode == 0, "a file of one's own is not signed")
    lie(ground.repository, "steps:\n  - command: evil\n")
    for more, code in (
        ([], "signing.unconfirmed"),
        (["--expect-digest", "0" * 64, "--no-confirm"], "signing.other_text"),
        (["--repo", str(ground.lookalike)], "signing.repository"),
    ):
        done = drill.actors.run([*words, *more], timeout_seconds=JOB_SECONDS)
        drill.attempts += 1
        drill.must(
            done.returncode != 0 and "signature" not in done.stdout, "steps of the server's were signed blindly"
        )
        drill.must(f"[{code}]" in done.stderr, f"it did not say {code}: {done.stderr[-300:]}", "nothing was signed")
        drill.note_code(code)


def _triggered(drill: Drill) -> None:
    uploads = Uploads(drill)
    files = {FILE: f"steps: [{{command: {UPLOAD} more.yml}}, {{trigger: deploy, build: {{env: {{A: b}}}}}}]\n"}
    record = uploads.send(uploads.job("trigger", files))
    drill.must("a trigger step is not signed" in record.log, "nobody says that a trigger step is not signed")
    drill.must((record.finish or {}).get("exit_status") == "0", "the honest twin did not run")
    # What the server makes of an added trigger: builds whose steps have no authority of their own.
    child = uploads.at(uploads.commit("child", {FILE: HONEST}), "uploads/child")
    step = {"command": "evil", "key": "child"}
    env = {name: value for name, value in child["env"].items() if name != "PIPESEAL_SEAL"}
    env |= {"BUILDKITE_COMMAND": "evil", "BUILDKITE_TRIGGERED_FROM_BUILD_ID": "0193d0a1-0000-7000-8000-000000000001"}
    drill.must_refuse(drill.send({**child, "step": step, "env": env}, AGENT), ("signature.missing",))


SCENARIOS = (
    Scenario(
        id="G01",
        title="The first upload step, unsigned",
        actors=("CP", "UI"),
        change="the step in the pipeline's settings",
        happens="an upload step needs a signature and a seal like any other",
        codes=("signature.missing",),
        play=_unsigned,
    ),
    Scenario(
        id="G02",
        title="The upload step at a commit of the attacker's",
        actors=("CP", "PR"),
        change="the commit of a genuine upload step",
        happens="the signer fetches the repository itself, and signs only what is on the build's branch",
        codes=("commit.not_on_branch", "branch.not_allowed", "environment.value"),
        play=_elsewhere,
    ),
    Scenario(
        id="G03",
        title="Values of the server, put into commands",
        actors=("CP", "UI", "PR"),
        change="`BUILDKITE_BRANCH`, `BUILDKITE_MESSAGE`, ...",
        happens="only variables that somebody else vouches for are expanded",
        codes=("signer.taint",),
        play=_tainted,
    ),
    Scenario(
        id="G04",
        title="Undeclared variables with defaults",
        actors=("CP", "UI"),
        change="`DEPLOY_TARGET`, for `${DEPLOY_TARGET:-staging}`",
        happens="that a variable has no value is the server's choice too",
        codes=("environment.unknown", "signer.taint"),
        play=_defaults,
    ),
    Scenario(
        id="G05",
        title="How an upload works, switched by variables",
        actors=("CP",),
        change="`BUILDKITE_PIPELINE_NO_INTERPOLATION` and kin",
        happens="no server may set them, and the signer knows no such switch",
        codes=("environment.forbidden",),
        play=_switched,
    ),
    Scenario(
        id="G06",
        title="Any job uploads",
        actors=("PR", "PLG"),
        change="`pipeline upload` in a test script",
        happens="the signer grants one upload to a verified upload step, and nothing to others",
        codes=("signer.no_grant", "signer.not_upload_step", "signer.unknown"),
        play=_any_job,
    ),
    Scenario(
        id="G07",
        title="Signed for another repository",
        actors=("PR", "PLG"),
        change="`BUILDKITE_REPO` for one upload",
        happens="repository, build and file come from the verified step",
        codes=("signer.file",),
        play=_other_repository,
    ),
    Scenario(
        id="G08",
        title="The private key, read by a job",
        actors=("PR", "PLG", "RUN"),
        change="the file that the key is in",
        happens="the signer runs as another user, and no variable names the key",
        codes=("signer.permissions", "signer.no_grant"),
        play=_key,
    ),
    Scenario(
        id="G09",
        title="The private key, mounted into containers",
        actors=("PR", "PLG"),
        change="volumes of a pod",
        happens="an agent with a signer does not start with a key beside it",
        codes=("config.value",),
        play=_mounted,
    ),
    Scenario(
        id="G10",
        title="Pipelines made from untrusted input",
        actors=("PR",),
        change="a script of a pull request prints the pipeline",
        happens="generated steps are instances of templates, with typed holes",
        codes=("signer.generated",),
        play=_generated,
    ),
    Scenario(
        id="G11",
        title="Pipelines made from the server's data",
        actors=("CP",),
        change="meta-data, steps, artifacts, annotations",
        happens="whatever a generator read, it can say no more than its templates",
        codes=("signer.generated",),
        play=_generated_from_server,
    ),
    Scenario(
        id="G12",
        title="Files that two parsers read in two ways",
        actors=("CP", "PR"),
        change="anchors, merge keys, several documents, ...",
        happens="the signer sends JSON, and agents run what is sealed",
        codes=("signing.unknown_step", "yaml.syntax"),
        play=_odd,
    ),
    Scenario(
        id="G13",
        title="Settings signed blindly",
        actors=("CP",),
        change="what `tool sign` fetches from the server",
        happens="a person vouches for the text, or nothing is signed",
        codes=("signing.unconfirmed", "signing.other_text", "signing.repository"),
        play=_blindly,
    ),
    Scenario(
        id="G14",
        title="Steps that are not signed",
        actors=("CP",),
        change="trigger, input, group and wait steps",
        happens="a build that they start has no authority but that of its own steps",
        codes=("signature.missing",),
        play=_triggered,
    ),
)

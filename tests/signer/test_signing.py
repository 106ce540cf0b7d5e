"""What the signer signs, and what it refuses to: each attack beside its honest twin, on a real repository."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeseal.agentapi.job import parse_job
from pipeseal.errors import ConfigurationError, MalformedInput, PipesealError, VerificationError, render_error
from pipeseal.pipeline.expand import interpolate_pipeline
from pipeseal.pipeline.parse import parse_pipeline
from pipeseal.pipeline.steps import CommandStep
from pipeseal.signer.judge import verify_upload
from pipeseal.signer.sign import variables_of
from pipeseal.signing.seal.envelope import VARIABLE, ResolvedPlugin
from tests.agent.repositories import git
from tests.signer.workshop import FILE, JOB, PIPELINE, PLUGIN, STRANGER, SUPERVISOR, UPLOAD, Workshop, local_facts

ODD = """\
steps:
  - &step
    label: "one"
    commands: [a, b]
  - <<: *step
    label: two
  - command: "$(not expanded) $$LATER \\\\$ALSO"
    env: {TEXT: "é ü"}
"""


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Workshop:
    """A signer for tests that change nothing."""
    return Workshop(tmp_path_factory.mktemp("signer"))


# A policy that leaves it to the signer's file which commits may be built.
ANY_BRANCH = 'static-steps = "any"\n'


def refusal(shop: Workshop, **job: Any) -> PipesealError:
    """What an upload that is granted comes to when it is refused."""
    asked = job.pop("file", ""), job.pop("generated", None)
    made = shop.job(**job)
    capability = shop.grant(made)
    with pytest.raises(PipesealError) as refused:
        shop.sign(made, capability, file=asked[0], generated=asked[1])
    return refused.value


# --- what is signed -------------------------------------------------------------------------------------------------


def test_an_upload_is_signed_sealed_and_a_child_of_its_step(shop: Workshop) -> None:
    upload = shop.upload_step()
    job = shop.job(upload)
    signed = shop.sign(job, shop.grant(job))
    (step,) = shop.verified(signed.pipelines[0])
    seal = shop.verified_seal(step).seal
    assert (step.command, seal.execution, seal.parent.position) == ("scripts/test", "script", 0)
    assert seal.parent.seal == shop.verified_seal(upload).digest
    assert seal.build is not None
    assert (seal.build.commit, seal.build.branch) == (shop.commit, "main")
    assert seal.build.tree == git(shop.remote, "rev-parse", f"{shop.commit}^{{tree}}")
    assert (seal.audience.organization, seal.audience.pipeline) == ("acme", "widgets")
    assert signed.source == FILE and "Signed and sealed 1 step" in signed.notes[-1]


def test_steps_uploaded_by_an_uploaded_step_form_a_chain(tmp_path: Path) -> None:
    files = {
        FILE: f"steps: [{{key: more, command: '{UPLOAD} .buildkite/more.yml'}}]",
        ".buildkite/more.yml": "steps: [{command: scripts/test}, {group: g, steps: [{command: b}]}]",
    }
    shop = Workshop(tmp_path, files)
    (more,) = shop.upload()
    children = shop.upload(shop.child_job(more))
    assert [step.command for step in children] == ["scripts/test", "b"]
    seals = [shop.verified_seal(step).seal for step in children]
    assert {seal.parent.seal for seal in seals} == {shop.verified_seal(more).digest}
    assert [seal.parent.position for seal in seals] == [0, 1]


def test_what_is_signed_is_what_every_reader_reads(tmp_path: Path) -> None:
    # G12: anchors, merge keys, `commands`: what goes out is JSON, and the seal covers what it reads as.
    shop = Workshop(tmp_path, {FILE: ODD})
    one, two, three = shop.upload()
    assert (one.label, one.command, two.label, two.command) == ("one", "a\nb", "two", "a\nb")
    assert (three.command, three.env["TEXT"]) == ("$(not expanded) $LATER $ALSO", "é ü")


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("steps: [{type: unheard, command: a}]", "signing.unknown_step"),
        ("steps: [{command: [}]", "yaml.syntax"),
        ("", "yaml.empty"),
    ],
)
def test_what_readers_could_read_differently_is_not_signed(tmp_path: Path, text: str, code: str) -> None:
    shop = Workshop(tmp_path, {FILE: text})
    assert refusal(shop).code == code


def test_several_documents_are_signed_in_one_call(tmp_path: Path) -> None:
    shop = Workshop(tmp_path, {FILE: "env: {A: one}\nsteps: [{command: '$A'}]\n---\nsteps: [{command: 'b $A'}]"})
    assert [step.command for step in shop.upload()] == ["one", "b one"]


def test_secrets_of_the_pipeline_are_signed_into_its_steps(tmp_path: Path) -> None:
    text = "secrets: [shared]\nsteps:\n  - command: make\n    secrets: [own]\n"
    (step,) = Workshop(tmp_path, {FILE: text}).upload()
    assert [secret.key for secret in step.secrets] == ["own", "shared"]


def test_conditions_skip_nothing_and_triggers_are_said_to_be_unsigned(tmp_path: Path) -> None:
    # G05: what changed would be measured against something that whoever asks could name. G14: triggers.
    text = "steps: [{command: a, if_changed: docs/**}, {trigger: deploy, if_changed: x}, wait, {block: go}]"
    shop = Workshop(tmp_path, {FILE: text})
    job = shop.job()
    signed = shop.sign(job, shop.grant(job))
    (step,) = shop.verified(signed.pipelines[0])
    assert step.rest == {} and "if_changed" not in signed.pipelines[0]
    assert any("if_changed" in note for note in signed.notes)
    assert any("step 2: a trigger step is not signed" in note for note in signed.notes)


def test_plugins_are_sealed_at_what_they_stand_for_and_held_to_the_lock(tmp_path: Path) -> None:
    text = "steps: [{command: a, plugins: ['acme/lint#v1', './local']}]"
    source = "github.com/acme/lint-buildkite-plugin#v1"
    shop = Workshop(tmp_path, {FILE: text})
    (step,) = shop.upload()
    assert shop.verified_seal(step).seal.plugins == (PLUGIN, None)
    lock = f'version = 1\n[plugins."{source}"]\ncommit = "{"a" * 40}"\ntree = "{"b" * 40}"\n'
    shop.add_commit({".buildkite/plugins.lock": lock})
    assert len(shop.upload()) == 1
    shop.resolved = {source: ResolvedPlugin("c" * 40, "b" * 40)}
    assert refusal(shop).code == "plugin.moved"


# --- variables: G03, G04 --------------------------------------------------------------------------------------------

GOOD = """\
env:
  REGION: eu
  WHERE: "$REGION-1"
steps:
  - command: "deploy $WHERE $BUILDKITE_COMMIT $BUILDKITE_BRANCH ${BUILDKITE_TAG:-none} $BUILDKITE_PULL_REQUEST"
    label: "$BUILDKITE_PIPELINE_SLUG $TIER ${FLAVOUR:-plain} $$BUILDKITE_MESSAGE"
"""


def test_variables_that_somebody_vouches_for_are_expanded(tmp_path: Path) -> None:
    shop = Workshop(tmp_path, {FILE: GOOD}, settings='unset = ["FLAVOUR"]\n[constants]\nTIER = "gold"\n')
    # The server's values for declared names do not matter.
    (step,) = shop.upload(shop.job(env={"BUILDKITE_BUILD_NUMBER": "7"}))
    assert step.command == f"deploy eu-1 {shop.commit} main none false"
    assert step.label == "widgets gold plain $BUILDKITE_MESSAGE"


def test_variables_of_the_upload_steps_own_seal_are_expanded(tmp_path: Path) -> None:
    shop = Workshop(tmp_path, {FILE: "steps: [{command: 'echo $SHARD'}]"})
    (step,) = shop.upload(shop.job(shop.upload_step(env={"SHARD": "four"})))
    assert step.command == "echo four"


@pytest.mark.parametrize(
    ("line", "name"),
    [
        ("  - command: echo $BUILDKITE_MESSAGE", "BUILDKITE_MESSAGE"),
        ("  - command: echo ${BUILDKITE_BUILD_CREATOR:-nobody}", "BUILDKITE_BUILD_CREATOR"),
        ("  - {command: a, label: $BUILDKITE_BUILD_NUMBER}", "BUILDKITE_BUILD_NUMBER"),
        ("  - {command: a, env: {X: '${DEPLOY_TARGET:-staging}'}}", "DEPLOY_TARGET"),
        ("  - {command: a, env: {'${DEPLOY_TARGET-X}': one}}", "DEPLOY_TARGET"),
        ("  - {command: a, plugins: ['docker#${DEPLOY_TARGET?}']}", "DEPLOY_TARGET"),
        ("  - {command: a, agents: {queue: '${NOBODY:-${DEPLOY_TARGET:0:3}}'}}", "NOBODY"),
        ("  - command: echo $BUILDKITE_PULL_REQUEST_REPO", "BUILDKITE_PULL_REQUEST_REPO"),
        ("  - command: echo $BUILDKITE_BUILD_ID", "BUILDKITE_BUILD_ID"),
        ("  - command: echo $BUILDKITE_AGENT_ACCESS_TOKEN", "BUILDKITE_AGENT_ACCESS_TOKEN"),
        ("  - command: echo $HOME", "HOME"),
        ("  - {trigger: deploy, build: {message: $BUILDKITE_MESSAGE}}", "BUILDKITE_MESSAGE"),
        ("  - {block: go, prompt: '$BUILDKITE_BUILD_AUTHOR'}", "BUILDKITE_BUILD_AUTHOR"),
    ],
)
def test_what_the_server_chose_never_becomes_part_of_what_is_signed(tmp_path: Path, line: str, name: str) -> None:
    # Both a value and the lack of one are the server's choice.
    shop = Workshop(tmp_path, {FILE: f"# first\nsteps:\n  - wait\n{line}\n"})
    for env in ({}, {name: "evil"} if not name.startswith(("BUILDKITE", "HOME", "NOBODY", "DEPLOY")) else {}):
        error = refusal(shop, env=env)
        assert isinstance(error, MalformedInput) and error.code == "signer.taint"
        assert error.position is not None and (error.position.source, error.position.line) == (FILE, 4)
        assert error.message.split(": ", 1)[1].startswith(f"{name} ") and "$$" in error.help
        assert f"{FILE}:4:" in render_error(error)


@pytest.fixture(scope="module")
def gold(tmp_path_factory: pytest.TempPathFactory) -> Workshop:
    """A signer with a constant."""
    return Workshop(tmp_path_factory.mktemp("gold"), settings='constants = { TIER = "gold" }\n')


INFORMATIONAL = [
    "BUILDKITE_MESSAGE", "BUILDKITE_BUILD_NUMBER", "BUILDKITE_BUILD_URL", "BUILDKITE_BUILD_AUTHOR",
    "BUILDKITE_SOURCE", "BUILDKITE_PIPELINE_NAME", "BUILDKITE_PIPELINE_DEFAULT_BRANCH", "BUILDKITE_RETRY_COUNT",
    "BUILDKITE_STEP_ID", "BUILDKITE_PULL_REQUEST_REPO", "BUILDKITE_PULL_REQUEST_BASE_BRANCH",
    "BUILDKITE_UNBLOCKER", "BUILDKITE_CLUSTER_ID",
]  # fmt: skip
PIECES = [*(form for name in [*INFORMATIONAL, "TIER", "BUILDKITE_COMMIT", "BUILDKITE_BRANCH", "OWN"]
            for form in (f"${name}", f"${{{name}}}", f"${{{name}:-x}}", f"${{{name}-x}}", f"${{{name}:0:3}}",
                         f"${{{name}?}}", f"$${name}", f"${{TIER:-${name}}}", f"${{BUILDKITE_TAG:-${name}}}")),
          "text ", "$(x) "]  # fmt: skip


@given(
    st.dictionaries(st.sampled_from(INFORMATIONAL), st.sampled_from(["", "7", "evil", "main", "$(evil)"])),
    st.lists(st.sampled_from(PIECES), max_size=6).map("".join),
)
@settings(max_examples=150, deadline=None)
def test_what_is_signed_is_no_function_of_what_the_server_says(
    gold: Workshop, told: dict[str, str], text: str
) -> None:
    # The property behind G03 and G04: with other values, or with none, the outcome is the same.
    def outcome(env: dict[str, str]) -> object:
        job = gold.job(env=env)
        for name in set(INFORMATIONAL) - env.keys():
            job.document["env"].pop(name, None)
        read = parse_job(json.dumps(job.document).encode())
        working = gold.trust.current()
        try:
            upload = verify_upload(read, working.settings.rules, working.verification, local_facts(job))
        except VerificationError as error:
            # The policy stops it before anything is signed.
            assert error.code in {"environment.value", "seal.attempts"}
            return None
        variables = variables_of(upload, {**upload.bindings, "BUILDKITE_COMMIT": gold.commit})
        pipeline = parse_pipeline(json.dumps({"env": {"OWN": "o"}, "steps": [{"command": text, "label": text}]}))
        try:
            return interpolate_pipeline(pipeline, variables.values, check=variables.check)[0].steps
        except MalformedInput as error:
            return error.code

    with_values, without = outcome(told), outcome({})
    assert with_values is None or with_values == without


@pytest.mark.parametrize("branch", ["a;reboot", "a$(reboot)", "a`b`", "-rf", "it's", "a&b", "<in", "#note", "a|b"])
def test_a_branch_whose_name_a_shell_could_misread_is_not_expanded(tmp_path: Path, branch: str) -> None:
    shop = Workshop(tmp_path, {FILE: "steps: [{command: 'echo $BUILDKITE_BRANCH'}]"}, policy=ANY_BRANCH)
    assert shop.upload()[0].command == "echo main"
    if branch.startswith("-"):
        git(shop.remote, "update-ref", f"refs/heads/{branch}", "HEAD")
    else:
        git(shop.remote, "branch", branch)
    # A policy refuses most such names by itself; with a build that is sealed for one, the signer does.
    granted = shop.granted(shop.job(branch=branch))
    if granted.capability:
        assert refusal(shop, branch=branch).code == "signer.value"
    else:
        assert granted.code in {"environment.value", "job.identity"}


def test_names_of_branches_are_not_believed_where_the_commit_was_looked_for_elsewhere(tmp_path: Path) -> None:
    rule = "[[upload]]\npull-requests = true\ntags = true\n"
    files = {FILE: "steps: [{command: 'echo $BUILDKITE_BRANCH'}]"}
    shop = Workshop(tmp_path, files, settings=rule, policy=ANY_BRANCH)
    git(shop.remote, "update-ref", "refs/pull/4/head", "HEAD")
    git(shop.remote, "tag", "v1")
    assert shop.upload()[0].command == "echo main"
    assert refusal(shop, pull_request="4", branch="whatever").code == "signer.taint"
    assert refusal(shop, tag="v1", branch="whatever").code == "signer.taint"


# --- commits: G02 ---------------------------------------------------------------------------------------------------


def test_only_commits_of_the_branch_are_signed(tmp_path: Path) -> None:
    shop = Workshop(tmp_path)
    first = shop.commit
    shop.add_commit({"new": "1"})
    assert shop.upload(shop.job(commit=first))[0].command == "scripts/test"  # an ancestor is part of it
    evil = shop.add_commit({FILE: "steps: [{command: evil}]"}, branch="evil")
    git(shop.remote, "checkout", "-q", "main")
    # The commit of a fork: the remote has it, and no branch that may be built does.
    git(shop.remote, "update-ref", "refs/pull/7/head", evil)
    assert refusal(shop, commit=evil).code == "commit.not_on_branch"
    assert refusal(shop, commit="0" * 39 + "1").code == "commit.not_on_branch"
    assert shop.granted(shop.job(commit=evil, branch="evil")).code == "branch.not_allowed"
    assert shop.granted(shop.job(commit=evil, pull_request="7")).code == "branch.not_allowed"
    assert shop.granted(shop.job(commit=evil[:12])).code == "environment.value"


def test_the_head_of_a_branch_is_what_the_signer_finds_there(tmp_path: Path) -> None:
    shop = Workshop(tmp_path, {FILE: "steps: [{command: 'echo $BUILDKITE_COMMIT'}]"})
    head = shop.add_commit({"new": "1"})
    (step,) = shop.upload(shop.job(commit="HEAD"))
    assert step.command == f"echo {head}" and shop.seal(step)["BUILDKITE_COMMIT"] == head
    shop._write("policy.toml", 'version = 1\nproof = "seal"\nbranches = ["main"]\nhead-commits = false\n')
    assert shop.granted(shop.job(commit="HEAD")).code == "commit.not_full"
    shop._write("policy.toml", 'version = 1\nproof = "seal"\nstatic-steps = "any"\n')
    shop.configure("[[upload]]\ntags = true\npull-requests = true\n")
    assert shop.granted(shop.job(commit="HEAD", tag="v1")).code == "commit.not_full"
    assert shop.granted(shop.job(commit="HEAD", pull_request="4")).code == "commit.not_full"


def test_a_branch_that_moves_before_the_signing_has_the_new_commit_signed_whole(tmp_path: Path) -> None:
    """The job's checkout is of the commit of before; file, variables and seals are all of the one that is signed."""
    shop = Workshop(tmp_path, {FILE: "steps: [{command: 'echo old $BUILDKITE_COMMIT'}]"})
    job = shop.job(commit="HEAD")
    capability = shop.grant(job)
    old, new = shop.commit, shop.add_commit({FILE: "steps: [{command: 'echo new $BUILDKITE_COMMIT'}]"})
    signed = shop.sign(job, capability)
    (step,) = (step for text in signed.pipelines for step in shop.verified(text))
    assert step.command == f"echo new {new}" and shop.seal(step)["BUILDKITE_COMMIT"] == new
    build = shop.verified_seal(step).seal.build
    assert build is not None and build.tree == git(shop.remote, "rev-parse", f"{new}^{{tree}}")
    assert old not in "".join(signed.pipelines)
    # A build that names its commit is not moved along.
    fixed = shop.job(commit=old)
    capability = shop.grant(fixed)
    shop.add_commit({FILE: "steps: [{command: 'echo newer'}]"})
    (step,) = (step for text in shop.sign(fixed, capability).pipelines for step in shop.verified(text))
    assert step.command == f"echo old {old}" and shop.seal(step)["BUILDKITE_COMMIT"] == old


def test_pull_requests_and_tags_are_signed_only_where_the_signers_file_says_so(tmp_path: Path) -> None:
    shop = Workshop(tmp_path, policy=ANY_BRANCH)
    git(shop.remote, "update-ref", "refs/pull/4/head", "HEAD")
    git(shop.remote, "tag", "v1")
    assert shop.granted(shop.job(pull_request="4")).code == "pull_request.not_allowed"
    assert shop.granted(shop.job(tag="v1")).code == "branch.not_allowed"
    shop.configure("[[upload]]\npull-requests = true\ntags = true\n")
    assert len(shop.upload(shop.job(pull_request="4"))) == 1
    assert len(shop.upload(shop.job(tag="v1"))) == 1
    # The tag has to stand for the commit, and the pull request to have it.
    old, new = shop.commit, shop.add_commit({"new": "1"})
    assert refusal(shop, tag="v1", commit=new).code == "commit.not_on_branch"
    assert refusal(shop, pull_request="4", commit=new).code == "commit.not_on_branch"
    assert refusal(shop, pull_request="5", commit=old).code == "git.failed"


def test_branches_of_a_rule_hold_beside_the_policys(tmp_path: Path) -> None:
    shop = Workshop(tmp_path, settings='[[upload]]\nbranches = "release/*"\n', policy=ANY_BRANCH)
    assert shop.granted(shop.job()).code == "branch.not_allowed"
    git(shop.remote, "branch", "release/1")
    assert len(shop.upload(shop.job(branch="release/1"))) == 1


# --- which step may upload: G01, G06, G07 ---------------------------------------------------------------------------


def test_only_proven_upload_steps_are_granted_an_upload(shop: Workshop) -> None:
    shop.grant(shop.job())
    unsigned = CommandStep(command=UPLOAD)
    assert shop.granted(shop.job(unsigned)).code == "signature.missing"
    changed = shop.job()
    changed.document["step"]["command"] = changed.document["env"]["BUILDKITE_COMMAND"] = f"{UPLOAD} evil.yml"
    assert shop.granted(changed).code == "signature.mismatch"
    assert shop.granted(shop.job(repository="/somewhere/else")).code != ""
    assert shop.granted(shop.job(pipeline_slug="gadgets")).code != ""
    unbound = shop.upload_step(organization=None, pipeline=None)
    assert shop.granted(shop.job(unbound)).code == "signer.unbound"
    no_build = shop.job()
    del no_build.document["env"]["BUILDKITE_BUILD_ID"]
    assert shop.granted(no_build).code == "signer.unbound"
    other = shop.job()
    other.document["id"] = "0193d0a1-ffff-7000-8000-000000000001"
    assert shop.granted(other).code == "job.identity"


def test_a_signed_step_without_a_seal_is_granted_nothing(tmp_path: Path) -> None:
    shop = Workshop(tmp_path, policy='branches = ["main"]\n')
    shop._write("policy.toml", 'version = 1\nproof = "signature"\nbranches = ["main"]\n')
    from pipeseal.signing.bindings import static_bindings
    from pipeseal.signing.keys.signing_key import FileSigningKey
    from pipeseal.signing.sign import sign_step

    step = sign_step(
        CommandStep(command=UPLOAD),
        key=FileSigningKey(shop.author.key),
        repository_url=str(shop.remote),
        bindings=static_bindings(organization="acme", pipeline="widgets"),
    )
    assert VARIABLE not in step.env
    granted = shop.granted(shop.job(step))
    assert not granted.capability and granted.code in {"seal.missing", "proof.not_enough"}
    shop.grant(shop.job())


@pytest.mark.parametrize(
    "command",
    [
        "scripts/test",
        f"{UPLOAD} .buildkite/pipeline.yml && evil",
        f"{UPLOAD}; evil",
        f"evil\n{UPLOAD}",
        f"{UPLOAD}\nevil",
        f"{UPLOAD} a.yml b.yml",
        f"{UPLOAD} --no-interpolation",
        f"{UPLOAD} --dry-run",
        f"{UPLOAD} $(evil).yml",
        f"{UPLOAD} ../evil.yml",
        f"{UPLOAD} /etc/evil.yml",
        f"cat x | {UPLOAD}",
        "./buildkite-agent pipeline upload",
        f'{UPLOAD} "un closed',
    ],
)
def test_a_step_that_does_more_than_upload_is_granted_nothing(shop: Workshop, command: str) -> None:
    assert shop.granted(shop.job(shop.upload_step(command))).code == "signer.not_upload_step"


@pytest.mark.parametrize(
    "command",
    [
        UPLOAD,
        "pipeseal pipeline upload",
        f" {UPLOAD} {FILE}\n",
        f"{UPLOAD} --replace",
        f"{UPLOAD} ./{FILE} --replace",
    ],
)
def test_plain_upload_steps_are_granted_their_upload(tmp_path: Path, command: str) -> None:
    shop = Workshop(tmp_path)
    assert shop.upload(shop.job(shop.upload_step(command)))[0].command == "scripts/test"


def test_rules_name_which_steps_may_upload(tmp_path: Path) -> None:
    rule = f'[[upload]]\npipeline = "widgets"\nstep = "upload"\ncommand = "make && {UPLOAD} x/a.yml"\n'
    rule += 'files = "x/*.yml"\n'
    shop = Workshop(tmp_path, {"x/a.yml": "steps: [{command: a}]", "y.yml": "steps: [{command: y}]"}, settings=rule)
    step = shop.upload_step(f"make && {UPLOAD} x/a.yml", key="upload")
    assert [found.command for found in shop.upload(shop.job(step), file="x/a.yml")] == ["a"]
    assert refusal(shop, step=step, file="y.yml").code == "signer.file"
    assert shop.granted(shop.job(shop.upload_step(f"make && {UPLOAD} x/a.yml"))).code == "signer.not_upload_step"
    assert shop.granted(shop.job()).code == "signer.not_upload_step"


# --- which file -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "file",
    [
        "../evil.yml",
        "a/../../evil.yml",
        "/etc/passwd",
        "",
        ".git/config",
        "evil.yml",
        "-evil",
        ":(top)x",
        "a\nb",
        "a\\b",
        "a//b",
        "x" * 3000,
    ],
)
def test_a_job_can_ask_for_no_file_but_its_steps(tmp_path: Path, file: str) -> None:
    # The step names its file; the job's own checkout may hold any other, and the commit may too.
    shop = Workshop(tmp_path, {"evil.yml": "steps: [{command: evil}]"})
    step = shop.upload_step(f"{UPLOAD} {FILE}")
    assert shop.upload(shop.job(step), file=f"./{FILE}")[0].command == "scripts/test"
    if file:
        assert refusal(shop, step=step, file=file).code == "signer.file"
    else:
        assert shop.upload(shop.job(step))[0].command == "scripts/test"


def test_what_only_the_job_has_is_not_signed(tmp_path: Path) -> None:
    shop = Workshop(tmp_path)
    (shop.remote / FILE).write_text("steps: [{command: evil}]")  # the working tree, and no commit
    assert shop.upload()[0].command == "scripts/test"
    (shop.remote / ".buildkite/other.yml").write_text("steps: [{command: evil}]")
    step = shop.upload_step(f"{UPLOAD} .buildkite/other.yml")
    assert refusal(shop, step=step).code == "signer.file"


def test_links_submodules_and_folders_are_no_pipeline_files(tmp_path: Path) -> None:
    shop = Workshop(tmp_path)
    remote = shop.remote
    (remote / "evil.yml").write_text("steps: [{command: evil}]")
    (remote / "link.yml").symlink_to("evil.yml")
    (remote / "out.yml").symlink_to("../../secret.yml")
    (remote / "linked").symlink_to(".buildkite")
    git(remote, "update-index", "--add", "--cacheinfo", f"160000,{shop.commit},module.yml")
    git(remote, "add", "evil.yml", "link.yml", "out.yml", "linked")
    git(remote, "commit", "-q", "-m", "Links")
    shop.commit = git(remote, "rev-parse", "HEAD")
    for name, why in {
        "link.yml": "symbolic link",
        "out.yml": "symbolic link",
        "module.yml": "submodule",
        ".buildkite": "folder",
        "linked/pipeline.yml": "no such file",
        "module.yml/x": "no such file",
    }.items():
        error = refusal(shop, step=shop.upload_step(f"{UPLOAD} {name}"))
        assert error.code == "signer.file" and why in error.message, name
    assert shop.upload(shop.job(shop.upload_step(f"{UPLOAD} evil.yml")))[0].command == "evil"


def test_huge_files_are_not_read(tmp_path: Path) -> None:
    shop = Workshop(tmp_path, {"big.yml": "steps: []\n#" + "x" * (4 << 20)})
    error = refusal(shop, step=shop.upload_step(f"{UPLOAD} big.yml"))
    assert error.code == "signer.file" and "bytes" in error.message


def test_the_default_file_is_searched_for_in_the_commit(tmp_path: Path) -> None:
    shop = Workshop(tmp_path)
    shop.add_commit({"buildkite.yml": PIPELINE})
    error = refusal(shop)
    assert isinstance(error, ConfigurationError) and error.code == "upload.several_files"
    git(shop.remote, "rm", "-q", "buildkite.yml", FILE)
    shop.add_commit({"other.txt": ""})
    assert refusal(shop).code == "upload.no_file"


# --- once, and by whom ----------------------------------------------------------------------------------------------


def test_an_upload_is_granted_once_and_used_once(tmp_path: Path) -> None:
    shop = Workshop(tmp_path)
    job = shop.job()
    capability = shop.grant(job)
    shop.sign(job, capability)
    for _life in range(2):
        with pytest.raises(VerificationError) as refused:
            shop.sign(job, capability)
        assert refused.value.code == "signer.used"
        with pytest.raises(VerificationError) as refused:
            shop.granted(job)
        assert refused.value.code == "signer.used"
        # Nothing is forgotten when the signer dies and starts again.
        shop.service = shop.make_service()


def test_an_upload_that_was_refused_is_used_too(tmp_path: Path) -> None:
    shop = Workshop(tmp_path)
    job = shop.job()
    capability = shop.grant(job)
    with pytest.raises(VerificationError):
        shop.sign(job, capability, file="../x")
    with pytest.raises(VerificationError) as refused:
        shop.sign(job, capability)
    assert refused.value.code == "signer.used"


def test_capabilities_end_with_their_job_their_time_and_the_signer(tmp_path: Path) -> None:
    shop = Workshop(tmp_path)

    def ended(job: Any, capability: str) -> None:
        with pytest.raises(VerificationError) as refused:
            shop.sign(job, capability)
        assert refused.value.code == "signer.ended"

    job = shop.job()
    capability = shop.grant(job)
    shop.revoke(job)
    ended(job, capability)
    job = shop.job()
    capability = shop.grant(job)
    shop.now += 86_401
    ended(job, capability)
    job = shop.job()
    capability = shop.grant(job)
    shop.service = shop.make_service()
    ended(job, capability)
    # A supervisor that asks again gets another one, and the first is worth nothing.
    first, second = shop.grant(job), shop.grant(job)
    with pytest.raises(VerificationError) as refused:
        shop.sign(job, first)
    assert refused.value.code == "signer.unknown"
    shop.sign(job, second)


def test_invented_and_borrowed_capabilities_are_worth_nothing(shop: Workshop) -> None:
    job, other = shop.job(), shop.job()
    capability = shop.grant(job)
    for invented in ("", "x", "0" * 43, capability + "x"):
        with pytest.raises(VerificationError) as refused:
            shop.sign(job, invented)
        assert refused.value.code == "signer.unknown"
    with pytest.raises(VerificationError) as refused:
        shop.sign(other, capability)
    assert refused.value.code == "signer.other_job"
    shop.sign(job, capability, file="")


def test_each_user_may_do_its_own_part_and_nothing_else(shop: Workshop) -> None:
    job = shop.job()
    for uid in (JOB, STRANGER, 0):
        with pytest.raises(VerificationError) as refused:
            shop.granted(job, uid)
        assert refused.value.code == "signer.not_allowed"
    capability = shop.grant(job)
    for uid in (SUPERVISOR, STRANGER, 0):
        with pytest.raises(VerificationError) as refused:
            shop.sign(job, capability, uid=uid)
        assert refused.value.code == "signer.not_allowed"
    shop.sign(job, capability)


def test_a_key_revoked_after_the_grant_signs_nothing(tmp_path: Path) -> None:
    shop = Workshop(tmp_path)
    job = shop.job()
    capability = shop.grant(job)
    shop._write(
        "policy.toml",
        'version = 1\nproof = "seal"\nbranches = ["main"]\n[key.author]\nrevoked = "left on a train"\n',
    )
    with pytest.raises(VerificationError) as refused:
        shop.sign(job, capability)
    assert refused.value.code == "key.revoked"

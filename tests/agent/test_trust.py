"""Keys and policy of an agent: refused when others can change them, read again when they change, and told why."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from pipeseal.agent.settings import AgentSettings, load_settings
from pipeseal.agent.trust import Trust, load_verification
from pipeseal.errors import ConfigurationError, MalformedInput, PipesealError
from pipeseal.pipeline.render import step_value
from pipeseal.pipeline.steps import CommandStep, Pipeline, Plugin
from pipeseal.policy.files import check_only_ours, read_policy
from pipeseal.policy.policy import Mode
from pipeseal.signing.bindings import static_bindings
from pipeseal.signing.keys.generate import generate_key_pair
from pipeseal.signing.keys.open import open_signing_key
from pipeseal.signing.seal.envelope import BuildFacts, ResolvedPlugin
from pipeseal.signing.seal.make import static_sealing
from pipeseal.signing.sign import sign_pipeline, sign_step
from tests.agent.agent_process import agent_process
from tests.agent.fake_server import FakeServer, fake_server
from tests.agent.job_requests import outcome, run
from tests.agent.repositories import git, make_repository


class Place:
    """A folder with keys, a policy and the settings of an agent that has them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.chmod(0o700)
        pair = generate_key_pair("EdDSA", "signer")
        self.signing = self.write("signing.json", pair.private_set)
        self.keys = self.write("verification.json", pair.public_set)
        self.policy = self.write("policy.toml", "version = 1\n")

    def write(self, name: str, text: str) -> Path:
        path = self.folder / name
        fresh = self.folder / f"{name}.new"
        fresh.write_text(text)
        fresh.chmod(0o600)
        fresh.replace(path)
        return path

    def settings(self, **more: object) -> AgentSettings:
        named = {"token": "t", "verification-jwks-file": str(self.keys), "policy-file": str(self.policy)}
        given = {**named, **{name.replace("_", "-"): value for name, value in more.items()}}
        return load_settings(
            {name: value for name, value in given.items() if value is not None}, {"HOME": "/nowhere"}
        )

    def flags(self, *more: str) -> tuple[str, ...]:
        return ("--verification-jwks-file", str(self.keys), "--policy-file", str(self.policy), *more)

    def job(self, command: str, repository: str, **env: str) -> dict[str, object]:
        """A job of a step that was signed outside a build."""
        bindings = static_bindings(organization="acme", pipeline="widgets")
        key = open_signing_key(str(self.signing))
        step = sign_step(CommandStep(command=command), key=key, repository_url=repository, bindings=bindings)
        told = {
            "BUILDKITE_COMMAND": command,
            "BUILDKITE_REPO": repository,
            "BUILDKITE_ORGANIZATION_SLUG": "acme",
            "BUILDKITE_PIPELINE_SLUG": "widgets",
            "BUILDKITE_BRANCH": "main",
            "BUILDKITE_COMMIT": "HEAD",
            **env,
        }
        return {"id": "JOB", "token": "JOBTOKEN-JOBTOKEN", "env": told, "step": step_value(step)}


@pytest.fixture
def place(tmp_path: Path) -> Place:
    folder = tmp_path / "trust"
    folder.mkdir()
    return Place(folder)


@pytest.fixture
def server() -> Iterator[FakeServer]:
    with fake_server(20) as running:
        yield running


def _code(settings: AgentSettings) -> str:
    with pytest.raises(PipesealError) as caught:
        load_verification(settings)
    return caught.value.code


REPOSITORY = "https://git.example.test/acme/widgets.git"


# --- at start-up ---------------------------------------------------------------------------------------------------


def test_start_up_refuses_what_others_can_change(place: Place) -> None:
    assert load_verification(place.settings()).policy is not None
    for path, code in ((place.policy, "policy.permissions"), (place.keys, "key.permissions")):
        for target, wrong, right in ((path, 0o620, 0o600), (path, 0o602, 0o600), (place.folder, 0o703, 0o700)):
            target.chmod(wrong)
            assert _code(place.settings()) in {code, "policy.permissions"}
            target.chmod(right)
    place.folder.chmod(0o1777)  # like /tmp: nobody can replace what is not theirs
    assert load_verification(place.settings()).keys is not None


def test_links_are_followed_to_what_they_name(place: Place, tmp_path: Path) -> None:
    elsewhere = tmp_path / "shared"
    elsewhere.mkdir()
    (elsewhere / "policy.toml").write_text("version = 1\n")
    elsewhere.chmod(0o777)
    link = place.folder / "link.toml"
    link.symlink_to(elsewhere / "policy.toml")
    with pytest.raises(ConfigurationError) as caught:
        read_policy(link)
    assert caught.value.code == "policy.permissions" and "shared" in caught.value.message
    check_only_ours(place.folder / "not-there", "policy.permissions")
    with pytest.raises(ConfigurationError) as caught:
        read_policy(place.folder / "not-there")
    assert caught.value.code == "policy.unreadable"


def test_contradictions(place: Place) -> None:
    assert _code(place.settings(no_verification=True)) == "config.value"
    assert _code(place.settings(no_verification=True, verification_jwks_file=None)) == "config.value"
    assert _code(place.settings(verification_jwks_file=None)) == "key.none"
    assert _code(place.settings(verification_failure_behavior="warn")) == "config.value"
    for mode in (Mode.OBSERVE, Mode.WARN):
        place.write("policy.toml", f'version = 1\nmode = "{mode.value}"\n')
        settings = load_verification(place.settings(verification_failure_behavior="warn"))
        assert settings.policy is not None and settings.policy.mode is mode


def test_key_sets_that_agents_do_not_take(place: Place) -> None:
    shared = generate_key_pair("HS256", "shared")
    place.write("verification.json", shared.private_set)
    assert _code(place.settings()) == "key.symmetric"
    assert load_verification(place.settings(allow_shared_secrets=True)).keys is not None
    place.write("policy.toml", "version = 1\nshared-secrets = true\n")
    assert load_verification(place.settings()).keys is not None
    place.write("verification.json", place.signing.read_text())
    assert _code(place.settings()) == "key.private"


def test_agent_says_at_start_up_what_is_wrong(server: FakeServer, place: Place, tmp_path: Path) -> None:
    place.write("policy.toml", "version = 1\nkyes = []\n")
    with agent_process(server, tmp_path, *place.flags()) as agent:
        assert agent.wait() == 2
        assert "policy.key" in agent.log and "policy.toml:2:1" in agent.log and "did you mean keys" in agent.log
        assert not server.requests
    place.write("policy.toml", 'version = 1\nkeys = ["signer"]\n')
    config = place.write("agent.cfg", "name=x\n")
    config.chmod(0o666)
    with agent_process(server, tmp_path, *place.flags("--config", str(config))) as agent:
        assert agent.wait() == 6 and "config.permissions" in agent.log


# --- while it runs -------------------------------------------------------------------------------------------------


def test_files_are_read_again_only_when_they_change(place: Place) -> None:
    trust = Trust(place.settings())
    first = trust.current()
    assert trust.current() is first
    place.write("policy.toml", 'version = 1\nkeys = ["other"]\n')
    assert trust.current() is not first
    place.write("policy.toml", "version = 1\nnonsense")
    for _ in range(2):
        with pytest.raises(MalformedInput):
            trust.current()
    place.policy.unlink()
    with pytest.raises(ConfigurationError) as caught:
        trust.current()
    assert caught.value.code == "policy.unreadable"
    place.write("policy.toml", "version = 1\n")
    assert trust.current().policy is not None


def test_revocation_takes_effect_without_a_restart(server: FakeServer, place: Place, tmp_path: Path) -> None:
    job = place.job("echo it ran", REPOSITORY)
    log = tmp_path / "decisions.jsonl"
    with agent_process(server, tmp_path, *place.flags("--skip-checkout", "--decision-log", str(log))) as agent:
        assert outcome(run(server, job, "a")) == ("0", "", "")
        place.write("policy.toml", 'version = 1\n[key.signer]\nrevoked = "laptop lost"\n')
        revoked = run(server, job, "b")
        assert outcome(revoked) == ("-1", "", "agent_refused")
        assert revoked.finish is not None and revoked.finish["refusal"]["code"] == "key.revoked"
        assert "laptop lost" in revoked.text and "it ran" not in revoked.text
        place.write("policy.toml", "version = 1\n[key.sig")
        blind = run(server, job, "c")
        assert outcome(blind) == ("-1", "", "agent_refused")
        assert blind.finish is not None and blind.finish["refusal"]["code"] == "policy.syntax"
        assert "does not know any more what to believe" in agent.log
        other = generate_key_pair("EdDSA", "other")
        place.write("policy.toml", "version = 1\n")
        place.write("verification.json", other.public_set)
        unknown = run(server, job, "d")
        assert unknown.finish is not None and unknown.finish["refusal"]["code"] == "key.unknown"
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    assert [line["decision"] for line in lines] == ["approved", "refused", "refused"]
    assert lines[0]["key"] == "signer" and lines[0]["proof"] == "signature"
    assert [finding["code"] for finding in lines[1]["findings"]] == ["key.revoked"]
    assert log.stat().st_mode & 0o077 == 0


def test_observing_writes_what_would_have_been_refused(server: FakeServer, place: Place, tmp_path: Path) -> None:
    place.write("policy.toml", 'version = 1\nmode = "observe"\nproof = "seal"\n')
    log = tmp_path / "decisions.jsonl"
    with agent_process(server, tmp_path, *place.flags("--skip-checkout", "--decision-log", str(log))) as agent:
        job = run(server, place.job("echo it ran", REPOSITORY), "a")
        assert outcome(job) == ("0", "", "") and "would be refused[proof.not_enough]" in job.text
        unsigned = place.job("echo it ran", REPOSITORY)
        unsigned["step"] = {"command": "echo it ran"}
        assert outcome(run(server, unsigned, "b")) == ("0", "", "")
        assert "nothing is refused" in agent.log
    decisions = [json.loads(line) for line in log.read_text().splitlines()]
    assert [line["decision"] for line in decisions] == ["observed", "observed"]
    assert [line["findings"][0]["code"] for line in decisions] == ["proof.not_enough", "signature.missing"]


def test_only_commits_of_the_branch_at_the_remote(server: FakeServer, place: Place, tmp_path: Path) -> None:
    repository = tmp_path / "widgets"
    merged = make_repository(repository, {"file": "one\n"})
    git(repository, "checkout", "-q", "-b", "feature")
    (repository / "file").write_text("two\n")
    git(repository, "commit", "-q", "-a", "-m", "two")
    unmerged = git(repository, "rev-parse", "HEAD")
    git(repository, "checkout", "-q", "main")
    place.write("policy.toml", f'version = 1\n[[allow]]\nrepository = "{repository}"\nbranches = ["main", "gone"]\n')
    with agent_process(server, tmp_path, *place.flags("--checkout-attempts", "1")) as agent:
        job = place.job("echo it ran", str(repository))

        def with_env(**env: str) -> dict[str, object]:
            told = job["env"]
            assert isinstance(told, dict)
            return {**job, "env": {**told, **env}}

        assert outcome(run(server, with_env(BUILDKITE_COMMIT=merged), "a")) == ("0", "", "")
        assert outcome(run(server, job, "head")) == ("0", "", "")
        for number, (env, code) in enumerate(
            (
                ({"BUILDKITE_COMMIT": unmerged}, "commit.not_on_branch"),
                ({"BUILDKITE_COMMIT": merged, "BUILDKITE_BRANCH": "gone"}, "commit.not_on_branch"),
                ({"BUILDKITE_COMMIT": unmerged, "BUILDKITE_BRANCH": "feature"}, "branch.not_allowed"),
                ({"BUILDKITE_COMMIT": unmerged, "BUILDKITE_PULL_REQUEST": "7"}, "branch.not_allowed"),
            )
        ):
            refused = run(server, with_env(**env), f"attack-{number}")
            assert outcome(refused) == ("-1", "", "agent_refused"), refused.text
            assert refused.finish is not None and refused.finish["refusal"]["code"] == code
            assert "it ran" not in refused.text.splitlines() and f"code={code}" in agent.log


def test_sealed_tree_is_compared_after_the_checkout(server: FakeServer, place: Place, tmp_path: Path) -> None:
    repository = tmp_path / "widgets"
    commit = make_repository(repository, {"file": "one\n"})
    tree = git(repository, "rev-parse", "HEAD^{tree}")
    url = str(repository)
    key = open_signing_key(str(place.signing))
    with agent_process(server, tmp_path, *place.flags("--checkout-attempts", "1")):
        for job_id, sealed, expected in (("a", tree, "0"), ("b", "0" * 40, "-1")):
            sealing = static_sealing(repository_url=url, bindings={})._replace(
                build=BuildFacts(commit=commit, tree=sealed)
            )
            pipeline = Pipeline(steps=[CommandStep(command="echo it ran")])
            step = sign_pipeline(pipeline, key=key, repository_url=url, sealing=sealing).steps[0]
            assert isinstance(step, CommandStep)
            raw = place.job("echo it ran", url, BUILDKITE_COMMIT=commit, **step.env)
            job = run(server, {**raw, "step": step_value(step)}, job_id)
            assert outcome(job)[0] == expected, job.text
        assert job.finish is not None and job.finish["refusal"]["code"] == "checkout.differs"
        assert "it ran" not in job.text.splitlines()


def test_sealed_plugin_is_the_commit_it_was_wherever_its_tag_has_gone(
    server: FakeServer, place: Place, tmp_path: Path
) -> None:
    repository, plugin = tmp_path / "widgets", tmp_path / "greet-buildkite-plugin"
    make_repository(repository, {"file": "one\n"})
    good = make_repository(plugin, {"hooks/pre-command": "echo good plugin\n"}, tag="v1")
    tree = git(plugin, "rev-parse", "HEAD^{tree}")
    (plugin / "hooks" / "pre-command").write_text("echo evil plugin\n")
    git(plugin, "commit", "-q", "-a", "-m", "evil")
    git(plugin, "tag", "-f", "v1")
    source = f"{plugin.as_uri()}#v1"
    key = open_signing_key(str(place.signing))
    place.write("policy.toml", 'version = 1\nstatic-steps = "any"\n')

    def job(resolved: ResolvedPlugin) -> dict[str, object]:
        sealing = static_sealing(repository_url=str(repository), bindings={})._replace(resolved={source: resolved})
        pipeline = Pipeline(steps=[CommandStep(command="echo it ran", plugins=[Plugin(source)])])
        step = sign_pipeline(pipeline, key=key, repository_url=str(repository), sealing=sealing).steps[0]
        assert isinstance(step, CommandStep)
        plugins = json.dumps([{source: None}])
        raw = place.job("echo it ran", str(repository), BUILDKITE_PLUGINS=plugins, **step.env)
        return {**raw, "step": step_value(step)}

    with agent_process(server, tmp_path, *place.flags()):
        for job_id in ("first", "again"):
            ran = run(server, job(ResolvedPlugin(good, tree)), job_id)
            assert outcome(ran) == ("0", "", ""), ran.text
            assert "good plugin" in ran.text and "evil plugin" not in ran.text
        for job_id, resolved in (("tree", ResolvedPlugin(good, "0" * 40)), ("gone", ResolvedPlugin("1" * 40))):
            refused = run(server, job(resolved), job_id)
            assert outcome(refused) == ("-1", "", "agent_refused"), refused.text
            assert refused.finish is not None and refused.finish["refusal"]["code"] == "plugin.differs"
            assert "it ran" not in refused.text.splitlines()

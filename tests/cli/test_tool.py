"""`tool keygen`, `tool sign`, `tool verify`: files, words, exit statuses."""

from __future__ import annotations

import json
import re
import stat
import subprocess
import sys
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from pipeseal.cli import root
from pipeseal.cli.tool_verify_seal import verify_step_seal
from pipeseal.clock import SystemClock
from pipeseal.errors import ConfigurationError, MalformedInput, PipesealError, VerificationError
from pipeseal.pipeline.parse import parse_pipeline
from pipeseal.pipeline.steps import CommandStep
from pipeseal.signing.keys.open import load_verification_keys
from tests.signing.material import REPOSITORY, pair_of

TEXT = """\
# why
env: {TOP: '1'}
steps:
  - label: build
    command: make
  - wait
  - command: make test
    key: t
"""


def _run(*words: str | Path, data: str | None = None, env: dict[str, str] | None = None) -> Result:
    empty = dict.fromkeys(
        (
            "BUILDKITE_REPO",
            "BUILDKITE_AGENT_JWKS_FILE",
            "BUILDKITE_AGENT_JWKS_KEY_ID",
            "BUILDKITE_ORGANIZATION_SLUG",
            "BUILDKITE_PIPELINE_SLUG",
            "BUILDKITE_AGENT_VERIFICATION_JWKS_FILE",
        ),
        "",
    )
    return CliRunner().invoke(root, ["tool", *map(str, words)], input=data, env=empty | (env or {}))


def _error(result: Result, family: type[PipesealError]) -> PipesealError:
    assert isinstance(result.exception, family), result.output
    return result.exception


@pytest.fixture
def private(tmp_path: Path) -> Path:
    path = tmp_path / "private.json"
    path.write_text(pair_of("EdDSA").private_set)
    path.chmod(0o600)
    return path


@pytest.fixture
def public(tmp_path: Path) -> Path:
    path = tmp_path / "public.json"
    path.write_text(pair_of("EdDSA").public_set)
    path.chmod(0o644)
    return path


@pytest.fixture
def pipeline(tmp_path: Path) -> Path:
    path = tmp_path / "pipeline.yml"
    path.write_text(TEXT)
    return path


# --- keygen ---------------------------------------------------------------------------------------------------------


def test_keygen_makes_two_files_with_safe_modes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    result = _run("keygen", "--key-id", "release")
    assert result.exit_code == 0, result.output
    private, public = tmp_path / "EdDSA-release-private.json", tmp_path / "EdDSA-release-public.json"
    for path in (private, public):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        assert not path.read_text().endswith("\n")
    key = json.loads(private.read_text())["keys"][0]
    assert list(key) == ["alg", "crv", "d", "kid", "kty", "use", "x"]
    assert json.loads(public.read_text())["keys"] == [{name: key[name] for name in key if name != "d"}]
    assert "key id      release" in result.output
    assert str(private) in result.output
    assert key["d"] not in result.output


def test_keygen_by_environment(tmp_path: Path) -> None:
    result = _run(
        "keygen",
        env={
            "BUILDKITE_AGENT_KEYGEN_ALG": "ES512",
            "BUILDKITE_AGENT_KEYGEN_KEY_ID": "k",
            "BUILDKITE_AGENT_KEYGEN_PRIVATE_JWKS_FILE": str(tmp_path / "a.json"),
            "BUILDKITE_AGENT_KEYGEN_PUBLIC_JWKS_FILE": str(tmp_path / "b.json"),
        },
    )
    assert result.exit_code == 0, result.output
    assert json.loads((tmp_path / "a.json").read_text())["keys"][0]["crv"] == "P-521"
    assert "d" not in json.loads((tmp_path / "b.json").read_text())["keys"][0]
    assert "another signature each time" in result.output


def test_keygen_never_overwrites_and_leaves_no_half_pair(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "EdDSA-a-public.json").write_text("precious")
    result = _run("keygen", "--key-id", "a")
    assert _error(result, ConfigurationError).code == "key.exists"
    assert (tmp_path / "EdDSA-a-public.json").read_text() == "precious"
    assert not (tmp_path / "EdDSA-a-private.json").exists()


def test_keygen_keeps_private_keys_out_of_repositories(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / ".git").mkdir()
    assert _error(_run("keygen", "--key-id", "a"), ConfigurationError).code == "key.in_repository"
    assert list(tmp_path.glob("*.json")) == []
    assert _run("keygen", "--key-id", "a", "--force-in-repo").exit_code == 0


def test_keygen_says_that_a_shared_secret_is_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert "whoever verifies with it can sign" in _run("keygen", "--alg", "HS256").output


# --- sign -----------------------------------------------------------------------------------------------------------


def test_sign_writes_to_the_terminal_and_reports_beside_it(pipeline: Path, private: Path) -> None:
    result = _run("sign", pipeline, "--jwks-file", private, "--repo", REPOSITORY)
    assert result.exit_code == 0, result.output
    assert result.stdout.startswith("# why\n")
    assert result.stdout.count("signature:") == 2
    assert result.stderr.startswith(f"Signed and sealed 2 steps of {pipeline} with eddsa-one (")
    assert pipeline.read_text() == TEXT


def test_sign_standard_input_by_environment(private: Path) -> None:
    env = {"BUILDKITE_AGENT_JWKS_FILE": str(private), "BUILDKITE_REPO": REPOSITORY}
    for words in (("sign",), ("sign", "-")):
        result = _run(*words, data=TEXT, env=env)
        assert result.exit_code == 0, result.output
        assert "Signed and sealed 2 steps of <stdin>" in result.stderr


def test_sign_in_place_and_to_a_file(pipeline: Path, private: Path, tmp_path: Path) -> None:
    pipeline.chmod(0o640)
    words = ("sign", pipeline, "--jwks-file", private, "--repo", REPOSITORY)
    output = tmp_path / "signed.yml"
    assert _run(*words, "-o", output).exit_code == 0
    assert _run(*words, "--in-place").exit_code == 0
    assert pipeline.read_text() == output.read_text()
    assert stat.S_IMODE(pipeline.stat().st_mode) == 0o640
    assert sorted(path.name for path in tmp_path.iterdir()) == ["pipeline.yml", "private.json", "signed.yml"]
    assert _run(*words, "-i", "-o", output).exit_code == 2
    assert _run("sign", "-", "-i", "--jwks-file", private, "--repo", REPOSITORY, data=TEXT).exit_code == 2
    missing = _run(*words, "-o", tmp_path / "missing" / "x.yml")
    assert _error(missing, ConfigurationError).code == "signing.file"
    gone = _run("sign", tmp_path / "gone.yml", "--jwks-file", private, "--repo", REPOSITORY)
    assert _error(gone, ConfigurationError).code == "signing.file"


def test_sign_binds_what_it_is_told(pipeline: Path, private: Path) -> None:
    words = ("sign", pipeline, "--jwks-file", private, "--repo", REPOSITORY)
    bound = _run(*words, "--pipeline-slug", "api", "--tag", "", env={"BUILDKITE_ORGANIZATION_SLUG": "acme"})
    assert "bound to organisation acme, pipeline api, tag (none)" in bound.stderr
    assert '"env::BUILDKITE_ORGANIZATION_SLUG", "env::BUILDKITE_PIPELINE_SLUG", "env::BUILDKITE_TAG"' in bound.stdout
    free = _run(*words, "--no-bindings", "--pipeline-slug", "api")
    assert free.stdout == _run(*words, "--no-seal").stdout
    assert "PIPESEAL_SEAL: " in bound.stdout and "PIPESEAL_SEAL" not in free.stdout
    assert "BUILDKITE" not in free.stdout


def test_sign_refuses_variables_and_warns_of_exposed_keys(pipeline: Path, private: Path) -> None:
    private.chmod(0o644)
    words = ("sign", pipeline, "--jwks-file", private, "--repo", REPOSITORY)
    assert "can be read by other users" in _run(*words).stderr
    pipeline.write_text("- command: $HOME\n")
    error = _error(_run(*words), MalformedInput)
    assert error.code == "signing.interpolation"
    assert "$HOME" in error.message


def test_sign_says_when_comments_were_lost(pipeline: Path, private: Path) -> None:
    pipeline.write_text("# gone\nx: &all [{command: a}]\nsteps: *all\n")
    result = _run("sign", pipeline, "--jwks-file", private, "--repo", REPOSITORY)
    assert "written anew" in result.stderr
    assert "signature:" in result.stdout


def test_sign_needs_key_and_repository(pipeline: Path, private: Path) -> None:
    assert _run("sign", pipeline, "--repo", REPOSITORY).exit_code == 2
    assert _run("sign", pipeline, "--jwks-file", private).exit_code == 2


# --- verify ---------------------------------------------------------------------------------------------------------


def _signed(pipeline: Path, private: Path, *words: str) -> Path:
    result = _run("sign", pipeline, "-i", "--jwks-file", private, "--repo", REPOSITORY, *words)
    assert result.exit_code == 0, result.output
    return pipeline


def test_verify_says_who_signed_what(pipeline: Path, private: Path, public: Path) -> None:
    signed = _signed(pipeline, private)
    result = _run("verify", signed, "--jwks-file", public, "--repo", REPOSITORY)
    assert result.exit_code == 0, result.output
    lines = result.stdout.splitlines()
    assert 'step 1 "build"  signed by eddsa-one (' in lines[0]
    assert lines[1].strip() == "covers command env env::TOP matrix plugins repository_url"
    assert re.fullmatch(
        "sealed [0-9a-f]{12}… by eddsa-one, the whole step, outside a build, for any/any; good without end; "
        "up to 11 starts",
        lines[2].strip(),
    )
    assert 'step 3 "t"' in lines[3]
    assert lines[-1].startswith(f"Verified: 2 of 2 steps of {signed} signed by eddsa-one (")
    assert lines[-1].endswith("; sealed too.")


def test_verify_says_what_the_seal_says(pipeline: Path, private: Path, public: Path) -> None:
    pipeline.write_text(
        "steps:\n- {label: deploy, command: make, concurrency: 1, concurrency_group: g, agents: {queue: deploy}}\n"
    )
    slugs = ("--organization-slug", "acme", "--pipeline-slug", "api")
    signed = _signed(pipeline, private, *slugs, "--seal-valid-for", "2h")
    words = ("verify", signed, "--jwks-file", public, "--repo", REPOSITORY, *slugs)
    shown = json.loads(_run(*words, "-o", "json").stdout)["steps"][0]["seal"]
    times = [datetime.fromisoformat(shown.pop(name)) for name in ("not_before", "expires")]
    assert times[1] - times[0] == timedelta(hours=2)
    assert len(shown.pop("digest")) == 64 and len(shown.pop("thumbprint")) == 43
    assert shown == {
        "state": "verified", "kid": "eddsa-one", "static": True, "build": None, "organization": "acme",
        "pipeline": "api", "agents": ["queue=deploy"], "attempts": 11, "exclusive": True,
    }  # fmt: skip
    text = _run(*words).stdout
    assert "for acme/api, agents queue=deploy; good from 20" in text and "; 1 start (exclusive)" in text


def test_verify_says_when_a_step_is_not_sealed(pipeline: Path, private: Path, public: Path) -> None:
    signed = _signed(pipeline, private, "--no-seal")
    words = ("verify", signed, "--jwks-file", public, "--repo", REPOSITORY)
    result = _run(*words)
    assert result.exit_code == 0
    assert "not sealed: its label, agents" in result.stdout and "none is sealed." in result.stdout
    document = json.loads(_run(*words, "-o", "json").stdout)
    assert [step["seal"] for step in document["steps"]] == [{"state": "missing"}] * 2


@pytest.mark.parametrize(
    ("change", "code", "field"),
    [
        (("label: build", "label: evil"), "seal.differs", "step.label"),
        (("label: build", "label: build\n    timeout_in_minutes: 9"), "seal.differs", "step.timeout_in_minutes"),
        (("label: build", "label: build\n    retry: {manual: false}"), "seal.differs", "step.rest"),
        (("env: {TOP: '1'}", "env: {TOP: '1', MORE: '2'}"), "seal.differs", "inherited.env"),
        (("env: {TOP: '1'}", "env: {TOP: '1'}\ncheckout: {depth: 1}"), "seal.differs", "inherited.checkout"),
    ],
)
def test_verify_finds_what_no_signature_covers(
    pipeline: Path, private: Path, public: Path, change: tuple[str, str], code: str, field: str
) -> None:
    signed = _signed(pipeline, private)
    words = ("verify", signed, "--jwks-file", public, "--repo", REPOSITORY)
    assert _run(*words).exit_code == 0  # the honest twin
    assert change[0] in signed.read_text()
    signed.write_text(signed.read_text().replace(*change, 1))
    result = _run(*words, "-o", "json")
    step = json.loads(result.stdout)["steps"][0]
    assert (result.exit_code, step["state"], step["code"], step["seal"]["state"]) == (22, "failed", code, "failed")
    assert field in step["fields"]
    assert f"failed [{code}]" in _run(*words).stdout


def test_verify_refuses_a_seal_of_another_signer(pipeline: Path, private: Path, public: Path) -> None:
    parsed = parse_pipeline(_signed(pipeline, private).read_bytes())
    step, keys = parsed.steps[0], load_verification_keys(str(public))
    assert isinstance(step, CommandStep)
    assert verify_step_seal(step, parsed, {}, REPOSITORY, keys, signer="eddsa-one") is not None
    with pytest.raises(VerificationError) as caught:
        verify_step_seal(step, parsed, {}, REPOSITORY, keys, signer="another")
    assert (caught.value.code, caught.value.fields) == ("seal.differs", ("signature",))


def test_verify_refuses_a_seal_that_is_over(
    pipeline: Path, private: Path, public: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    signed = _signed(pipeline, private, "--seal-valid-for", "1h")
    words = ("verify", signed, "--jwks-file", public, "--repo", REPOSITORY)
    assert _run(*words).exit_code == 0
    later = SystemClock().now() + 3 * 3600
    monkeypatch.setattr(SystemClock, "now", lambda _self: later)
    result = _run(*words)
    assert result.exit_code == 22 and "failed [seal.expired]" in result.stdout


@pytest.mark.parametrize(
    ("change", "status", "state", "code"),
    [
        (("command: make\n", "command: evil\n"), 22, "failed", "signature.mismatch"),
        (("signature:", "was:"), 20, "unsigned", "signature.missing"),
        (("value: eyJ", "value: xyJ"), 22, "failed", "signature.malformed"),
        (("TOP: '1'", "TOP: '2'"), 22, "failed", "signature.mismatch"),
        (("- wait", "- what"), 23, "cannot_check", "signing.unknown_step"),
    ],
)
def test_verify_exits_with_the_worst(
    pipeline: Path, private: Path, public: Path, change: tuple[str, str], status: int, state: str, code: str
) -> None:
    signed = _signed(pipeline, private)
    signed.write_text(signed.read_text().replace(*change, 1))
    result = _run("verify", signed, "--jwks-file", public, "--repo", REPOSITORY, "-o", "json")
    document = json.loads(result.stdout)
    assert (result.exit_code, document["exit"], document["state"]) == (status, status, state)
    assert code in [step["code"] for step in document["steps"]]
    text = _run("verify", signed, "--jwks-file", public, "--repo", REPOSITORY)
    assert text.exit_code == status
    assert f"[{code}]" in text.stdout


def test_verify_with_other_keys(pipeline: Path, private: Path, tmp_path: Path) -> None:
    other = tmp_path / "other.json"
    other.write_text(pair_of("ES256").public_set)
    result = _run("verify", _signed(pipeline, private), "--jwks-file", other, "--repo", REPOSITORY)
    assert result.exit_code == 21
    assert result.stdout.splitlines()[-1].startswith("Unknown signer: 0 of 2")
    none = _run("verify", pipeline, "--repo", REPOSITORY)
    assert _error(none, VerificationError).code == "key.none"


def test_verify_bound_steps(pipeline: Path, private: Path, public: Path) -> None:
    words = (
        "verify",
        _signed(pipeline, private, "--pipeline-slug", "api"),
        "--jwks-file",
        public,
        "--repo",
        REPOSITORY,
    )
    lacking = _run(*words)
    assert lacking.exit_code == 23
    assert "BUILDKITE_PIPELINE_SLUG (give them with --env NAME=VALUE)" in lacking.stdout
    assert _run(*words, "--pipeline-slug", "api").exit_code == 0
    assert _run(*words, "--env", "BUILDKITE_PIPELINE_SLUG=api").exit_code == 0
    assert _run(*words, "--env", "BUILDKITE_PIPELINE_SLUG=web").exit_code == 22
    assert _run(*words, "--env", "nonsense").exit_code == 2


def test_verify_checks_something_or_does_not_succeed(pipeline: Path, public: Path) -> None:
    pipeline.write_text("- wait\n")
    result = _run("verify", pipeline, "--jwks-file", public, "--repo", REPOSITORY)
    assert result.exit_code == 23
    assert result.stdout.startswith("Cannot check: ")


def test_the_program_itself(pipeline: Path, private: Path, public: Path) -> None:
    """Through the real entry point: exit status, and errors with their code on standard error."""

    def run(*words: str | Path) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "pipeseal", "tool", *map(str, words)]
        return subprocess.run(command, capture_output=True, text=True, check=False)

    signed = run("sign", pipeline, "--jwks-file", private, "--repo", REPOSITORY)
    assert signed.returncode == 0
    pipeline.write_text(signed.stdout)
    assert run("verify", pipeline, "--jwks-file", public, "--repo", REPOSITORY).returncode == 0
    refused = run("sign", pipeline, "--jwks-file", public, "--repo", REPOSITORY)
    assert refused.returncode == 6
    assert refused.stderr.startswith("error[key.not_private]: ")

"""`pipeseal policy`: checking a file, explaining a job, reporting from a log; and the policy that `init` writes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from pipeseal.cli import root
from pipeseal.cli.exits import exit_status
from pipeseal.errors import PipesealError
from pipeseal.policy.file import parse_policy
from pipeseal.policy.report import summarize
from tests.policy.honest import document, with_env
from tests.signing.material import REPOSITORY, pair_of

AT = ("--at", "2026-09-21T14:13:20Z")  # the moment of the honest twin
TAGS = ("--tags", "queue=default", "--tags", "os=linux")


def pipeseal(*words: str) -> Result:
    return CliRunner().invoke(root, list(words))


def code_of(result: Result) -> str:
    assert isinstance(result.exception, PipesealError), result.output
    assert exit_status(result.exception) in (2, 6)
    return result.exception.code


@pytest.fixture
def keys(tmp_path: Path) -> Path:
    tmp_path.chmod(0o700)
    path = tmp_path / "verification.json"
    path.write_text(pair_of("EdDSA").public_set)
    path.chmod(0o600)
    return path


def policy_file(folder: Path, text: str) -> Path:
    path = folder / "policy.toml"
    path.write_text(f"version = 1\n{text}")
    path.chmod(0o600)
    return path


def job_file(folder: Path, job: dict[str, Any]) -> Path:
    path = folder / "job.json"
    path.write_text(json.dumps(job))
    return path


def test_check_says_in_words_what_a_policy_asks_for(tmp_path: Path, keys: Path) -> None:
    text = (
        'proof = "seal"\nserver-variables = ["X"]\nrepository-hooks = false\ninformational-variables = false\n'
        f'[[allow]]\nrepository = "{REPOSITORY}"\nbranches = ["main"]\nmode = "observe"\nkeys = ["nobody"]\n'
        '[key.eddsa-one]\nrevoked = "lost"\n[key.gone]\nnot-after = 2020-01-01\n'
    )
    path = policy_file(tmp_path, text)
    result = pipeseal("policy", "check", str(path), "--keys", str(keys))
    assert result.exit_code == 0
    for words in (
        "proof: seal",
        f"for repositories: {REPOSITORY}",
        "only these branches: main",
        "mode: observe",
        "the server may also set: X",
        "no hooks of the repository",
        "no variable whose value",
        "key eddsa-one: revoked (lost)",
        "key 'gone' has a record",
        "no key matches `keys` (nobody)",
    ):
        assert words in result.output, words
    shown = json.loads(pipeseal("policy", "check", str(path), "-o", "json").output)
    assert shown["mode"] == "enforce" and shown["keys"] == ["eddsa-one", "gone"] and len(shown["sections"]) == 2


def test_check_fails_as_an_agent_would(tmp_path: Path, keys: Path) -> None:
    assert code_of(pipeseal("policy", "check", str(policy_file(tmp_path, "kyes = 1")))) == "policy.key"
    path = policy_file(tmp_path, "")
    path.chmod(0o666)
    assert code_of(pipeseal("policy", "check", str(path))) == "policy.permissions"
    assert code_of(pipeseal("policy", "check", str(tmp_path / "nothing"))) == "policy.unreadable"
    path.chmod(0o600)
    keys.write_text(pair_of("HS256").private_set)
    assert code_of(pipeseal("policy", "check", str(path), "--keys", str(keys))) == "key.symmetric"


def test_explain_says_what_each_rule_says(tmp_path: Path, keys: Path) -> None:
    path = policy_file(tmp_path, f'branches = ["release"]\nplugins = ["*"]\n[[allow]]\nrepository = "{REPOSITORY}"')
    job = job_file(tmp_path, with_env(document("sealed"), EVIL="1"))
    words = ("policy", "explain", str(job), "--policy", str(path), "--keys", str(keys), *AT, *TAGS)
    result = pipeseal(*words)
    assert result.exit_code == 22
    for text in (
        "proof        seal by eddsa-one",
        f"section      1 ({REPOSITORY})   mode enforce",
        "  no   only these branches: release",
        "refused[branch.not_allowed]",
        "  ok   only these plugins: *",
        "refused[environment.unknown]",
        "EVIL",
    ):
        assert text in result.output, text
    assert result.output.endswith("\nrefused\n")
    shown = json.loads(pipeseal(*words, "-o", "json").output)
    assert shown["decision"] == "refused" and shown["proof"] == "seal"
    assert [row["code"] for row in shown["rules"]] == ["branch.not_allowed", None]
    assert "BUILDKITE_COMMIT" in shown["variables"]["proven_or_known"]
    assert "BUILDKITE_MESSAGE" in shown["variables"]["files"]


def test_explain_approves_observes_and_refuses(tmp_path: Path, keys: Path) -> None:
    job = job_file(tmp_path, document("bound"))
    words = ("policy", "explain", str(job), "--keys", str(keys), *AT, *TAGS)
    assert pipeseal(*words).output.endswith("\napproved\n")
    for mode in ("observe", "warn"):
        path = policy_file(tmp_path, f'mode = "{mode}"\nproof = "seal"')
        observed = pipeseal(*words, "--policy", str(path))
        assert observed.exit_code == 0 and observed.output.endswith("\nobserved\n")
        assert f"mode {mode}" in observed.output
    job_file(tmp_path, with_env(document("bound"), BUILDKITE_COMMAND="evil"))
    unproven = pipeseal(*words)
    assert unproven.exit_code == 22 and "refused[command.differs]" in unproven.output
    assert json.loads(pipeseal(*words, "-o", "json").output)["code"] == "command.differs"
    assert pipeseal(*words, "--at", "yesterday").exit_code == 2


def test_explain_says_how_often_it_may_start(tmp_path: Path, keys: Path) -> None:
    job = job_file(tmp_path, document("sealed"))
    words = ("policy", "explain", str(job), "--keys", str(keys), *AT, *TAGS)
    sealed = json.loads(pipeseal(*words, "-o", "json").output)["starts"]
    assert sealed["at_most"] > 1 and not sealed["exclusive"] and sealed["remembered_until"]
    path = policy_file(tmp_path, "max-attempts = 1")
    result = pipeseal(*words, "--policy", str(path))
    assert "may start once, which the agent's ledger counts until 20" in result.output, result.output
    lowered = json.loads(pipeseal(*words, "--policy", str(path), "-o", "json").output)["starts"]
    assert lowered["at_most"] == 1 and lowered["place"] == sealed["place"]
    job_file(tmp_path, document("bound"))
    assert "may start any number of times" in pipeseal(*words).output


def _line(decision: str, pipeline: str, *codes: str, time: str = "2027-01-31T10:00:00Z") -> bytes:
    findings = [{"code": code, "message": f"because of {code}", "fields": ["X\x1b[2J"]} for code in codes]
    record = {"time": time, "decision": decision, "organization": "acme", "pipeline": pipeline, "job": "j-1"}
    return json.dumps({**record, "findings": findings}).encode() + b"\n"


def test_report_counts_for_each_pipeline(tmp_path: Path) -> None:
    log = tmp_path / "decisions.jsonl"
    lines = [
        _line("approved", "app"),
        _line("observed", "app", "proof.not_enough", "environment.unknown"),
        _line("observed", "app", "proof.not_enough"),
        _line("refused", "other", "key.revoked", time="2027-02-01T10:00:00Z"),
        b"not json\n",
        b'{"decision": "maybe"}\n',
        b"\n",
    ]
    log.write_bytes(b"".join(lines))
    result = pipeseal("policy", "report", str(log))
    assert result.exit_code == 0
    for text in (
        "acme/app: 3 jobs, 0 refused, 2 would have been",
        "2  proof.not_enough: because of proof.not_enough",
        "acme/other: 1 jobs, 1 refused, 0 would have been",
        "about  X\\x1b[2J",
        "do     Sign it again",
        "2 lines are no decisions",
    ):
        assert text in result.output, text
    later = json.loads(pipeseal("policy", "report", str(log), "--since", "2027-02-01", "-o", "json").output)
    assert list(later["pipelines"]) == ["acme/other"] and later["unreadable_lines"] == 2
    log.write_bytes(_line("approved", "app"))
    assert "enforcing changes nothing" in pipeseal("policy", "report", str(log)).output
    log.write_bytes(b"")
    assert pipeseal("policy", "report", str(log)).output == "No decisions.\n"


@pytest.mark.parametrize(
    "line",
    [
        b"[]", b"5", b'{"decision": []}', b'{"decision":"refused","findings":5}', b"\xff",
        b'{"decision":"refused","findings":[5,{"code":5},{"code":"x","fields":[5]}]}', b"[" * 100_000,
    ],
)  # fmt: skip
def test_report_reads_whatever_is_there(line: bytes) -> None:
    summary = summarize([line])
    assert summary.lines() and isinstance(summary.document(), dict)


def test_init_writes_a_policy_that_is_enough(tmp_path: Path) -> None:
    tmp_path.chmod(0o700)
    folder = tmp_path / "keys"
    words = ["--repository", REPOSITORY, "--pipeline", "widgets", "--branch", "main", "--key-id", "me"]
    assert pipeseal("init", "--directory", str(folder), *words).exit_code == 0
    path = folder / "policy.toml"
    text = path.read_text()
    assert len(text.splitlines()) < 20
    policy = parse_policy(text.encode())
    assert [str(rule) for rule in policy.everywhere.rules] == [
        "proof: seal",
        "only signed by: me",
        "only these branches: main",
    ]
    assert [section.title for section in policy.sections] == [f"1 ({REPOSITORY})"]
    assert policy.warnings == ()
    for name in ("uploader.cfg", "runner.cfg"):
        assert f'policy-file="{path}"' in (folder / name).read_text()
    assert pipeseal("policy", "check", str(path), "--keys", str(folder / "verification.json")).exit_code == 0
    # Every line that is there as a proposal is one, once it is no comment.
    proposals = [line.removeprefix("# ") for line in text.splitlines() if line.startswith("# ") and " = " in line]
    for proposal in proposals[1:]:
        parse_policy(f"version = 1\n{proposal}".encode())
    assert pipeseal("init", "--directory", str(tmp_path / "x"), "--branch", "main").exit_code == 2


def test_init_without_a_repository_writes_a_policy_too(tmp_path: Path) -> None:
    tmp_path.chmod(0o700)
    folder = tmp_path / "keys"
    assert pipeseal("init", "--directory", str(folder), "--key-id", "odd").exit_code == 0
    policy = parse_policy((folder / "policy.toml").read_bytes())
    assert str(policy.everywhere.rules[1]) == "only signed by: odd"

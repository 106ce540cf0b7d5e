"""Interop with go-pipeline: what one side signs the other verifies, byte for byte where signatures are deterministic.

Keys come from joserfc, a third implementation, so that neither side reads its own spelling of a key.
"""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator, Mapping
from functools import cache
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from joserfc.jwk import ECKey, Key, OctKey, OKPKey, RSAKey

from benchmarks.generate import COMMIT, REPOSITORY_URL, generate_job, generate_jobs, generate_pipeline
from benchmarks.peers import find_peer
from pipeseal.agentapi.job import parse_job
from pipeseal.errors import VerificationError
from pipeseal.pipeline.commandstep import parse_command_step
from pipeseal.pipeline.parse import parse_pipeline
from pipeseal.pipeline.render import pipeline_value, render_json
from pipeseal.policy import ApprovedJob, Refused, VerificationSettings, evaluate
from pipeseal.signing.bindings import SEAL, uploader_bindings
from pipeseal.signing.keys.jwk import parse_jwks
from pipeseal.signing.keys.signing_key import FileSigningKey
from pipeseal.signing.keys.verification_keys import VerificationKeys, parse_verification_keys
from pipeseal.signing.seal.envelope import BuildFacts
from pipeseal.signing.seal.make import Sealing
from pipeseal.signing.seal.parse import parse_seal
from pipeseal.signing.sign import sign_pipeline
from pipeseal.signing.verify import verify_step
from tests.peers.random_pipelines import random_pipeline, render_yaml_json

pytestmark = pytest.mark.peer("go")

ALGORITHMS = ("EdDSA", "ES256", "ES384", "ES512", "PS256", "PS384", "PS512", "HS256", "HS384", "HS512")
DETERMINISTIC = ("EdDSA", "HS256", "HS384", "HS512")
SEEDS = range(12)
UPLOADER = {
    "BUILDKITE_ORGANIZATION_SLUG": "acme",
    "BUILDKITE_PIPELINE_SLUG": "monorepo",
    "BUILDKITE_BUILD_ID": "0192f0a4-2222-7000-8000-0000000b111d",
    "BUILDKITE_COMMIT": COMMIT,
    "BUILDKITE_BRANCH": "main",
    "BUILDKITE_TAG": "",
    "BUILDKITE_PULL_REQUEST": "false",
}


class Keys:
    """One key in the forms both sides read: files of JWK sets for the peer, our own types for us.

    Parameters:
        algorithm: a name in `ALGORITHMS`; it is also the key's id.
        directory: where the files go.
    """

    def __init__(self, algorithm: str, directory: Path) -> None:
        members = {"alg": algorithm, "use": "sig", "kid": algorithm}
        key = _generate(algorithm)
        private = {**key.as_dict(private=True), **members}
        public = {**key.as_dict(private=algorithm.startswith("HS")), **members}
        self.private_file, self.public_file = directory / "private.json", directory / "public.json"
        self.private_file.write_text(json.dumps({"keys": [private]}))
        self.public_file.write_text(json.dumps({"keys": [public]}))
        self.signing = FileSigningKey(parse_jwks(self.private_file.read_bytes())[0])
        self.verification: VerificationKeys = parse_verification_keys(self.public_file.read_bytes())


@cache
def _generate(algorithm: str) -> Key:
    if algorithm == "EdDSA":
        return OKPKey.generate_key("Ed25519")
    if algorithm.startswith("ES"):
        return ECKey.generate_key({"ES256": "P-256", "ES384": "P-384", "ES512": "P-521"}[algorithm])
    if algorithm.startswith("PS"):
        return RSAKey.generate_key(2048)
    return OctKey.generate_key(512)


@pytest.fixture
def eddsa(tmp_path: Path) -> Keys:
    return Keys("EdDSA", tmp_path)


def ask_peer(arguments: list[Any], standard_input: str) -> Any:
    """What the Go peer answers, decoded."""
    program = find_peer("go").path
    assert program is not None
    done = subprocess.run(
        [program, *map(str, arguments)], input=standard_input.encode(), capture_output=True, check=False
    )
    assert done.returncode == 0, done.stderr.decode()
    return json.loads(done.stdout)


def sign_by_peer(text: str, keys: Keys) -> Any:
    return ask_peer(["sign", "--jwks", keys.private_file, "--repo", REPOSITORY_URL], text)


def sign_by_us(
    text: str, keys: Keys, bindings: Mapping[str, str] | None = None, sealing: Sealing | None = None
) -> Any:
    signed = sign_pipeline(
        parse_pipeline(text), key=keys.signing, repository_url=REPOSITORY_URL, bindings=bindings, sealing=sealing
    )
    return json.loads(render_json(pipeline_value(signed)))


def signed_steps(steps: list[Any]) -> Iterator[dict[str, Any]]:
    """Every command step, those in groups too."""
    for step in steps:
        if isinstance(step, dict) and "signature" in step:
            yield step
        elif isinstance(step, dict) and "group" in step:
            yield from signed_steps(step["steps"])


def jobs_of(pipeline: Any, extra: Mapping[str, str] | None = None) -> list[dict[str, Any]]:
    """What a verifier is given for each signed step: the step, and the variables its job would have."""
    env = {**(pipeline.get("env") or {}), **(extra or {}), "BUILDKITE_REPO": REPOSITORY_URL}
    found = signed_steps(pipeline["steps"])
    return [{"step": step, "env": env | {"BUILDKITE_STEP_KEY": step.get("key", "")}} for step in found]


def assert_peer_verifies(jobs: list[dict[str, Any]], keys: Keys, *flags: str) -> None:
    verdicts = ask_peer(["verify", "--jwks", keys.public_file, *flags], json.dumps(jobs))
    assert [verdict for verdict in verdicts if not verdict["ok"]] == []
    assert len(verdicts) == len(jobs) > 0


def assert_we_verify(jobs: list[dict[str, Any]], keys: Keys) -> None:
    assert jobs
    for job in jobs:
        step = parse_command_step(json.dumps(job["step"]), refuse_duplicates=True)
        verify_step(step, env=job["env"], repository_url=job["env"]["BUILDKITE_REPO"], keys=keys.verification)


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_peer_verifies_what_we_sign_with_bindings(algorithm: str, tmp_path: Path) -> None:
    keys = Keys(algorithm, tmp_path)
    signed = sign_by_us(random_pipeline(100), keys, uploader_bindings(UPLOADER))
    step = next(signed_steps(signed["steps"]))
    assert {"env::BUILDKITE_BUILD_ID", "env::BUILDKITE_STEP_KEY", "env::BUILDKITE_TAG"} <= {
        *step["signature"]["signed_fields"]
    }
    assert_peer_verifies(jobs_of(signed, UPLOADER), keys)


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_peer_verifies_what_we_seal_and_its_jobs(algorithm: str, tmp_path: Path) -> None:
    keys = Keys(algorithm, tmp_path)
    bindings = uploader_bindings(UPLOADER)
    sealing = Sealing(
        repository=REPOSITORY_URL,
        not_before=0,
        expires=1,
        positions=count(),
        build=BuildFacts(id=UPLOADER["BUILDKITE_BUILD_ID"], commit=COMMIT, branch="main"),
        upload="0192f0a4-6666-7000-8000-00000000feed",
    )
    signed = sign_by_us(generate_pipeline(60), keys, bindings, sealing)
    jobs = list(generate_jobs(signed))
    assert all(parse_seal(job["step"]["env"][SEAL]).kid == algorithm for job in jobs)
    assert_peer_verifies(jobs, keys, "--job")
    changed = json.loads(json.dumps(jobs))
    for job in changed:
        job["step"]["env"][SEAL] = job["env"][SEAL] = job["env"][SEAL][:-4] + "AAAA"
    verdicts = ask_peer(["verify", "--jwks", keys.public_file, "--job"], json.dumps(changed))
    assert len(verdicts) == len(jobs) and not any(verdict["ok"] for verdict in verdicts)


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_we_verify_what_the_peer_signs(algorithm: str, tmp_path: Path) -> None:
    keys = Keys(algorithm, tmp_path)
    assert_we_verify(jobs_of(sign_by_peer(random_pipeline(101), keys)), keys)


@pytest.mark.parametrize("algorithm", DETERMINISTIC)
def test_both_make_the_same_signatures(algorithm: str, tmp_path: Path) -> None:
    keys = Keys(algorithm, tmp_path)
    text = random_pipeline(102, steps=30)
    assert sign_by_us(text, keys) == sign_by_peer(text, keys)


@pytest.mark.parametrize("seed", SEEDS)
def test_random_pipelines_are_the_same_to_both(seed: int, eddsa: Keys) -> None:
    text = random_pipeline(seed, steps=25)
    assert json.loads(render_json(pipeline_value(parse_pipeline(text)))) == ask_peer(["parse"], text)
    ours, theirs = sign_by_us(text, eddsa), sign_by_peer(text, eddsa)
    assert ours == theirs
    assert_we_verify(jobs_of(theirs), eddsa)
    bound = sign_by_us(text, eddsa, uploader_bindings(UPLOADER))
    assert_peer_verifies(jobs_of(bound, UPLOADER), eddsa)


@pytest.mark.parametrize("bindings", [{}, uploader_bindings(UPLOADER)], ids=["plain", "bound"])
def test_generated_pipeline_and_its_jobs(bindings: dict[str, str], eddsa: Keys) -> None:
    text = generate_pipeline(200)
    ours, theirs = sign_by_us(text, eddsa, bindings), sign_by_peer(text, eddsa)
    assert (ours == theirs) is not bool(bindings)
    assert_peer_verifies(list(generate_jobs(ours)), eddsa, "--job")
    settings = VerificationSettings(keys=eddsa.verification)
    for job in [*generate_jobs(ours), *generate_jobs(theirs)]:
        assert isinstance(evaluate(parse_job(json.dumps(job).encode()), settings), ApprovedJob)


def test_both_refuse_the_same_changes(eddsa: Keys) -> None:
    step: dict[str, Any] = {
        "key": "deploy",
        "command": "deploy {{matrix}}",
        "env": {"TARGET": "staging"},
        "plugins": [{"docker#v5": {"image": "a"}}],
        "matrix": ["eu", "us"],
    }
    pipeline = sign_by_us(
        render_yaml_json({"env": {"SHARED": "1"}, "steps": [step]}), eddsa, uploader_bindings(UPLOADER)
    )
    (signed,) = pipeline["steps"]
    good = generate_job(signed, pipeline["env"], 1)

    def changed(path: str, value: Any) -> dict[str, Any]:
        job = json.loads(json.dumps(good))
        *parents, last = path.split("/")
        place = job
        for name in parents:
            place = place[name]
        place[last] = value
        return dict(job)

    image = [{"github.com/buildkite-plugins/docker-buildkite-plugin#v5": {"image": "b"}}]
    bad = [
        changed("step/command", "deploy {{matrix}} --force"),
        changed("step/env", {"TARGET": "production"}),
        changed("step/plugins", None),
        changed("step/plugins", image),
        changed("step/matrix", ["eu", "us", "cn"]),
        changed("step/signature/signed_fields", ["command"]),
        changed("env/BUILDKITE_COMMAND", "deploy us"),
        changed("env/BUILDKITE_PLUGINS", json.dumps(image)),
        changed("env/BUILDKITE_REPO", "https://git.example.com/evil/monorepo.git"),
        changed("env/BUILDKITE_BUILD_ID", "0192f0a4-2222-7000-8000-0000000b112e"),
        changed("env/BUILDKITE_STEP_KEY", "test"),
        changed("env/TARGET", "production"),
        changed("env/SHARED", "2"),
        changed("matrix_permutation", {"": "cn"}),
        changed("matrix_permutation", None),
    ]
    verdicts = ask_peer(["verify", "--jwks", eddsa.public_file, "--job"], json.dumps([good, *bad]))
    settings = VerificationSettings(keys=eddsa.verification)
    decisions = [evaluate(parse_job(json.dumps(job).encode()), settings) for job in [good, *bad]]
    assert [verdict["ok"] for verdict in verdicts] == [True] + [False] * len(bad)
    assert [isinstance(decision, Refused) for decision in decisions] == [False] + [True] * len(bad)


def test_neither_takes_another_key(eddsa: Keys, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.mkdir()
    stranger = OKPKey.generate_key("Ed25519").as_dict(private=True) | {"alg": "EdDSA", "use": "sig", "kid": "EdDSA"}
    (other / "private.json").write_text(json.dumps({"keys": [stranger]}))
    eddsa.private_file = other / "private.json"
    job = jobs_of(sign_by_peer(random_pipeline(103), eddsa))[0]
    verdicts = ask_peer(["verify", "--jwks", eddsa.public_file], json.dumps([job]))
    assert not verdicts[0]["ok"]
    with pytest.raises(VerificationError):
        assert_we_verify([job], eddsa)

"""Commands and settings with a key that is kept in a service: its URI, the ecosystem's options, its public file."""

from __future__ import annotations

import json
import stat
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from pipeseal.agent.settings import load_settings
from pipeseal.agent.upload_options import read_plain_call
from pipeseal.cli import root
from pipeseal.errors import ConfigurationError
from pipeseal.signing.keys.open import load_verification_keys
from tests.signing.material import REPOSITORY
from tests.signing.test_kms_vault import FakeVault, vault

__all__ = ["vault"]


def _run(*words: str) -> Result:
    names = (
        "BUILDKITE_AGENT_JWKS_FILE",
        "BUILDKITE_AGENT_AWS_KMS_KEY",
        "BUILDKITE_AGENT_GCP_KMS_KEY",
        "BUILDKITE_REPO",
    )
    return CliRunner().invoke(root, list(words), env=dict.fromkeys(names, ""))


def test_the_public_half_is_printed_or_written_and_verifies_what_was_signed(vault: FakeVault, tmp_path: Path) -> None:
    uri = f"vault://transit/{vault.add('p256')}"
    printed = _run("tool", "keygen", "--key", uri)
    assert printed.exit_code == 0, printed.output
    public = tmp_path / "public.json"
    written = _run("tool", "keygen", "--key", uri, "--public-jwks-file", str(public))
    assert written.exit_code == 0 and f'signing-jwks-file="{uri}"' in written.output
    assert json.loads(public.read_text("utf-8")) == json.loads(printed.output)
    assert stat.S_IMODE(public.stat().st_mode) == 0o600
    again = _run("tool", "keygen", "--key", uri, "--public-jwks-file", str(public))
    assert isinstance(again.exception, ConfigurationError) and again.exception.code == "key.exists"
    assert _run("tool", "keygen", "--key", uri, "--private-jwks-file", "x").exit_code == 2
    (kid,) = (key.kid for key in load_verification_keys(str(public)))
    assert kid is not None and kid.startswith("es256-")

    pipeline, signed = tmp_path / "p.yml", tmp_path / "s.yml"
    pipeline.write_text("steps:\n- command: make\n", "utf-8")
    done = _run("tool", "sign", str(pipeline), "--jwks-file", uri, "--repo", REPOSITORY, "-o", str(signed))
    assert done.exit_code == 0 and kid in done.output, done.output
    checked = _run("tool", "verify", str(signed), "--jwks-file", str(public), "--repo", REPOSITORY)
    assert checked.exit_code == 0 and f"signed by {kid}" in checked.output
    assert _run("tool", "verify", str(signed), "--jwks-file", uri, "--repo", REPOSITORY).exit_code != 0
    upload = _run("pipeline", "upload", "--dry-run", "--jwks-file", uri, "--jwks-key-id", "named", str(pipeline))
    assert upload.exit_code == 0 and "with named" in upload.output


def test_a_service_that_refuses_leaves_nothing_signed(vault: FakeVault, tmp_path: Path) -> None:
    uri = f"vault://transit/{vault.add('p256')}"
    pipeline, signed = tmp_path / "p.yml", tmp_path / "s.yml"
    pipeline.write_text("steps:\n- command: make\n", "utf-8")
    vault.override = (503, {"errors": ["sealed"]})
    done = _run("tool", "sign", str(pipeline), "--jwks-file", uri, "--repo", REPOSITORY, "-o", str(signed))
    assert done.exit_code != 0 and "sealed" in str(done.exception)
    assert not signed.exists()


@pytest.mark.parametrize(
    ("given", "key"),
    [
        ({"signing-jwks-file": "~/sign.json"}, "/home/ci/sign.json"),
        ({"signing-jwks-file": "file:///etc/sign.json"}, "/etc/sign.json"),
        ({"signing-jwks-file": "awskms:///alias/ci"}, "awskms:///alias/ci"),
        (
            {"signing-jwks-file": "pkcs11:token=a;object=b?module-path=/c.so"},
            "pkcs11:token=a;object=b?module-path=/c.so",
        ),
        ({"signing-aws-kms-key": "alias/ci", "signing-jwks-file": "x.json"}, "awskms:///alias/ci"),
        ({"signing-gcp-kms-key": "projects/p"}, "gcpkms://projects/p"),
        ({}, ""),
    ],
)
def test_the_agents_setting_is_a_path_or_a_uri(given: dict[str, str], key: str) -> None:
    settings = load_settings({"token": "t", "no-verification": True, **given}, {"HOME": "/home/ci"})
    assert settings.signing_key == key


def test_uploads_know_the_ecosystems_options() -> None:
    call = read_plain_call(["--signing-aws-kms-key", "alias/ci", "--jwks-file", "x"], {})
    assert call is not None and call.options.jwks_file == "awskms:///alias/ci"
    call = read_plain_call([], {"BUILDKITE_AGENT_GCP_KMS_KEY": "projects/p"})
    assert call is not None and call.options.jwks_file == "gcpkms://projects/p"
    call = read_plain_call([], {"BUILDKITE_AGENT_JWKS_FILE": "vault://transit/k"})
    assert call is not None and call.options.jwks_file == "vault://transit/k"

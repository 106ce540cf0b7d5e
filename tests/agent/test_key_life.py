"""The life of a key on a running agent: rotated with an overlap, ended, limited, revoked (L01, L02, L03, L09)."""

from __future__ import annotations

from pathlib import Path

from click.testing import CliRunner

from pipeseal.cli import root
from pipeseal.policy.key_record_text import set_in_record
from tests.agent.agent_process import agent_process
from tests.agent.fake_server import fake_server
from tests.agent.job_requests import outcome, run
from tests.agent.test_trust import REPOSITORY, Place

OTHER = "https://git.example.test/acme/other.git"


def test_keys_are_rotated_ended_limited_and_revoked_under_a_running_agent(tmp_path: Path) -> None:
    (tmp_path / "trust").mkdir()
    place = Place(tmp_path / "trust")
    place.write("policy.toml", 'version = 1\nstatic-steps = "any"\n')
    old, new = place.signing, place.folder / "signing-next.json"
    number = 0

    def keys(*words: str) -> None:
        done = CliRunner().invoke(root, ["keys", *words, "--directory", str(place.folder)])
        assert done.exit_code == 0, done.output

    def record(kid: str, **values: str) -> None:
        text = place.policy.read_text("utf-8")
        named = {name.replace("_", "-"): value for name, value in values.items()}
        place.write("policy.toml", set_in_record(text, kid, named))

    def code(signing: Path, repository: str = REPOSITORY) -> str:
        """The refusal of a job that this key signed; empty when it ran."""
        nonlocal number
        number += 1
        place.signing = signing
        done = run(server, place.job("echo it ran", repository), f"job-{number}")
        assert done.finish is not None
        ran = "it ran" in done.text.splitlines()
        assert ran == (outcome(done)[0] == "0"), done.text
        return str((done.finish.get("refusal") or {}).get("code", ""))

    with fake_server(20) as server, agent_process(server, tmp_path, *place.flags("--skip-checkout")) as agent:
        assert code(old) == ""
        keys("rotate", "signer", "--new-key-id", "next", "--overlap", "1h")
        # Both are good while they overlap; then only the new one (L09, L02).
        assert (code(old), code(new)) == ("", "")
        record("signer", not_after="2020-01-01T00:00:00Z")
        assert (code(old), code(new)) == ("key.expired", "")
        # A key for one repository signs for no other (L03).
        record("next", repositories=f'"{REPOSITORY}"')
        assert (code(new), code(new, OTHER)) == ("", "key.scope")
        # Revoked by command, in force with the next job (L01).
        keys("revoke", "next", "--reason", "leaked")
        assert code(new) == "key.revoked"
        assert agent.process.poll() is None

"""The signer holds commits to those who may sign them, as agents do."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeseal.errors import VerificationError
from tests.repository.test_commit_signature import Ssh
from tests.signer.workshop import Workshop


def test_pipelines_of_commits_that_nobody_vouches_for_are_not_signed(tmp_path: Path) -> None:
    people = Ssh(tmp_path / "people")
    people.allowed.chmod(0o600)
    policy = f'branches = ["main"]\ncommit-signers = "{people.allowed}"\n'
    (tmp_path / "shop").mkdir()
    shop = Workshop(tmp_path / "shop", {"file": "one"}, policy=policy)
    job = shop.job()
    with pytest.raises(VerificationError) as caught:
        shop.sign(job, shop.grant(job))
    assert caught.value.code == "commit.not_signed"
    shop.commit = people.sign(shop.remote, "mallory", "two")
    job = shop.job()
    with pytest.raises(VerificationError) as caught:
        shop.sign(job, shop.grant(job))
    assert caught.value.code == "commit.signer_unknown"
    shop.commit = people.sign(shop.remote, "alice", "three")
    (step,) = shop.upload()
    assert step.command == "scripts/test"

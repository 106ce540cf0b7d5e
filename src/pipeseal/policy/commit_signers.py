"""Whose signature a commit must bear: what a policy says of it. Only a checkout or clone shows whether it does."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, NamedTuple

from pipeseal.policy.facts import Facts, Finding


class CommitSigners(NamedTuple):
    """Who may sign commits: the owners of the SSH keys or of the OpenPGP keys in files that nobody else can change.

    Parameters:
        ssh: file of SSH keys in the format of `allowed_signers` (ssh-keygen(1)); None for none.
        revoked_ssh: file of SSH keys, or a key revocation list, that are not believed any more; None for none.
        openpgp: file of OpenPGP public keys; None for none.
    """

    ssh: Path | None = None
    revoked_ssh: Path | None = None
    openpgp: Path | None = None

    @property
    def files(self) -> tuple[Path, ...]:
        """All its files."""
        return tuple(path for path in self if path is not None)


@dataclass(frozen=True, slots=True)
class SignedCommits:
    """Only commits that one of these signed."""

    name: ClassVar[str] = "commit-signers"
    signers: CommitSigners

    def judge(self, facts: Facts) -> Finding | None:
        """Nothing: only the commit itself shows who signed it. See `Limits.commit_signers`."""
        return None

    def __str__(self) -> str:
        files = ", ".join(str(path) for path in (self.signers.ssh, self.signers.openpgp) if path is not None)
        return f"only commits that a key of {files} signed"

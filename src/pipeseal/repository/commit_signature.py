"""`verify_commit_signature`: that a commit was signed by somebody whom a policy names, with SSH or OpenPGP keys.

git takes the commit apart and calls the programs; everything that says whom to believe is made here: which programs,
which keys, and no configuration of the machine, the user or the repository. Two things are stricter than what `git
verify-commit` does by itself. A key has to be good now: git asks whether an SSH key was good at the commit's own
date, which whoever makes the commit writes. And an expired OpenPGP key is no good key.
"""

from __future__ import annotations

import hashlib
import os
import shlex
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import NamedTuple

from pipeseal.errors import ConfigurationError, Unavailable, VerificationError, escape_control
from pipeseal.policy.commit_signers import CommitSigners
from pipeseal.policy.files import check_signers_file
from pipeseal.repository.git import GitFailed, PlainGit
from pipeseal.repository.git_config import GitConfig

MAX_COMMIT_BYTES = 4 << 20
_TIMEOUT_SECONDS = 60
_PROOF = object()
# %G?: git's one letter for what came of it; %GS: the signer; %GF: the key's fingerprint; %GG: what the program said.
_FORMAT = "--format=%G?%x00%GS%x00%GF%x00%GG"
_SSH_WRAPPER = """\
#!/bin/sh
# At present, and not at the date that the commit gives itself.
count=$#
while [ "$count" -gt 0 ]; do
    argument=$1
    shift
    case $argument in
        -Overify-time=*) ;;
        *) set -- "$@" "$argument" ;;
    esac
    count=$((count - 1))
done
exec {program} "$@"
"""
_GPG_WRAPPER = """\
#!/bin/sh
exec {program} --homedir {home} --no-options --batch --no-autostart --no-auto-key-retrieve --trust-model always "$@"
"""


class SignedCommit:
    """A commit that was proven to be signed by an allowed signer. Only `verify_commit_signature` makes one.

    Parameters:
        commit: full object id.
        signer: whom the key belongs to, as the file of keys says.
        fingerprint: the key's.
    """

    __slots__ = ("commit", "fingerprint", "signer")

    def __init__(self, proof: object, *, commit: str, signer: str, fingerprint: str) -> None:
        if proof is not _PROOF:
            raise TypeError("a SignedCommit is made by verify_commit_signature, and by nothing else")
        self.commit = commit
        self.signer = signer
        self.fingerprint = fingerprint


def verify_commit_signature(
    directory: Path, commit: str, signers: CommitSigners, *, config: GitConfig | None = None
) -> SignedCommit:
    """The commit, proven to be signed by one of `signers`.

    Plan:
        1. Nobody else can change the files that say whom to believe, and the programs are there.
        2. The commit object is what its id says.
        3. It bears a signature, which is right, by a key of the files.
        4. The key is neither expired nor revoked now.

    Does not check: earlier commits; who wrote what the commit brings; that it is on any branch.

    Parameters:
        directory: a repository that has the commit.
        commit: full object id.
        signers: whom to believe.
        config: what the operator configures of git; None for its defaults.

    Raises:
        ConfigurationError: `commit.signers`: the files or programs cannot be used.
        VerificationError: `commit.not_signed`, `commit.bad_signature`, `commit.signer_unknown`,
            `commit.signer_expired`, `commit.signer_revoked`.
        Unavailable: `git.failed`.
    """
    # 1.
    for path in signers.files:
        check_signers_file(path)
    git = PlainGit(directory, config=config)
    # 2.
    is_signed = _check_object(git, commit)
    found = _ask(git, commit, signers)
    if found.result == "B" and signers.revoked_ssh is not None:
        # ssh-keygen says of a revoked key no more than of a wrong signature; the refusal should.
        unrevoked = _ask(git, commit, signers._replace(revoked_ssh=None))
        found = found._replace(result="R" if unrevoked.result == "G" else "B", signer=unrevoked.signer)
    # 3. and 4.
    if found.result != "G":
        raise _refusal(commit, found, is_signed=is_signed)
    return SignedCommit(_PROOF, commit=commit, signer=found.signer, fingerprint=found.fingerprint)


class _Answer(NamedTuple):
    """What git says of a signature, see `_FORMAT`."""

    result: str
    signer: str
    fingerprint: str
    said: str


def _ask(git: PlainGit, commit: str, signers: CommitSigners) -> _Answer:
    with tempfile.TemporaryDirectory(prefix="pipeseal-signers-") as folder:
        settings = _settings(Path(folder), signers)
        answer = git.ask(
            *(word for setting in settings for word in ("-c", setting)),
            "log", "-1", "--no-show-signature", "--no-color", _FORMAT, "--end-of-options", commit,
            max_bytes=1 << 20,
        )  # fmt: skip
    return _Answer(*(answer.decode("utf-8", "replace").split("\0", 3) + [""] * 4)[:4])


def _check_object(git: PlainGit, commit: str) -> bool:
    """That a commit object is what its id says; whether it bears a signature, of whatever kind."""
    try:
        data = git.ask("cat-file", "commit", commit, max_bytes=MAX_COMMIT_BYTES)
    except GitFailed as error:
        raise VerificationError(
            "commit.bad_signature", f"commit {commit} cannot be read: {error.message}", evidence={"commit": commit}
        ) from None
    # gitformat-pack, gitformat-loose: an object's id is the hash of its type, its size and its content.
    digest = hashlib.new("sha1" if len(commit) == 40 else "sha256", b"commit %d\0" % len(data) + data)
    if digest.hexdigest() != commit:
        raise VerificationError(
            "commit.bad_signature",
            f"the object that the repository has for commit {commit} is another one",
            help="remove this checkout; it is made again",
            evidence={"commit": commit, "found": digest.hexdigest()},
        )
    return b"\ngpgsig" in data.partition(b"\n\n")[0]


def _refusal(commit: str, found: _Answer, *, is_signed: bool) -> VerificationError:
    """Why a commit is not believed; what programs said only tells apart what is refused in any case."""
    match found.result:
        case "N" if not is_signed:
            code, why = "commit.not_signed", "is not signed"
        case "R":
            code, why = "commit.signer_revoked", "was signed with a key that is revoked"
        case "X" | "Y":
            code, why = "commit.signer_expired", "was signed with a key, or by a signature, whose time is over"
        case "U" if "key has expired" in found.said:
            code, why = "commit.signer_expired", "was signed with a key whose time is over (`valid-before`)"
        case "B" if "signature namespace" not in found.said:
            code, why = "commit.bad_signature", "has a signature that is not right"
        case _:
            code, why = "commit.signer_unknown", "was not signed with a key that may sign commits now"
    evidence = {
        "commit": commit,
        **({"signed by": escape_control(found.signer[:200])} if found.signer else {}),
        **({"key": escape_control(found.fingerprint[:200])} if found.fingerprint else {}),
    }
    return VerificationError(code, f"commit {commit} {why}", evidence=evidence)


def _settings(folder: Path, signers: CommitSigners) -> list[str]:
    """git's settings for checking signatures: each kind by one program, named in full, or by none."""
    # A program that fails: what is not allowed is not looked at.
    none = _program("false")
    ssh = gpg = none
    settings = [f"gpg.x509.program={none}", "gpg.minTrustLevel=undefined"]
    if signers.ssh is not None:
        ssh = _write(folder / "ssh-keygen", _SSH_WRAPPER.format(program=shlex.quote(_program("ssh-keygen"))))
        settings.append(f"gpg.ssh.allowedSignersFile={signers.ssh}")
        if signers.revoked_ssh is not None:
            settings.append(f"gpg.ssh.revocationFile={signers.revoked_ssh}")
    if signers.openpgp is not None:
        program = _program("gpg")
        home = folder / "gnupg"
        home.mkdir(mode=0o700)
        _import_keys(program, home, signers.openpgp)
        gpg = _write(folder / "gpg", _GPG_WRAPPER.format(program=shlex.quote(program), home=shlex.quote(str(home))))
    return [*settings, f"gpg.ssh.program={ssh}", f"gpg.program={gpg}", f"gpg.openpgp.program={gpg}"]


def _program(name: str) -> str:
    # Of this process's own PATH: a job's has no say.
    found = shutil.which(name)
    if found is None:
        raise _unusable(f"{name} is not installed, which checks the signatures of commits")
    return str(Path(found).resolve())


def _write(path: Path, text: str) -> str:
    path.write_text(text, encoding="utf-8")
    path.chmod(0o700)
    return str(path)


def _import_keys(program: str, home: Path, keys: Path) -> None:
    words = [program, "--homedir", str(home), "--no-options", "--batch", "--no-autostart", "--quiet", "--import"]
    try:
        done = subprocess.run(
            [*words, "--", str(keys)],
            env={"PATH": os.environ.get("PATH", os.defpath), "LC_ALL": "C"},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=_TIMEOUT_SECONDS,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise Unavailable("git.failed", f"gpg could not read {keys}: {error}") from None
    if done.returncode != 0:
        words = done.stderr.decode("utf-8", "replace").strip().splitlines()
        raise _unusable(
            f"gpg cannot read the keys in {keys}: {escape_control(words[-1][:200]) if words else 'no key'}"
        )


def _unusable(what: str) -> ConfigurationError:
    return ConfigurationError(
        "commit.signers",
        what,
        help="see `commit-signers` and `commit-keyring` of the policy, and that it is installed",
    )

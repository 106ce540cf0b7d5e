"""Who signed a commit: real ssh-keygen, real gpg, real git; each attack beside a commit that is good."""

from __future__ import annotations

import os
import subprocess
import zlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from pipeseal.errors import ConfigurationError, PipesealError
from pipeseal.policy.commit_signers import CommitSigners
from pipeseal.repository.commit_signature import SignedCommit, verify_commit_signature
from tests.agent.repositories import git, make_repository


def call(*words: str, data: bytes = b"", **variables: str) -> bytes:
    done = subprocess.run(words, input=data, capture_output=True, env={**os.environ, **variables}, check=False)
    assert done.returncode == 0, done.stderr.decode()
    return done.stdout


class Ssh:
    """People with SSH keys, and the file of those who may sign."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir(mode=0o700)
        self.allowed = folder / "allowed_signers"
        self.revoked = folder / "revoked"
        for who in ("alice", "mallory"):
            call("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", who, "-f", str(folder / who))
        self.allow("alice")

    def public(self, who: str) -> str:
        return " ".join((self.folder / f"{who}.pub").read_text("utf-8").split()[:2])

    def allow(self, *people: str, options: str = 'namespaces="git"') -> CommitSigners:
        lines = [f"{who}@example.test {options} {self.public(who)}\n" for who in people]
        self.allowed.write_text("".join(lines), "utf-8")
        return CommitSigners(ssh=self.allowed)

    def sign(self, repository: Path, who: str, text: str = "x", **variables: str) -> str:
        (repository / "file").write_text(text, "utf-8")
        signing = ("-c", "gpg.format=ssh", "-c", f"user.signingKey={self.folder / who}")
        with changed(variables):
            git(repository, *signing, "commit", "-qaS", "-m", text)
        return git(repository, "rev-parse", "HEAD")


class changed:
    """Environment variables for a while."""

    def __init__(self, values: dict[str, str]) -> None:
        self.values = values

    def __enter__(self) -> None:
        os.environ.update(self.values)

    def __exit__(self, *_: object) -> None:
        for name in self.values:
            del os.environ[name]


@pytest.fixture
def ssh(tmp_path: Path) -> Ssh:
    return Ssh(tmp_path / "people")


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    folder = tmp_path / "widgets"
    make_repository(folder, {"file": "begin"})
    return folder


def code(repository: Path, commit: str, signers: CommitSigners) -> str:
    """The refusal's code; empty when there is none."""
    try:
        signed = verify_commit_signature(repository, commit, signers)
    except PipesealError as error:
        return error.code
    assert signed.commit == commit
    return ""


def test_a_commit_of_an_allowed_signer_is_proven(repository: Path, ssh: Ssh) -> None:
    commit = ssh.sign(repository, "alice")
    signed = verify_commit_signature(repository, commit, CommitSigners(ssh=ssh.allowed))
    assert (signed.commit, signed.signer) == (commit, "alice@example.test")
    assert signed.fingerprint.startswith("SHA256:")
    with pytest.raises(TypeError):
        SignedCommit(object(), commit=commit, signer="x", fingerprint="y")


def test_unsigned_and_foreign_commits_are_refused(repository: Path, ssh: Ssh) -> None:
    signers = CommitSigners(ssh=ssh.allowed)
    assert code(repository, git(repository, "rev-parse", "HEAD"), signers) == "commit.not_signed"
    assert code(repository, ssh.sign(repository, "mallory"), signers) == "commit.signer_unknown"
    assert code(repository, ssh.sign(repository, "alice", "y"), signers) == ""


def test_a_signature_moved_to_another_commit_is_refused(repository: Path, ssh: Ssh) -> None:
    signers = CommitSigners(ssh=ssh.allowed)
    good = ssh.sign(repository, "alice")
    raw = call("git", "-C", str(repository), "cat-file", "commit", good)
    forged = raw.replace(b"\nx\n", b"\nevil\n") if b"\n\nx\n" in raw else raw + b"evil"
    evil = call("git", "-C", str(repository), "hash-object", "-t", "commit", "-w", "--stdin", data=forged)
    assert code(repository, evil.decode().strip(), signers) == "commit.bad_signature"
    assert code(repository, good, signers) == ""


def test_an_object_under_the_id_of_another_is_found_out(repository: Path, ssh: Ssh) -> None:
    """Attack: the store has another commit, well signed, under the id that the job is for."""
    signers = CommitSigners(ssh=ssh.allowed)
    wanted = git(repository, "rev-parse", "HEAD")
    other = ssh.sign(repository, "alice")
    raw = call("git", "-C", str(repository), "cat-file", "commit", other)
    path = repository / ".git" / "objects" / wanted[:2] / wanted[2:]
    path.chmod(0o600)
    path.write_bytes(zlib.compress(b"commit %d\0" % len(raw) + raw))
    assert code(repository, wanted, signers) == "commit.bad_signature"


def test_expired_ssh_keys_sign_nothing_even_with_an_old_date(repository: Path, ssh: Ssh) -> None:
    """Attack: whoever stole a key whose time is over dates the commit back."""
    ssh.allow("alice", options='namespaces="git",valid-before="20250101"')
    back = "2024-06-01T12:00:00Z"
    commit = ssh.sign(repository, "alice", GIT_COMMITTER_DATE=back, GIT_AUTHOR_DATE=back)
    assert code(repository, commit, CommitSigners(ssh=ssh.allowed)) == "commit.signer_expired"
    ssh.allow("alice", options='namespaces="git",valid-before="20990101"')
    assert code(repository, commit, CommitSigners(ssh=ssh.allowed)) == ""
    ssh.allow("alice", options='namespaces="file"')
    assert code(repository, commit, CommitSigners(ssh=ssh.allowed)) == "commit.signer_unknown"


def test_revoked_ssh_keys_sign_nothing(repository: Path, ssh: Ssh) -> None:
    commit = ssh.sign(repository, "alice")
    signers = CommitSigners(ssh=ssh.allowed, revoked_ssh=ssh.revoked)
    ssh.revoked.write_text(ssh.public("mallory") + "\n", "utf-8")
    assert code(repository, commit, signers) == ""
    ssh.revoked.write_text(ssh.public("alice") + "\n", "utf-8")
    assert code(repository, commit, signers) == "commit.signer_revoked"


def test_configuration_of_user_and_repository_has_no_say(
    repository: Path, ssh: Ssh, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Attack: a job's settings name other signers and a program that is always content."""
    liar = tmp_path / "liar"
    liar.write_text('#!/bin/sh\necho "Good \\"git\\" signature for alice@example.test with ED25519 key SHA256:x"\n')
    liar.chmod(0o755)
    everyone = tmp_path / "everyone"
    everyone.write_text(f"* {ssh.public('mallory')}\n")
    home = tmp_path / "home"
    home.mkdir()
    settings = f'[gpg]\nformat = ssh\nprogram = {liar}\nminTrustLevel = undefined\n[gpg "ssh"]\nprogram = {liar}\n'
    settings += f"allowedSignersFile = {everyone}\n"
    commit = ssh.sign(repository, "mallory")
    (home / ".gitconfig").write_text(settings)
    with (repository / ".git" / "config").open("a") as config:
        config.write(settings)
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("GIT_CONFIG_PARAMETERS", f"'gpg.ssh.program={liar}'")
    assert code(repository, commit, CommitSigners(ssh=ssh.allowed)) == "commit.signer_unknown"


def test_files_that_cannot_be_believed_stop_it(repository: Path, ssh: Ssh, tmp_path: Path) -> None:
    commit = ssh.sign(repository, "alice")
    ssh.allowed.chmod(0o666)
    with pytest.raises(ConfigurationError, match="can be changed by other users") as caught:
        verify_commit_signature(repository, commit, CommitSigners(ssh=ssh.allowed))
    assert caught.value.code == "commit.signers"
    assert code(repository, commit, CommitSigners(ssh=tmp_path / "nothing")) == "commit.signers"
    ssh.allowed.chmod(0o600)
    assert code(repository, commit, CommitSigners(ssh=ssh.allowed)) == ""


def test_without_their_program_signatures_are_not_believed(
    repository: Path, ssh: Ssh, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    commit = ssh.sign(repository, "alice")
    tools = tmp_path / "bin"
    tools.mkdir()
    for name in ("git", "false", "sh"):
        (tools / name).symlink_to(call("sh", "-c", f"command -v {name}").decode().strip())
    monkeypatch.setenv("PATH", str(tools))
    assert code(repository, commit, CommitSigners(ssh=ssh.allowed)) == "commit.signers"


# --- OpenPGP ------------------------------------------------------------------------------------------------------


class OpenPgp:
    """People with OpenPGP keys, and the file of those who may sign."""

    def __init__(self, folder: Path) -> None:
        self.home = folder
        folder.mkdir(mode=0o700)
        self.keyring = folder / "keyring.asc"

    def gpg(self, *words: str, data: bytes = b"") -> bytes:
        common = ("--batch", "--quiet", "--pinentry-mode", "loopback", "--passphrase", "", "--yes")
        return call("gpg", "--homedir", str(self.home), *common, *words, data=data)

    def make(self, who: str, expires: str = "never", *, at: str = "") -> str:
        faked = ("--faked-system-time", at) if at else ()
        self.gpg(*faked, "--quick-generate-key", f"{who} <{who}@example.test>", "ed25519", "sign", expires)
        listed = self.gpg("--with-colons", "--list-keys", f"{who}@example.test").decode()
        return next(line.split(":")[9] for line in listed.splitlines() if line.startswith("fpr:"))

    def allow(self, *fingerprints: str) -> CommitSigners:
        self.keyring.write_bytes(self.gpg("--armor", "--export", *fingerprints))
        return CommitSigners(openpgp=self.keyring)

    def sign(self, repository: Path, fingerprint: str, text: str, *, at: str = "") -> str:
        program = self.home / "gpg-of-the-author"
        faked = f"--faked-system-time {at}" if at else ""
        program.write_text(f'#!/bin/sh\nexec gpg --homedir {self.home} --batch {faked} "$@"\n', "utf-8")
        program.chmod(0o700)
        (repository / "file").write_text(text, "utf-8")
        signing = ("-c", "gpg.format=openpgp", "-c", f"gpg.program={program}", "-c", f"user.signingKey={fingerprint}")
        git(repository, *signing, "commit", "-qaS", "-m", text)
        return git(repository, "rev-parse", "HEAD")


@pytest.fixture
def openpgp(tmp_path: Path) -> Iterator[OpenPgp]:
    # A short path: gpg's sockets are beneath it.
    import tempfile

    with tempfile.TemporaryDirectory(prefix="pgp-", ignore_cleanup_errors=True) as folder:
        people = OpenPgp(Path(folder) / "h")
        try:
            yield people
        finally:
            call("gpgconf", "--homedir", str(people.home), "--kill", "all")


@pytest.mark.peer("gpg")
def test_openpgp_signatures_of_allowed_unknown_revoked_and_expired_keys(
    repository: Path, openpgp: OpenPgp, ssh: Ssh
) -> None:
    alice, mallory = openpgp.make("alice"), openpgp.make("mallory")
    signers = openpgp.allow(alice)
    commit = openpgp.sign(repository, alice, "one")
    signed = verify_commit_signature(repository, commit, signers)
    assert signed.signer == "alice <alice@example.test>"
    assert signed.fingerprint == alice
    assert code(repository, openpgp.sign(repository, mallory, "two"), signers) == "commit.signer_unknown"
    # Each kind of signature is looked at only where the policy names keys of that kind.
    assert code(repository, commit, CommitSigners(ssh=ssh.allowed)) == "commit.signer_unknown"
    assert code(repository, ssh.sign(repository, "alice", "three"), signers) == "commit.signer_unknown"
    both = CommitSigners(ssh=ssh.allowed, openpgp=openpgp.keyring)
    assert code(repository, git(repository, "rev-parse", "HEAD"), both) == ""
    assert code(repository, commit, both) == ""
    expired = openpgp.make("old", "1d", at="20240101T000000")
    back = openpgp.sign(repository, expired, "four", at="20240101T100000")
    assert code(repository, back, openpgp.allow(alice, expired)) == "commit.signer_expired"
    revocation = (
        (openpgp.home / "openpgp-revocs.d" / f"{alice}.rev").read_text("utf-8").replace("\n:-----", "\n-----")
    )
    openpgp.gpg("--import", data=revocation.encode())
    assert code(repository, commit, openpgp.allow(alice)) == "commit.signer_revoked"


@pytest.mark.peer("gpg")
def test_a_file_without_keys_stops_it(repository: Path, openpgp: OpenPgp) -> None:
    openpgp.keyring.write_text("no keys\n", "utf-8")
    signers = CommitSigners(openpgp=openpgp.keyring)
    assert code(repository, git(repository, "rev-parse", "HEAD"), signers) == "commit.signers"

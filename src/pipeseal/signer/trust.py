"""What a signer works with, from files that are read again when they change: settings, keys and policy."""

from __future__ import annotations

import os
import stat
import threading
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from pipeseal.errors import ConfigurationError
from pipeseal.policy.files import FileState, check_only_ours, look_at, read_policy
from pipeseal.policy.keyset import check_key_set
from pipeseal.policy.policy import Mode
from pipeseal.policy.settings import VerificationSettings
from pipeseal.signer.config import SignerSettings, parse_signer_settings
from pipeseal.signing.keys.open import load_verification_keys, open_signing_key
from pipeseal.signing.keys.signing_key import SigningKey
from pipeseal.signing.keys.uri import key_file

_MAX_BYTES = 1 << 20


class Working(NamedTuple):
    """What a signer works with now.

    Parameters:
        settings: its file.
        key: what it signs with.
        verification: whose upload steps it believes.
    """

    settings: SignerSettings
    key: SigningKey
    verification: VerificationSettings


class SignerTrust:
    """What a signer works with, as the files say.

    Parameters:
        path: the signer's file.
        load: reads it and what it names.
    """

    def __init__(self, path: Path, load: Callable[[Path], Working] | None = None) -> None:
        self._path = path
        self._load = load or load_signer
        self._lock = threading.Lock()
        self._current: Working | None = None
        self._seen: dict[Path, FileState | None] = {}

    def current(self) -> Working:
        """What holds now; reads the files if they have changed.

        Raises:
            PipesealError: they cannot be used; the next call tries again, and until then nothing is signed.
        """
        with self._lock:
            if self._current is not None and self._seen == {path: look_at(path) for path in self._seen}:
                return self._current
            # Forgotten first: what was believed before must not outlive a file that cannot be read.
            self._current = None
            before = look_at(self._path)
            working = self._load(self._path)
            settings = working.settings
            files = [settings.policy, settings.verification_keys]
            if (file := key_file(settings.key)) is not None:
                files.append(file)
            self._seen = {self._path: before, **{path: look_at(path) for path in files}}
            self._current = working
            return working

    def reload(self) -> None:
        """Read the files again before the next call, changed or not."""
        with self._lock:
            self._current = None


def load_signer(path: Path) -> Working:
    """A signer's settings, and what they name.

    Parameters:
        path: `signer.toml`.

    Raises:
        ConfigurationError: `signer.unreadable`; `signer.permissions`: others can change a file, or read the key or
            the settings; `signer.observes`: the policy refuses nothing; `key.none`; and what opening keys raises.
        MalformedInput: as `parse_signer_settings`, `parse_policy` and `load_verification_keys`.
    """
    check_only_ours(path, "signer.permissions")
    check_not_readable(path)
    try:
        with path.open("rb") as opened:
            data = opened.read(_MAX_BYTES + 1)
    except OSError as error:
        raise ConfigurationError(
            "signer.unreadable",
            f"the signer's file {path} cannot be read: {error.strerror}",
            help="check the path, and who may read it",
        ) from None
    settings = parse_signer_settings(data, source=str(path))
    if (file := key_file(settings.key)) is not None:
        check_only_ours(file, "signer.permissions")
        check_not_readable(file)
    if settings.git.file is not None:
        # It can name programs that git runs, as the user who holds the key.
        check_only_ours(settings.git.file, "signer.permissions")
    key = open_signing_key(settings.key, settings.key_id)
    if not key.kid:
        raise ConfigurationError(
            "seal.key",
            "the signer's key has no id (`kid`), which seals need",
            help="make one: pipeseal tool keygen",
        )
    policy = read_policy(settings.policy)
    modes = (policy.mode, *(section.mode for section in policy.sections))
    loose = next((mode for mode in modes if mode not in (None, Mode.ENFORCE)), None)
    if loose is not None:
        raise ConfigurationError(
            "signer.observes",
            f"the policy {settings.policy} only {loose.value}s, and a signer must refuse",
            help=f'give the signer a policy of its own, without mode = "{loose.value}"',
        )
    check_only_ours(settings.verification_keys, "key.permissions")
    keys = load_verification_keys(str(settings.verification_keys))
    check_key_set(keys, shared_secrets=policy.shared_secrets)
    check_state(settings.state)
    return Working(settings, key, VerificationSettings(keys=keys, policy=policy))


def check_not_readable(path: Path) -> None:
    """That no other user can read a file; its group can if the file is root's and the group this process's own.

    Raises:
        ConfigurationError: `signer.permissions`.
    """
    try:
        status = path.stat()
    except OSError:
        return  # reading it says so
    mode = stat.S_IMODE(status.st_mode)
    own_group = status.st_uid == 0 and status.st_gid == os.getegid() and not mode & 0o030
    if mode & 0o007 or (mode & 0o070 and not own_group):
        raise ConfigurationError(
            "signer.permissions",
            f"{path} can be read by other users (mode {mode:04o})",
            help=f"chmod 0600 {path}",
        )


def check_state(path: Path) -> None:
    """That the folder for clones and grants is there, and this process's alone; made when it is not there.

    Raises:
        ConfigurationError: `signer.permissions`, `signer.unreadable`.
    """
    try:
        path.mkdir(parents=True, exist_ok=True, mode=0o700)
        status = path.stat()
    except OSError as error:
        raise ConfigurationError(
            "signer.unreadable", f"the signer's folder {path} cannot be made: {error.strerror}", help="create it"
        ) from None
    if status.st_uid != os.geteuid() or stat.S_IMODE(status.st_mode) & 0o077:
        raise ConfigurationError(
            "signer.permissions",
            f"the signer's folder {path} is not its own, or others can look into it",
            help=f"chown it to uid {os.geteuid()}, and chmod 0700 {path}",
        )
    check_only_ours(path / "grants.db", "signer.permissions")
    check_only_ours(path, "signer.permissions")

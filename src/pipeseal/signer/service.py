"""What the signer does for whoever asks: grants and revokes for supervisors, signs for jobs."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Final

from pipeseal.agentapi.job import parse_job
from pipeseal.errors import PipesealError, VerificationError
from pipeseal.policy.facts import LocalFacts
from pipeseal.repository.git_config import GitConfig
from pipeseal.signer.clone import RepositoryClone
from pipeseal.signer.grants import Grant, GrantBook
from pipeseal.signer.judge import verify_upload
from pipeseal.signer.sign import Resolve, Wanted, resolver, sign_upload
from pipeseal.signer.trust import SignerTrust
from pipeseal.signerapi.messages import (
    Answer,
    Granted,
    GrantRequest,
    Request,
    Revoked,
    RevokeRequest,
    Signed,
    SignRequest,
)

Tell = Callable[[str], None]

# Names of files in a signer's folder.
GRANTS: Final = "grants.db"
CLONES: Final = "repositories"


class SignerService:
    """Answers requests; several threads may ask at a time.

    Parameters:
        trust: settings, key, verification keys and policy.
        now: seconds since 1970.
        tell: prints a line for the operator.
        resolve: makes what says what plugins stand for, from git's configuration.

    Raises:
        PipesealError: what `trust` raises; `signer.state`.
    """

    def __init__(
        self,
        trust: SignerTrust,
        *,
        now: Callable[[], float],
        tell: Tell,
        resolve: Callable[[GitConfig], Resolve] = resolver,
    ) -> None:
        self._trust = trust
        self._now = now
        self._tell = tell
        self._resolve = resolve
        self._state = trust.current().settings.state
        self._book = GrantBook(self._state / GRANTS, now)
        self._clones: dict[tuple[str, GitConfig], RepositoryClone] = {}
        self._lock = threading.Lock()

    def roles(self, uid: int) -> tuple[bool, bool]:
        """Whether a user is a supervisor's, and whether it is a job's.

        Parameters:
            uid: of the process at the other end, as the kernel says.

        Raises:
            PipesealError: as `SignerTrust.current`.
        """
        settings = self._trust.current().settings
        return uid in settings.supervisors, uid in settings.jobs

    def answer(self, request: Request, uid: int) -> Answer:
        """Do what is asked, if this user may ask for it.

        Parameters:
            request: as it was read.
            uid: who asks.

        Raises:
            VerificationError: `signer.not_allowed`: not this user; and what refuses to sign.
            PipesealError: nothing was signed.
        """
        is_supervisor, is_job = self.roles(uid)
        match request:
            case GrantRequest() if is_supervisor:
                return self._grant(request)
            case RevokeRequest() if is_supervisor:
                self._book.revoke(request.job_id)
                return Revoked()
            case SignRequest() if is_job:
                return self._sign(request)
        raise VerificationError(
            "signer.not_allowed",
            f"the user with uid {uid} may not ask the signer for that",
            help="`supervisors` and `jobs` in the signer's file say who may",
        )

    def _grant(self, request: GrantRequest) -> Granted:
        now = self._now()
        working = self._trust.current()
        local = LocalFacts(
            job_id=request.job_id,
            agent_id=request.agent_id,
            agent_name=request.agent_name,
            now=now,
            tags=request.tags,
        )
        job = parse_job(request.job.encode("utf-8", "surrogateescape"))
        try:
            upload = verify_upload(job, working.settings.rules, working.verification, local)
        except VerificationError as error:
            return Granted(code=error.code, reason=error.message)
        expires = now + working.settings.grant_valid_seconds
        capability = self._book.grant(request.job_id, Grant(job=job, local=local, expires=expires))
        self._tell(f"granted an upload to job {request.job_id} at commit {upload.revision.commit[:12]}")
        return Granted(capability=capability)

    def _sign(self, request: SignRequest) -> Signed:
        grant = self._book.use(request.capability, request.job_id)
        try:
            signed = self._signed(grant, request)
        except PipesealError as error:
            self._tell(f"refused to sign for job {request.job_id}: refused[{error.code}] {error.message}")
            raise
        self._tell(f"signed {signed.source} for job {request.job_id}: {'; '.join(signed.summaries)}")
        return signed

    def _signed(self, grant: Grant, request: SignRequest) -> Signed:
        # Judged again, by what holds now: a key may have been revoked since, and a seal expired.
        now = self._now()
        working = self._trust.current()
        local = LocalFacts(
            job_id=grant.local.job_id,
            agent_id=grant.local.agent_id,
            agent_name=grant.local.agent_name,
            now=now,
            tags=grant.local.tags,
        )
        settings = working.settings
        upload = verify_upload(grant.job, settings.rules, working.verification, local)
        return sign_upload(
            upload,
            Wanted(request.file, request.generated),
            key=working.key,
            clone=self._clone(upload.approved.repository_url, settings.git),
            resolve=self._resolve(settings.git),
            now=now,
            valid_seconds=settings.seal_valid_seconds,
        )

    def _clone(self, repository: str, git: GitConfig) -> RepositoryClone:
        with self._lock:
            clone = self._clones.get((repository, git))
            if clone is None:
                folder: Path = self._state / CLONES
                clone = self._clones[repository, git] = RepositoryClone(folder, repository, git)
            return clone

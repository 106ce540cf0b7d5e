"""May this job upload? The signer verifies it by itself, with its own keys, policy and clock."""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from pipeseal.agentapi.job import Job
from pipeseal.errors import VerificationError, escape_control
from pipeseal.pipeline.files import DEFAULT_FILES
from pipeseal.policy.decision import ApprovedJob, Refused
from pipeseal.policy.evaluate import evaluate
from pipeseal.policy.facts import LocalFacts, Proof
from pipeseal.policy.settings import VerificationSettings
from pipeseal.signer.clone import HEAD, Revision, clean_path
from pipeseal.signer.config import UploadRule
from pipeseal.signing.bindings import uploader_bindings

_PROGRAMS: Final = frozenset({"buildkite-agent", "pipeseal"})
_PLAIN_WORD: Final = re.compile(r"[A-Za-z0-9._/@+-]+")
_MAKER: Final = object()


class VerifiedUpload:
    """An upload step that is proven, and may upload. Only `verify_upload` makes one.

    Parameters:
        approved: the job, as the policy approved it.
        rule: the part of the signer's file that allows it.
        revision: what the build says that it is of; the repository has still to be asked.
        files: which files it may upload; None when the rule's patterns say so.
        bindings: what everything that it uploads is bound to; without the commit where that is a branch's head.
    """

    __slots__ = ("approved", "bindings", "files", "revision", "rule")

    def __init__(
        self,
        maker: object,
        *,
        approved: ApprovedJob,
        rule: UploadRule,
        revision: Revision,
        files: tuple[str, ...] | None,
        bindings: Mapping[str, str],
    ) -> None:
        if maker is not _MAKER:
            raise TypeError("a VerifiedUpload is made by verify_upload, and by nothing else")
        self.approved = approved
        self.rule = rule
        self.revision = revision
        self.files = files
        self.bindings = bindings


def verify_upload(
    job: Job, rules: tuple[UploadRule, ...], verification: VerificationSettings, local: LocalFacts
) -> VerifiedUpload:
    """The upload step that a job is proven to be.

    Plan:
        1. The job is the one that the agent accepted, and keys and policy approve it: its step is signed, and nothing
           is merely observed.
        2. Its step is sealed, for one organisation and one pipeline.
        3. The build has an id, and a commit with a full object id, or is of the head of its branch.
        4. The signer's file allows this step to upload: repository, organisation, pipeline, key and whole command.
        5. It also allows the build's branch, and its tag or pull request if there is one.

    Does not check: that the commit is on that branch (`clone.py`); how often the seal was used (`grants.py` knows
    jobs, the agents' ledger knows seals).

    Parameters:
        job: as the server sent it.
        rules: the signer's, the first that matches holds.
        verification: the signer's keys and policy.
        local: what the supervisor says of its agent, and the signer's clock.

    Raises:
        VerificationError: what refuses the job (any code of the policy's); `seal.missing`; `signer.unbound`;
            `commit.not_full`; `signer.not_upload_step`; `branch.not_allowed`, `pull_request.not_allowed`.
    """
    # 1.
    if job.id not in ("", local.job_id):
        raise VerificationError("job.identity", "the job is not the one that its agent accepted")
    decision = evaluate(job, verification, local)
    if isinstance(decision, Refused):
        raise VerificationError(
            decision.code, decision.reason, evidence=dict(decision.evidence), fields=decision.fields
        )
    if decision.findings or decision.verified is None:
        first = next(iter(decision.findings), None)
        raise VerificationError(
            first.code if first else "signature.missing",
            first.message if first else "the job is not verified",
            help="a signer never only observes",
        )
    # 2.
    if decision.proof is not Proof.SEAL or not decision.seal_digest:
        raise VerificationError(
            "seal.missing", "the upload step is not sealed", help="seal it: pipeseal tool sign, without --no-seal"
        )
    if decision.place is None:
        raise VerificationError(
            "signer.unbound",
            "the upload step is sealed for any organisation or pipeline, so the server could choose which",
            help="sign it again with --organization-slug and --pipeline-slug",
        )
    # 3.
    env = decision.env
    revision = Revision(
        commit=decision.commit,
        branch=decision.branch,
        tag=env.get("BUILDKITE_TAG", ""),
        pull_request=env.get("BUILDKITE_PULL_REQUEST", ""),
    )
    bindings = uploader_bindings({**env, "BUILDKITE_COMMIT": revision.commit})
    is_head = revision.commit == HEAD and not revision.tag and revision.pull_request in ("", "false")
    if "BUILDKITE_BUILD_ID" not in bindings:
        raise VerificationError("signer.unbound", "the job names no build that its steps could be bound to")
    if "BUILDKITE_COMMIT" not in bindings and not is_head:
        raise VerificationError(
            "commit.not_full",
            f"the build's commit is {escape_control(revision.commit[:80])!r}, which can be another one tomorrow",
            help="create builds with a full object id",
        )
    # 4.
    rule, files = _find_rule(decision, rules)
    # 5.
    _check_revision(rule, revision)
    return VerifiedUpload(
        _MAKER,
        approved=decision,
        rule=rule,
        revision=revision,
        files=files,
        bindings=MappingProxyType(bindings),
    )


def _find_rule(approved: ApprovedJob, rules: tuple[UploadRule, ...]) -> tuple[UploadRule, tuple[str, ...] | None]:
    assert approved.place is not None  # checked before
    organization, pipeline = approved.place
    plain = plain_upload(approved.command)
    for rule in rules:
        wanted = (
            (rule.repositories, approved.repository_url),
            (rule.organizations, organization),
            (rule.pipelines, pipeline),
            (rule.steps, approved.step.key),
        )
        if not all(patterns is None or patterns.match(value) for patterns, value in wanted):
            continue
        if rule.commands is None:
            if plain is not None:
                return rule, plain or DEFAULT_FILES
        elif approved.command.strip() in {command.strip() for command in rule.commands}:
            return rule, None if rule.files is not None else DEFAULT_FILES
    raise VerificationError(
        "signer.not_upload_step",
        "the signer's file does not allow this step to upload",
        help="an upload step's whole command is `buildkite-agent pipeline upload [FILE]`, or what an [[upload]] says",
        evidence={"repository": approved.repository_url, "pipeline": f"{organization}/{pipeline}"},
    )


def plain_upload(command: str) -> tuple[str, ...] | None:
    """The files that a command uploads which does nothing else: none or one; None for any other command.

    Parameters:
        command: the whole of it.
    """
    text = command.strip()
    if "\n" in text:
        return None
    try:
        words = shlex.split(text)
    except ValueError:
        return None
    if len(words) < 3 or words[0] not in _PROGRAMS or words[1:3] != ["pipeline", "upload"]:
        return None
    rest = [word for word in words[3:] if word != "--replace"]
    if len(rest) > 1 or any(not _PLAIN_WORD.fullmatch(word) or word.startswith("-") for word in rest):
        return None
    try:
        return tuple(clean_path(word) for word in rest)
    except VerificationError:
        return None


def _check_revision(rule: UploadRule, revision: Revision) -> None:
    branch = escape_control(revision.branch[:200])
    if revision.tag and not rule.tags:
        raise VerificationError(
            "branch.not_allowed",
            "the build is of a tag, and the signer's file allows branches alone",
            help="say tags = true in its [[upload]] if whoever may push tags may decide what runs",
        )
    if revision.pull_request not in ("", "false") and not rule.pull_requests:
        raise VerificationError(
            "pull_request.not_allowed",
            "the build is of a pull request, and the signer signs nothing that anybody may have written",
            help="say pull-requests = true in its [[upload]] if the agents that run them hold no secrets",
        )
    if rule.branches is not None and not rule.branches.match(revision.branch):
        raise VerificationError(
            "branch.not_allowed",
            f"the signer's file does not allow uploads from the branch {branch!r}",
            evidence={"branch": revision.branch, "allowed": str(rule.branches)},
        )


def verify_path(upload: VerifiedUpload, path: str) -> str:
    """The file that a job asks for, when its step may upload that one.

    Plan:
        1. The path stays inside the repository.
        2. A plain upload step names it in its command, or it has one of the default names; else the rule allows it.

    Does not check: that there is such a file.

    Parameters:
        path: as the job says.

    Raises:
        VerificationError: `signer.file`.
    """
    # 1.
    name = clean_path(path)
    # 2.
    patterns = upload.rule.files
    if not (name in upload.files if upload.files is not None else patterns is not None and patterns.match(name)):
        raise VerificationError(
            "signer.file",
            f"this step may not upload {escape_control(name[:200])!r}",
            help="its command names the file that it uploads, or `files` in the signer's file does",
        )
    return name

"""Verifying that a job keeps to its signed step: same command, variables and plugins, allowed matrix values."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from pipeseal.errors import MalformedInput, VerificationError
from pipeseal.pipeline.matrix import interpolate_matrix
from pipeseal.pipeline.steps import CommandStep
from pipeseal.signing.fields import BY_NAME, Difference
from pipeseal.signing.jws import signer_evidence
from pipeseal.signing.keys.verification_keys import VerificationKeys
from pipeseal.signing.verify import VerifiedStep, verify_step

_PROOF: Final = object()


class VerifiedJobStep:
    """A job's step, proven to be signed, with the job's matrix values in it, and matched by the job's environment.

    Only `verify_job_step` makes one.

    Parameters:
        verified: the signed step as it was signed.
        step: the whole step with matrix values put in; its members that no signature covers are the server's word.
    """

    __slots__ = ("step", "verified")

    def __init__(self, proof: object, *, verified: VerifiedStep, step: CommandStep) -> None:
        if proof is not _PROOF:
            raise TypeError("a VerifiedJobStep is made by verify_job_step, and by nothing else")
        self.verified = verified
        self.step = step


class StepNotProven(VerificationError):
    """The job's step is not signed by a trusted key as it stands."""


class JobDiffers(VerificationError):
    """The job's step is proven, and the job does not keep to it."""


def verify_job_step(
    step: CommandStep,
    *,
    env: Mapping[str, str],
    matrix_permutation: Mapping[str, str] | None,
    keys: VerificationKeys,
) -> VerifiedJobStep:
    """The step that a job should run, proven, with the job's matrix values put in.

    Plan:
        1. The step's signature, with the job's variables and its repository (`BUILDKITE_REPO`), see `verify_step`.
        2. The job's matrix values are a combination that the signed step allows; they are put into the step. Every
           token of the step has a value, in parts that no signature covers too.
        3. Every signed field is compared with the job by its own rule, see `fields.py`; one without a rule is
            refused.

    Does not check: variables that no signature covers; that the job belongs to the build, branch or commit it claims,
    unless the signature is bound to them; that this is the first time the step is run.

    Parameters:
        step: the job's step as received.
        env: the job's variables.
        matrix_permutation: dimension to value; None when the job has none.
        keys: the trusted keys.

    Raises:
        StepNotProven: step 1 failed; with the code that `verify_step` gave.
        JobDiffers: step 2 (`matrix.permutation`, `matrix.adjustment`, `matrix.skipped`, `matrix.token`) or step 3
            (`command.differs`, `environment.differs`, `plugins.differ`, `field.uncheckable`; all differing fields are
            named, the first gives the code).
    """
    # 1.
    try:
        verified = verify_step(step, env=env, repository_url=env.get("BUILDKITE_REPO", ""), keys=keys)
    except VerificationError as error:
        raise StepNotProven(
            error.code, error.message, help=error.help, evidence=error.evidence, fields=error.fields
        ) from None
    signer = signer_evidence(verified.key)
    # 2.
    try:
        placed = interpolate_matrix(step, matrix_permutation or {})
    except (VerificationError, MalformedInput) as error:
        raise JobDiffers(
            error.code, error.message, help=error.help, evidence=signer | error.evidence, fields=("matrix",)
        ) from None
    # 3.
    differences: list[Difference] = []
    for name in verified.signed_fields:
        row = BY_NAME.get(name)
        # `env::NAME` fields took their value from the job itself when the signature was checked.
        if row is not None:
            differences += row.compare(placed, env)
    if differences:
        evidence = dict(signer)
        for difference in differences:
            evidence |= difference.evidence
        raise JobDiffers(
            differences[0].code,
            "; ".join(difference.message for difference in differences),
            evidence=evidence,
            fields=[difference.field for difference in differences],
        )
    return VerifiedJobStep(_PROOF, verified=verified, step=placed)

"""Verifying a step's signature: who signed it, and that it is what they signed."""

from __future__ import annotations

from collections.abc import Mapping
from hashlib import sha256
from types import MappingProxyType
from typing import Final

from pipeseal.errors import VerificationError
from pipeseal.pipeline.steps import CommandStep
from pipeseal.signing.fields import ENVIRONMENT_PREFIX, values_to_verify
from pipeseal.signing.jws import verify_jws
from pipeseal.signing.keys.verification_keys import TrustedKey, VerificationKeys
from pipeseal.signing.payload import render_payload

_PROOF: Final = object()


class VerifiedStep:
    """A step whose signature was checked: the proof that its members are what the key's owner signed.

    Only `verify_step` makes one. It holds what the signature covers and nothing else: no label, no key, no agents, no
    retry rules.

    Parameters:
        step: the proven members: command, env, plugins, secrets, matrix, checkout. Matrix tokens are not replaced.
        repository_url: the repository that the signature is for.
        environment: proven variables from outside the step.
        key: the trusted key that signed.
        signed_fields: names of everything the signature covers.
        digest: SHA-256 of the signed payload in lower-case hex: the name of what was signed. It is the payload's and
            not the signature's, since many signatures of one payload can be right.
    """

    __slots__ = ("digest", "environment", "key", "repository_url", "signed_fields", "step")

    def __init__(
        self,
        proof: object,
        *,
        step: CommandStep,
        repository_url: str,
        environment: Mapping[str, str],
        key: TrustedKey,
        signed_fields: tuple[str, ...],
        digest: str,
    ) -> None:
        if proof is not _PROOF:
            raise TypeError("a VerifiedStep is made by verify_step, and by nothing else")
        self.step = step
        self.repository_url = repository_url
        self.environment = environment
        self.key = key
        self.signed_fields = signed_fields
        self.digest = digest

    def __repr__(self) -> str:
        return f"<VerifiedStep signed by {self.key.kid!r}>"


def verify_step(
    step: CommandStep, *, env: Mapping[str, str], repository_url: str, keys: VerificationKeys
) -> VerifiedStep:
    """The step, proven to be what a trusted key signed.

    Plan:
        1. There is a signature.
        2. It covers what it must, and everything it covers is known here: fields of the step, the repository,
            variables.
        3. The payload is built again, from this step, this repository and these variables, exactly.
        4. A trusted key signed that payload.

    Does not check: that a job carrying the step keeps to it (see `job.py`); members that no signature covers (label,
    key, agents, conditions, retries, timeouts, artifacts, cache); how old the signature is, or how often it was used.

    Parameters:
        step: the step as received.
        env: the variables that `env::NAME` fields are looked up in: a job's environment, or a pipeline's when
            verifying a file.
        repository_url: the repository's URL.
        keys: the trusted keys.

    Raises:
        VerificationError: `signature.missing`; `field.none`, `field.unknown`, `field.not_signed`,
            `environment.missing`, `field.repeated`; `number.unsafe`, `payload.value`; `signature.malformed`,
            `key.unknown`, `key.unsuitable`, `algorithm.mismatch`, `signature.mismatch`. Checked in this order.
    """
    # 1.
    signature = step.signature
    if signature is None:
        raise VerificationError(
            "signature.missing",
            "the step has no signature",
            help="sign it, with `pipeseal tool sign` or at upload",
        )
    # 2.
    values = values_to_verify(step, signature.signed_fields, repository_url=repository_url, environment=env)
    # 3.
    payload = render_payload(signature.algorithm, values)
    # 4.
    key = verify_jws(signature.value, payload, keys, algorithm=signature.algorithm)
    return VerifiedStep(
        _PROOF,
        step=CommandStep(
            command=step.command,
            env=step.env,
            plugins=step.plugins,
            secrets=step.secrets,
            matrix=step.matrix,
            checkout=step.checkout,
        ),
        repository_url=repository_url,
        environment=MappingProxyType(
            {name[5:]: value for name, value in values.items() if name.startswith(ENVIRONMENT_PREFIX)}
        ),
        key=key,
        signed_fields=tuple(values),
        digest=sha256(payload).hexdigest(),
    )

"""The one table of signed fields: what each covers, when it must be covered, and how a job is compared with it.

Signing takes its values from here, verifying its demands, job verification its comparisons, and the docs their list.
Besides the table there are `env::NAME` fields, one for each variable signed from outside the step.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from hashlib import sha256
from typing import Any, NamedTuple

from pipeseal.errors import MalformedInput, VerificationError
from pipeseal.pipeline.render import checkout_value, matrix_value, plugins_value, secrets_value
from pipeseal.pipeline.steps import CommandStep, Matrix
from pipeseal.signing.payload import render_canonical
from pipeseal.signing.strictjson import decode_strict_json

ENVIRONMENT_PREFIX = "env::"


class Difference(NamedTuple):
    """One thing in which a job is not what its signed step says.

    Parameters:
        field: the signed field's name.
        code: what to explain.
        message: what differs, without values.
        evidence: name to what was compared, digests in place of values.
    """

    field: str
    code: str
    message: str
    evidence: dict[str, str]


class Field(NamedTuple):
    """One row.

    Parameters:
        name: as `signed_fields` lists it.
        mandatory: in words, when a signature must cover it.
        is_mandatory: whether this step's signature must cover it; signing covers exactly what is mandatory.
        value: the step's value in the payload, given the repository's URL.
        compared: in words, what the job is compared with.
        compare: the job's differences, given the step after its matrix values are put in and the job's variables.
    """

    name: str
    mandatory: str
    is_mandatory: Callable[[CommandStep], bool]
    value: Callable[[CommandStep, str], Any]
    compared: str
    compare: Callable[[CommandStep, Mapping[str, str]], list[Difference]]


def digest_of(text: str) -> str:
    """A value's digest as evidence shows it: tells values apart without showing them."""
    return f"sha256 {sha256(text.encode('utf-8', 'surrogatepass')).hexdigest()[:12]}…"


def _always(_step: CommandStep) -> bool:
    return True


def _nothing(_step: CommandStep, _environment: Mapping[str, str]) -> list[Difference]:
    return []


def is_empty_matrix(matrix: Matrix | None) -> bool:
    """Whether a matrix is signed as none: no dimensions, no adjustments, no unknown members."""
    return matrix is None or not (matrix.setup or matrix.adjustments or matrix.rest)


def _matrix(step: CommandStep, _repository_url: str) -> Any:
    return None if step.matrix is None or is_empty_matrix(step.matrix) else matrix_value(step.matrix)


def _plugins(step: CommandStep, _repository_url: str) -> Any:
    return plugins_value(step.plugins) if step.plugins else None


def _secrets(step: CommandStep, _repository_url: str) -> Any:
    return secrets_value(step.secrets) if step.secrets else None


def _checkout(step: CommandStep, _repository_url: str) -> Any:
    return checkout_value(step.checkout) if step.checkout and not step.checkout.is_empty else None


def _compare_command(step: CommandStep, environment: Mapping[str, str]) -> list[Difference]:
    received = environment.get("BUILDKITE_COMMAND", "")
    if received == step.command:
        return []
    evidence = {"command": f"signed {digest_of(step.command)}, received {digest_of(received)}"}
    return [Difference("command", "command.differs", "the command is not the one that was signed", evidence)]


def _compare_env(step: CommandStep, environment: Mapping[str, str]) -> list[Difference]:
    evidence: dict[str, str] = {}
    for name, value in step.env.items():
        received = environment.get(name)
        if received is None:
            evidence[f"env {name}"] = f"signed {digest_of(value)}, missing from the job"
        elif received != value:
            evidence[f"env {name}"] = f"signed {digest_of(value)}, received {digest_of(received)}"
    if not evidence:
        return []
    names = ", ".join(name.removeprefix("env ") for name in evidence)
    message = f"variables are not as they were signed: {names}"
    return [Difference("env", "environment.differs", message, evidence)]


# What a job says when it has no plugins; nothing else means none.
_NO_PLUGINS = frozenset({"", "null", "[]"})


def _compare_plugins(step: CommandStep, environment: Mapping[str, str]) -> list[Difference]:
    text = environment.get("BUILDKITE_PLUGINS", "")
    if not step.plugins and text in _NO_PLUGINS:
        return []
    signed = render_canonical(plugins_value(step.plugins)) if step.plugins else b"none"
    try:
        received = (
            b"none" if text in _NO_PLUGINS else render_canonical(decode_strict_json(text, source="BUILDKITE_PLUGINS"))
        )
    except (MalformedInput, VerificationError) as error:
        evidence = {"plugins": f"signed {digest_of(signed.decode())}, received {digest_of(text)}"}
        return [Difference("plugins", "plugins.differ", f"the job's plugins cannot be read: {error}", evidence)]
    if signed == received:
        return []
    evidence = {"plugins": f"signed {digest_of(signed.decode())}, received {digest_of(received.decode())}"}
    return [Difference("plugins", "plugins.differ", "the plugins are not the ones that were signed", evidence)]


def _compare_checkout(_step: CommandStep, _environment: Mapping[str, str]) -> list[Difference]:
    # Agents of this protocol refuse every signed field that they have no comparison for, and this one has none.
    message = "the signature covers `checkout`, which a job has nothing to compare with"
    return [Difference("checkout", "field.uncheckable", message, {})]


FIELDS: tuple[Field, ...] = (
    Field(
        "command",
        "always",
        _always,
        lambda step, _repository_url: step.command,
        "equal to `BUILDKITE_COMMAND`; a missing variable is an empty command",
        _compare_command,
    ),
    Field(
        "env",
        "always",
        _always,
        lambda step, _repository_url: step.env or None,
        "every variable of the step is in the job, with an equal value",
        _compare_env,
    ),
    Field("matrix", "always", _always, _matrix, "through the other fields, which its values are put into", _nothing),
    Field("plugins", "always", _always, _plugins, "equal to `BUILDKITE_PLUGINS` as canonical JSON", _compare_plugins),
    Field(
        "repository_url",
        "always",
        _always,
        lambda _step, repository_url: repository_url,
        "the signature is checked with the job's own `BUILDKITE_REPO`",
        _nothing,
    ),
    Field(
        "secrets",
        "when the step has any",
        lambda step: bool(step.secrets),
        _secrets,
        "the names are taken from the signed step itself",
        _nothing,
    ),
    Field(
        "checkout",
        "when the step has any such settings",
        lambda step: step.checkout is not None and not step.checkout.is_empty,
        _checkout,
        "not at all: every agent refuses such a job",
        _compare_checkout,
    ),
)

BY_NAME: dict[str, Field] = {row.name: row for row in FIELDS}


def values_to_sign(step: CommandStep, *, repository_url: str, environment: Mapping[str, str]) -> dict[str, Any]:
    """What a signature of `step` covers: field name to value.

    Parameters:
        step: the step.
        repository_url: the repository's URL, as the job will have it in `BUILDKITE_REPO`.
        environment: variables from outside the step; those that the step sets itself are covered by its `env`.
    """
    values = {row.name: row.value(step, repository_url) for row in FIELDS if row.is_mandatory(step)}
    for name, value in environment.items():
        if name not in step.env:
            values[ENVIRONMENT_PREFIX + name] = value
    return values


def values_to_verify(
    step: CommandStep, signed_fields: list[str] | None, *, repository_url: str, environment: Mapping[str, str]
) -> dict[str, Any]:
    """What a signature over `signed_fields` must have covered for this step, repository and environment.

    Parameters:
        step: the step.
        signed_fields: names from the signature, untrusted.
        repository_url: the repository's URL.
        environment: the job's variables.

    Raises:
        VerificationError: `field.none`, `field.unknown`, `field.not_signed`, `environment.missing`, `field.repeated`,
            each with all the fields it is about.
    """
    if not signed_fields:
        raise VerificationError("field.none", "the signature covers no fields", help="sign the step again")
    values: dict[str, Any] = {}
    unknown: list[str] = []
    missing: list[str] = []
    for name in signed_fields:
        row = BY_NAME.get(name)
        if row is not None:
            values[name] = row.value(step, repository_url)
        elif not name.startswith(ENVIRONMENT_PREFIX):
            unknown.append(name)
        else:
            value = environment.get(name[5:])
            if value is None:
                missing.append(name)
            else:
                values[name] = value
    if unknown:
        raise _field_error("field.unknown", "the signature covers fields that are not known here", unknown)
    unsigned = [row.name for row in FIELDS if row.name not in values and row.is_mandatory(step)]
    if unsigned:
        raise _field_error("field.not_signed", "the signature does not cover what it must", unsigned)
    if missing:
        raise _field_error("environment.missing", "signed variables are missing from the job", missing)
    if len(values) != len(signed_fields):
        repeated = sorted({name for name in signed_fields if signed_fields.count(name) > 1})
        raise _field_error("field.repeated", "the signature lists fields twice", repeated)
    return values


def _field_error(code: str, message: str, fields: list[str]) -> VerificationError:
    names = ", ".join(fields)
    return VerificationError(code, f"{message}: {names}", fields=fields)

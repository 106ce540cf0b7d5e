"""`pipeseal tool verify`: for each step of a signed file, who signed and sealed what."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import click

from pipeseal.cli.exits import CANNOT_CHECK, DONE, exit_status, worst

if TYPE_CHECKING:
    from pipeseal.errors import VerificationError
    from pipeseal.pipeline.steps import CommandStep, Pipeline
    from pipeseal.signing.keys.verification_keys import VerificationKeys

_STATES = {20: "unsigned", 21: "unknown_signer", 22: "failed", 23: "cannot_check"}


class Outcome(NamedTuple):
    """What was found of one step.

    Parameters:
        place: where the step stands, in words.
        name: its label, key, or the beginning of its command.
        state: `verified`, `unsigned`, `unknown_signer`, `cannot_check` or `failed`.
        status: exit status that belongs to it.
        kid, thumbprint: who signed; empty when that is not proven.
        fields: what the signature covers; what differs or is missing when it failed.
        code, message: why not, when not verified.
        seal: what its seal says, see `tool_verify_seal.describe_seal`; None when it did not come to that.
    """

    place: str
    name: str
    state: str
    status: int
    kid: str = ""
    thumbprint: str = ""
    fields: tuple[str, ...] = ()
    code: str = ""
    message: str = ""
    seal: dict[str, Any] | None = None


@click.command("verify")
@click.argument("file", type=click.Path(allow_dash=True, path_type=Path))
@click.option(
    "--jwks-file",
    envvar="BUILDKITE_AGENT_VERIFICATION_JWKS_FILE",
    metavar="FILE",
    help="Key file with the public keys of the signers you trust.",
)
@click.option(
    "--repo",
    required=True,
    envvar="BUILDKITE_REPO",
    metavar="URL",
    help="The repository's URL, exactly as jobs have it.",
)
@click.option("--organization-slug", metavar="SLUG", help="Organisation that the steps are bound to.")
@click.option("--pipeline-slug", metavar="SLUG", help="Pipeline that the steps are bound to.")
@click.option(
    "--env", "variables", multiple=True, metavar="NAME=VALUE", help="Another variable that the steps are bound to."
)
@click.option("-o", "--output", type=click.Choice(["text", "json"]), default="text", help="Text, or JSON for tools.")
def tool_verify(
    file: Path,
    jwks_file: str | None,
    repo: str,
    organization_slug: str | None,
    pipeline_slug: str | None,
    variables: tuple[str, ...],
    output: str,
) -> None:
    """Say for each step of a signed file who signed and sealed what.

    \b
    Examples:
      pipeseal tool verify signed.yml --jwks-file verify.json --repo git@example.org:acme/app.git
      pipeseal tool verify signed.yml --jwks-file verify.json --repo URL -o json

    \b
    A step without a seal is verified by its signature; the answer says that it is not sealed. A seal that is there
    has to hold: whole, of now, for --repo, and of the step as it stands.

    \b
    Exit status, the worst of all steps:
      0   at least one step, and every step verified
      20  a step is not signed          22  a step is not what was signed
      21  signed by an untrusted key    23  a step cannot be checked, or there is none
    """
    from pipeseal.errors import ConfigurationError, MalformedInput, VerificationError
    from pipeseal.pipeline.parse import parse_all
    from pipeseal.pipeline.steps import CommandStep, UnknownStep
    from pipeseal.signing.keys.open import load_verification_keys
    from pipeseal.signing.sign import walk_steps

    if not jwks_file:
        raise VerificationError(
            "key.none",
            "there are no keys to verify with",
            help="give the public keys of the signers you trust with --jwks-file",
        )
    keys = load_verification_keys(jwks_file)
    given = _variables(variables, organization_slug, pipeline_slug)
    source = "<stdin>" if str(file) == "-" else str(file)
    try:
        data = sys.stdin.buffer.read() if str(file) == "-" else file.read_bytes()
    except OSError as error:
        raise ConfigurationError(
            "signing.file", f"{file} cannot be read: {error.strerror}", help="check the path, and who may read it"
        ) from None

    outcomes: list[Outcome] = []
    for document, parsed in enumerate(parse_all(data, source=source), 1):
        if isinstance(parsed, MalformedInput):
            raise parsed
        prefix = f"document {document}, step" if document > 1 else "step"
        for place, step in walk_steps(parsed.steps, prefix):
            if isinstance(step, CommandStep):
                outcomes.append(_verify(place, step, parsed, given, repo, keys))
            elif isinstance(step, UnknownStep):
                why = step.reason or "it is of no known kind"
                outcomes.append(
                    Outcome(place, "", "cannot_check", CANNOT_CHECK, code="signing.unknown_step", message=why)
                )
    status = worst([outcome.status for outcome in outcomes]) if outcomes else CANNOT_CHECK
    if output == "json":
        _print_json(source, outcomes, status)
    else:
        _print_text(source, outcomes, status)
    sys.exit(status)


def _variables(pairs: tuple[str, ...], organization: str | None, pipeline: str | None) -> dict[str, str]:
    variables: dict[str, str] = {}
    if organization is not None:
        variables["BUILDKITE_ORGANIZATION_SLUG"] = organization
    if pipeline is not None:
        variables["BUILDKITE_PIPELINE_SLUG"] = pipeline
    for pair in pairs:
        name, equals, value = pair.partition("=")
        if not name or not equals:
            raise click.UsageError(f"--env {pair!r} is not NAME=VALUE.")
        variables[name] = value
    return variables


def _verify(
    place: str, step: CommandStep, pipeline: Pipeline, given: dict[str, str], repo: str, keys: VerificationKeys
) -> Outcome:
    from pipeseal.cli.tool_verify_seal import describe_seal, verify_step_seal
    from pipeseal.errors import VerificationError
    from pipeseal.signing.bindings import STEP_KEY
    from pipeseal.signing.verify import verify_step

    env = {**pipeline.env, **given}
    name = step.label or step.key or step.command.partition("\n")[0]
    if step.key:
        env = {STEP_KEY: step.key, **env}  # what the step's job will have
    try:
        verified = verify_step(step, env=env, repository_url=repo, keys=keys)
    except VerificationError as error:
        status = CANNOT_CHECK if error.code == "environment.missing" else exit_status(error)
        return Outcome(
            place,
            name,
            _STATES[status],
            status,
            fields=error.fields,
            code=error.code,
            message=_message(error),
        )
    key = verified.key
    signed = Outcome(place, name, "verified", DONE, key.kid, key.thumbprint, verified.signed_fields)
    try:
        seal = verify_step_seal(step, pipeline, given, repo, keys, signer=key.kid)
    except VerificationError as error:
        status = exit_status(error)
        state = _STATES[status]
        failed = {"state": state, "code": error.code}
        return signed._replace(
            state=state, status=status, fields=error.fields, code=error.code, message=error.message, seal=failed
        )
    return signed._replace(seal=describe_seal(seal))


def _message(error: VerificationError) -> str:
    if error.code == "environment.missing":
        names = ", ".join(field.removeprefix("env::") for field in error.fields)
        return f"it is bound to variables that were not given: {names} (give them with --env NAME=VALUE)"
    return error.message


def _print_text(source: str, outcomes: list[Outcome], status: int) -> None:
    from pipeseal.cli.tool_verify_seal import words_of_seal
    from pipeseal.errors import escape_control

    utf8 = (sys.stdout.encoding or "").lower().replace("-", "") == "utf8"
    marks = {"verified": "✓" if utf8 else "[ok]", "failed": "✗" if utf8 else "[FAIL]"}
    for outcome in outcomes:
        mark = marks.get(outcome.state, "?" if utf8 else "[?]")
        name = f' "{escape_control(outcome.name[:60])}"' if outcome.name else ""
        if outcome.state == "verified":
            signer = f"{escape_control(outcome.kid)} ({outcome.thumbprint[:8]}…)"
            click.echo(f"  {mark} {outcome.place}{name}  signed by {signer}")
            click.echo(f"      covers {escape_control(' '.join(outcome.fields))}")
            click.echo(f"      {escape_control(words_of_seal(outcome.seal))}")
        else:
            words = outcome.state.replace("_", " ")
            click.echo(f"  {mark} {outcome.place}{name}  {words} [{outcome.code}]")
            click.echo(f"      {escape_control(outcome.message)}")
    shown = escape_control(source)
    if not outcomes:
        click.echo(f"Cannot check: {shown} has no command steps.")
    elif status == DONE:
        signers = sorted({f"{outcome.kid} ({outcome.thumbprint[:8]}…)" for outcome in outcomes})
        count = len(outcomes)
        steps = "1 step" if count == 1 else f"{count} of {count} steps"
        sealed = sum(outcome.seal is not None and outcome.seal["state"] == "verified" for outcome in outcomes)
        seals = {0: "none is sealed", count: "sealed too"}.get(sealed, f"{sealed} of them sealed too")
        click.echo(escape_control(f"Verified: {steps} of {source} signed by {', '.join(signers)}; {seals}."))
    else:
        good = sum(outcome.state == "verified" for outcome in outcomes)
        verdicts = {20: "Not signed", 21: "Unknown signer", 22: "FAILED", 23: "Cannot check"}
        click.echo(f"{verdicts[status]}: {good} of {len(outcomes)} steps of {shown} verified.")
        codes = list(dict.fromkeys(outcome.code for outcome in outcomes if outcome.code))
        click.echo(f"more: pipeseal explain {codes[0]}", err=True)


def _print_json(source: str, outcomes: list[Outcome], status: int) -> None:
    import json

    document = {
        "subject": source,
        "state": "verified" if status == DONE else _STATES[status],
        "exit": status,
        "steps": [outcome._asdict() for outcome in outcomes],
    }
    click.echo(json.dumps(document, indent=2))

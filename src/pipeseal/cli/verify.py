"""`pipeseal verify`: who signed the steps of a build, checked with this program and keys of one's own."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import click

from pipeseal.cli.exits import CANNOT_CHECK, DONE, exit_status, worst

if TYPE_CHECKING:
    from pipeseal.signing.evidence import Evidence

_STATES = {0: "verified", 20: "unsigned", 21: "unknown_signer", 22: "failed", 23: "cannot_check", 24: "missing"}
_WORDS = {20: "Not signed", 21: "Unknown signer", 22: "FAILED", 23: "Cannot check", 24: "Missing"}
_PAGE = 100


class Outcome(NamedTuple):
    """What was found of one job.

    Parameters:
        job: its name.
        state: one of the states of trust.
        status: exit status that belongs to it.
        kid, thumbprint: who signed; empty when that is not proven.
        code, message: why not, when not verified.
    """

    job: str
    state: str
    status: int
    kid: str = ""
    thumbprint: str = ""
    code: str = ""
    message: str = ""


@click.command("verify")
@click.argument("target", metavar="BUILD")
@click.option(
    "--jwks-file",
    required=True,
    envvar="BUILDKITE_AGENT_VERIFICATION_JWKS_FILE",
    metavar="FILE",
    help="Key file with the public keys of the signers you trust.",
)
@click.option(
    "--token-file",
    type=click.Path(path_type=Path, dir_okay=False),
    envvar="PIPESEAL_TOKEN_FILE",
    help="File with the API token, for an address; or set PIPESEAL_TOKEN.",
)
@click.option("-o", "--output", type=click.Choice(["text", "json"]), default="text", help="Text, or JSON for tools.")
def verify(target: str, jwks_file: str, token_file: Path | None, output: str) -> None:
    """Verify who signed the steps of a build, without the server's pages.

    BUILD is the address of a build's page, or a file of evidence that its Trust tab saved.

    \b
    Examples:
      pipeseal verify https://ci.example.org/acme/app/builds/148 --jwks-file verification.json
      pipeseal verify app-148-evidence.json --jwks-file verification.json -o json

    \b
    Checked: each step's signature and seal, and that they are for this organisation, pipeline, build, commit and
    command. Not checked: what happened then (states, logs and artifacts are the server's word), and whether it
    leaves steps out.

    \b
    Exit status, the worst of all jobs:
      0   at least one job, and every step verified
      20  a step is not signed          22  a step is not what was signed
      21  signed by an untrusted key    23  a step cannot be checked, or there is none
      24  the server does not deliver what was signed
    """
    from pipeseal.signing.keys.open import load_verification_keys

    keys = load_verification_keys(jwks_file)
    evidence = _fetch(target, token_file) if "://" in target else _read(Path(target))
    outcomes = []
    for shown in evidence.jobs:
        from pipeseal.errors import MalformedInput, VerificationError
        from pipeseal.signing.evidence import verify_shown_job

        try:
            key = verify_shown_job(shown, evidence, keys)
        except (VerificationError, MalformedInput) as error:
            status = exit_status(error) if isinstance(error, VerificationError) else CANNOT_CHECK
            outcomes.append(Outcome(shown.name, _STATES[status], status, code=error.code, message=error.message))
        else:
            outcomes.append(Outcome(shown.name, "verified", DONE, key.kid, key.thumbprint))
    status = worst([outcome.status for outcome in outcomes]) if outcomes else CANNOT_CHECK
    if output == "json":
        import json

        build = f"{evidence.organization}/{evidence.pipeline}#{evidence.build.get('number')}"
        jobs = [outcome._asdict() for outcome in outcomes]
        click.echo(json.dumps({"subject": build, "state": _STATES[status], "exit": status, "jobs": jobs}, indent=2))
    else:
        _print_text(evidence, outcomes, status)
    sys.exit(status)


def _read(path: Path) -> Evidence:
    from pipeseal.errors import ConfigurationError
    from pipeseal.signing.evidence import parse_evidence

    try:
        data = path.read_bytes()
    except OSError as error:
        raise ConfigurationError(
            "signing.file", f"{path} cannot be read: {error.strerror}", help="check the path, and who may read it"
        ) from None
    return parse_evidence(data, source=str(path))


def _fetch(address: str, token_file: Path | None) -> Evidence:
    from urllib.parse import unquote, urlsplit

    from pipeseal.cli.rest_client import open_client
    from pipeseal.errors import MalformedInput
    from pipeseal.signing.evidence import make_evidence

    parts = urlsplit(address)
    segments = [unquote(segment) for segment in parts.path.strip("/").split("/")]
    if len(segments) < 4 or segments[-2] != "builds" or not segments[-1].isdigit():
        raise click.UsageError(
            f"{address!r} is not the address of a build, such as https://HOST/ORG/SLUG/builds/148."
        )
    *prefix, organization, pipeline, _, number = segments
    server = f"{parts.scheme}://{parts.netloc}" + "".join(f"/{segment}" for segment in prefix)
    client = open_client(server, token_file, organization)
    try:
        build = client.get("pipelines", pipeline, "builds", int(number))
        steps: list[object] = []
        page = 1
        while True:
            query: dict[str, str | int] = {"per_page": _PAGE, "page": page}
            found = client.get("pipelines", pipeline, "builds", int(number), "signed-steps", query=query)
            if not isinstance(found, list):
                raise MalformedInput("evidence.malformed", "the server's answer is no list of steps")
            steps += found
            if len(found) < _PAGE:
                break
            page += 1
    finally:
        client.close()
    if not isinstance(build, dict) or not isinstance(build.get("jobs"), list):
        raise MalformedInput("evidence.malformed", "the server's answer is no build with jobs")
    return make_evidence(
        server=server, organization=organization, pipeline=pipeline, build=build, jobs=build["jobs"], steps=steps
    )


def _print_text(evidence: Evidence, outcomes: list[Outcome], status: int) -> None:
    from pipeseal.errors import escape_control

    utf8 = (sys.stdout.encoding or "").lower().replace("-", "") == "utf8"
    marks = {"verified": "✓" if utf8 else "[ok]", "failed": "✗" if utf8 else "[FAIL]"}
    for outcome in outcomes:
        mark = marks.get(outcome.state, "?" if utf8 else "[?]")
        name = escape_control(outcome.job[:60])
        if outcome.state == "verified":
            click.echo(f"  {mark} {name}  signed by {escape_control(outcome.kid)} ({outcome.thumbprint[:8]}…)")
        else:
            click.echo(f"  {mark} {name}  {outcome.state.replace('_', ' ')} [{outcome.code}]")
            click.echo(f"      {escape_control(outcome.message)}")
    build = escape_control(f"{evidence.organization}/{evidence.pipeline} #{evidence.build.get('number')}")
    good = sum(outcome.state == "verified" for outcome in outcomes)
    if status == DONE:
        signers = sorted({f"{outcome.kid} ({outcome.thumbprint[:8]}…)" for outcome in outcomes})
        who = escape_control(", ".join(signers))
        click.echo(f"Verified: steps of all {len(outcomes)} jobs of {build} signed by {who}.")
    else:
        click.echo(f"{_WORDS[status]}: steps of {good} of {len(outcomes)} jobs of {build} verified.")
        codes = list(dict.fromkeys(outcome.code for outcome in outcomes if outcome.code))
        if codes:
            click.echo(f"more: pipeseal explain {codes[0]}", err=True)

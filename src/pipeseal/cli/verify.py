"""`pipeseal verify`: who signed the steps of a build, checked with this program and keys of one's own."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import click

from pipeseal.cli.exits import CANNOT_CHECK, DONE, EVIDENCE_MISSING, KEY_REVOKED, exit_status, worst

if TYPE_CHECKING:
    from pipeseal.cli.verify_source import Asked
    from pipeseal.signing.evidence import Evidence, ProvenStep, ShownJob
    from pipeseal.signing.keys.verification_keys import VerificationKeys

_STATES = {
    0: "verified",
    20: "unsigned",
    21: "unknown_signer",
    22: "failed",
    23: "cannot_check",
    24: "missing",
    25: "revoked",
}
_WORDS = {
    20: "Not signed",
    21: "Unknown signer",
    22: "FAILED",
    23: "Cannot check",
    24: "Missing",
    25: "Revoked",
}


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
@click.argument("target", metavar="[BUILD]", required=False)
@click.option(
    "--jwks-file",
    envvar="BUILDKITE_AGENT_VERIFICATION_JWKS_FILE",
    metavar="FILE",
    help="Key file with the public keys of the signers you trust.  [default: ~/.config/pipeseal/verification.json]",
)
@click.option(
    "--pin",
    "pinned",
    multiple=True,
    metavar="THUMBPRINT",
    help="Trust exactly the key with this thumbprint; repeatable. Links carry it as #pin=THUMBPRINT.",
)
@click.option(
    "--token-file",
    type=click.Path(path_type=Path, dir_okay=False),
    help="File with an API token; without one, public builds alone can be read.",
)
@click.option("-o", "--output", type=click.Choice(["text", "json"]), default="text", help="Text, or JSON for tools.")
@click.option(
    "--page",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Write the one-file verifier for browsers here, and end.",
)
@click.option("--page-digest", is_flag=True, help="Print the SHA-256 of the one-file verifier, and end.")
def verify(
    target: str | None,
    jwks_file: str | None,
    pinned: tuple[str, ...],
    token_file: Path | None,
    output: str,
    page: Path | None,
    page_digest: bool,
) -> None:
    """Verify who signed the steps of a build, without the server's pages.

    BUILD is the address of a build's page, or a file of evidence that its Trust tab saved. Builds of public pipelines
    need no token.

    \b
    Examples:
      pipeseal verify https://ci.example.org/acme/app/builds/148#pin=THUMBPRINT
      pipeseal verify https://ci.example.org/acme/app/builds/148 --jwks-file verification.json --token-file token
      pipeseal verify app-148-evidence.json --jwks-file verification.json -o json
      pipeseal verify --page verify.html

    \b
    Whom to trust is yours to say, never the server's: keys from a file, or thumbprints (then the server may deliver
    the key itself). With a pin nothing else counts.

    \b
    Checked: each step's signature and seal, and that they are for this organisation, pipeline, build, commit and
    command, and that all jobs are shown that the signed steps speak of. Not checked: what happened then (states,
    logs and artifacts are the server's word), and steps that no other step speaks of.

    \b
    The tokens of PIPESEAL_TOKEN, PIPESEAL_TOKEN_FILE and of a server on this machine go to PIPESEAL_SERVER alone.

    \b
    Exit status, the worst of all jobs:
      0   at least one job, and every step verified
      20  a step is not signed          22  a step is not what was signed
      21  signed by an untrusted key    23  a step cannot be checked, or there is none
      24  the server does not deliver what was signed, or leaves out a job
      25  signed by a key that the server calls revoked
    """
    if page_digest or page:
        if target is not None or (page_digest and page):
            raise click.UsageError("--page and --page-digest stand alone.")
        _write_page(page)
        return
    if target is None:
        raise click.UsageError("name a build: its address, or a file of evidence.")
    from pipeseal.cli.verify_source import fetch_build, pins_of, read_file

    pins = pins_of(target, pinned)
    asked = fetch_build(target, token_file) if "://" in target else read_file(Path(target))
    keys, whence = _keys(jwks_file, pins, asked)
    proven: list[tuple[ShownJob, ProvenStep]] = []
    outcomes = [_judge(shown, asked.evidence, keys, proven) for shown in asked.evidence.jobs]
    left_out = _left_out(asked.evidence, outcomes, proven)
    statuses = [outcome.status for outcome in outcomes] + [EVIDENCE_MISSING for _ in left_out]
    status = worst(statuses) if outcomes else CANNOT_CHECK
    not_checked = _not_checked(asked, outcomes)
    if output == "json":
        import json

        document = {
            "subject": _name(asked.evidence),
            "state": _STATES[status],
            "exit": status,
            "keys": whence,
            "read_as": "stranger" if asked.stranger else "member",
            "jobs": [outcome._asdict() for outcome in outcomes],
            "left_out": left_out,
            "not_checked": not_checked,
        }
        click.echo(json.dumps(document, indent=2))
    else:
        _print_text(asked.evidence, outcomes, status, whence, left_out, not_checked)
    sys.exit(status)


def _judge(
    shown: ShownJob, evidence: Evidence, keys: VerificationKeys, proven: list[tuple[ShownJob, ProvenStep]]
) -> Outcome:
    """What was found of one job; what was proven of a verified one is noted."""
    from pipeseal.errors import MalformedInput, VerificationError
    from pipeseal.signing.delivered_keys import find_revocation
    from pipeseal.signing.evidence import verify_shown_job

    try:
        step = verify_shown_job(shown, evidence, keys)
    except (VerificationError, MalformedInput) as error:
        status = exit_status(error) if isinstance(error, VerificationError) else CANNOT_CHECK
        return Outcome(shown.name, _STATES[status], status, code=error.code, message=error.message)
    key = step.key
    if when := find_revocation(shown.step or {}, key.thumbprint):
        said = f"signed by {key.kid}, whose key was revoked; server says: on {when[:10]}"
        return Outcome(shown.name, "revoked", KEY_REVOKED, key.kid, key.thumbprint, code="key.revoked", message=said)
    proven.append((shown, step))
    return Outcome(shown.name, "verified", DONE, key.kid, key.thumbprint)


def _left_out(evidence: Evidence, outcomes: list[Outcome], proven: list[tuple[ShownJob, ProvenStep]]) -> list[str]:
    from pipeseal.signing.whole import find_left_out

    pairs = zip(evidence.jobs, outcomes, strict=True)
    return find_left_out(proven, [shown for shown, outcome in pairs if outcome.status == CANNOT_CHECK])


def _keys(jwks_file: str | None, pins: tuple[str, ...], asked: Asked) -> tuple[VerificationKeys, str]:
    """The keys to believe, and in words where they are from."""
    from pipeseal.cli.init import default_directory
    from pipeseal.errors import ConfigurationError
    from pipeseal.signing.delivered_keys import find_pinned_keys
    from pipeseal.signing.keys.open import load_verification_keys
    from pipeseal.signing.keys.verification_keys import VerificationKeys

    own = default_directory() / "verification.json"
    if jwks_file is None and own.exists():
        jwks_file = str(own)
    if pins:
        given = load_verification_keys(jwks_file) if jwks_file else ()
        kept = [key for key in given if key.thumbprint() in pins]
        found = VerificationKeys([*kept, *find_pinned_keys(asked.steps, pins)])
        if not len(found):
            click.echo(
                "warning: no key with the pinned thumbprint is here, and the server has none to deliver: "
                "give --jwks-file FILE, or have an owner list it (pipeseal keys publish)",
                err=True,
            )
        return found, "pinned"
    if jwks_file is None:
        raise ConfigurationError(
            "evidence.keys",
            "nobody said whose signatures to believe",
            help="give --jwks-file FILE or --pin THUMBPRINT, from somebody you trust and never from this server",
        )
    return load_verification_keys(jwks_file), jwks_file


def _not_checked(asked: Asked, outcomes: list[Outcome]) -> list[str]:
    """What an outcome does not say, in sentences."""
    withheld = sum(outcome.code == "evidence.withheld" for outcome in outcomes)
    sentences = [
        "what happened: states, exit statuses, logs and artifacts are the server's word",
        "steps that no other step speaks of: the last ones of an upload, or a whole upload",
    ]
    if withheld:
        sentences.insert(
            0, f"{withheld} of {len(outcomes)} steps: the server shows strangers no seals and no names of secrets"
        )
    if asked.stranger:
        sentences.append("what only members may read; this was read without a token")
    return sentences


def _write_page(path: Path | None) -> None:
    """The one-file verifier of this version: into a file, or its digest alone."""
    from hashlib import sha256

    from pipeseal.controlplane.http.pages import VERIFIER, load_assets
    from pipeseal.errors import ConfigurationError

    content = load_assets()[VERIFIER].content
    if path is not None:
        try:
            with path.open("xb") as file:
                file.write(content)
        except OSError as error:
            raise ConfigurationError(
                "evidence.page",
                f"{path} cannot be written: {error.strerror}",
                help="name a new file",
            ) from None
    click.echo(f"{sha256(content).hexdigest()}  {path or VERIFIER}")


def _name(evidence: Evidence) -> str:
    return f"{evidence.organization}/{evidence.pipeline}#{evidence.build.get('number')}"


def _print_text(
    evidence: Evidence,
    outcomes: list[Outcome],
    status: int,
    whence: str,
    left_out: list[str],
    not_checked: list[str],
) -> None:
    from pipeseal.errors import escape_control

    keys = "the keys you pinned" if whence == "pinned" else f"keys from {whence}"
    click.echo(f"Checked on this machine, with {keys}:")
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
    for sentence in left_out:
        click.echo(f"  {marks['failed']} missing: {escape_control(sentence)}")
    click.echo("Not checked:")
    for sentence in not_checked:
        click.echo(f"  - {sentence}")
    build = escape_control(_name(evidence).replace("#", " #"))
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

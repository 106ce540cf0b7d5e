"""`pipeseal policy check|explain|report`: is it right, what does it say of a job, what would it have refused."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from pipeseal.policy.judge import Judgement
    from pipeseal.policy.policy import Policy, Section
    from pipeseal.policy.starts import StartRequest


@click.command("check")
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False))
@click.option("--keys", type=click.Path(path_type=Path, dir_okay=False), help="Verification keys that go with it.")
@click.option("-o", "--output", type=click.Choice(["text", "json"]), default="text", help="Text, or JSON for tools.")
def policy_check(file: Path, keys: Path | None, output: str) -> None:
    """Check a policy file, and say in words what it asks for.

    \b
    Examples:
      pipeseal policy check /etc/pipeseal/policy.toml
      pipeseal policy check policy.toml --keys verification.json

    With --keys, key ids of the policy that are not among the keys are named. Exit status 0 means that an agent would
    start with it.
    """
    from pipeseal.policy.files import check_only_ours, read_policy

    policy = read_policy(file)
    warnings = list(policy.warnings)
    if keys is not None:
        from pipeseal.policy.keyset import check_key_set
        from pipeseal.signing.keys.open import load_verification_keys

        check_only_ours(keys, "key.permissions")
        found = check_key_set(load_verification_keys(str(keys)), shared_secrets=policy.shared_secrets)
        warnings += _unmatched_keys(policy, [key.kid or "" for key in found])
    sections = [policy.everywhere, *policy.sections]
    if output == "json":
        import json

        document = {
            "file": str(file),
            "mode": policy.mode.value,
            "sections": [{"title": section.title, "asks": _asks(section)} for section in sections],
            "keys": sorted(policy.keys),
            "warnings": warnings,
        }
        click.echo(json.dumps(document, indent=2))
        return
    click.echo(f"{file}: a policy")
    for section in sections:
        click.echo(f"\n  {section.title if section is policy.everywhere else f'section {section.title}'}")
        for line in _asks(section) or ["nothing more"]:
            click.echo(f"    {line}")
    for kid, record in policy.keys.items():
        click.echo(f"\n  key {kid}: {f'revoked ({record.revoked})' if record.revoked else 'not revoked'}")
    for warning in warnings:
        click.echo(f"\nwarning: {warning}", err=True)


def _asks(section: Section) -> list[str]:
    lines = [str(rule) for rule in section.rules]
    if section.mode is not None:
        lines.append(f"mode: {section.mode.value}")
    for words, patterns in (
        ("repositories", section.repositories),
        ("organisations", section.organizations),
        ("pipelines", section.pipelines),
    ):
        if patterns is not None:
            lines.insert(0, f"for {words}: {patterns}")
    if section.server_variables:
        lines.append(f"the server may also set: {section.server_variables}")
    if section.informational is False:
        lines.append("no variable whose value is only the server's word")
    if not section.repository_hooks:
        lines.append("no hooks of the repository")
    if section.static_steps is not None or section.static_starts is not None:
        from pipeseal.policy.rules import StaticSteps

        lines.append(str(StaticSteps(section.static_steps or "branches", section.static_starts)))
    return lines


def _unmatched_keys(policy: Policy, kids: list[str]) -> list[str]:
    from pipeseal.policy.rules import SignedBy

    warnings = [
        f"key {kid!r} has a record and is not among the keys; right for one that was removed, else a typing error"
        for kid in policy.keys
        if kid not in kids
    ]
    for section in (policy.everywhere, *policy.sections):
        for rule in section.rules:
            if isinstance(rule, SignedBy) and not any(rule.allowed.match(kid) for kid in kids):
                warnings.append(f"{section.title}: no key matches `keys` ({rule.allowed}), so nothing can run there")
    return warnings


@click.command("explain")
@click.argument("job", type=click.Path(path_type=Path, dir_okay=False, exists=True))
@click.option("--policy", "policy_file", type=click.Path(path_type=Path, dir_okay=False), help="Policy file.")
@click.option(
    "--keys", type=click.Path(path_type=Path, dir_okay=False), required=True, help="Verification keys (JWK Set)."
)
@click.option("--tags", multiple=True, metavar="A=B", help="Tags of the agent that it is judged for.")
@click.option("--at", metavar="TIME", help="When it is judged, such as 2027-01-31T12:00:00Z.  [default: now]")
@click.option("-o", "--output", type=click.Choice(["text", "json"]), default="text", help="Text, or JSON for tools.")
def policy_explain(
    job: Path, policy_file: Path | None, keys: Path, tags: tuple[str, ...], at: str | None, output: str
) -> None:
    """Explain what each rule says of a stored job.

    \b
    Examples:
      pipeseal policy explain job.json --policy policy.toml --keys verification.json
      pipeseal policy explain job.json --keys verification.json --tags queue=deploy

    JOB is the answer of a server to `accept`: an object with `env` and `step`. It is taken to be for the agent that
    it names. How often it may start is said too; whether it has started before, only the agent's ledger knows. Exit
    status 0: it would run; 22: it is not proven, or a rule does not agree.
    """
    import sys

    from pipeseal.agentapi.job import parse_job
    from pipeseal.cli.exits import CHECK_FAILED
    from pipeseal.clock import SystemClock
    from pipeseal.errors import VerificationError, escape_control
    from pipeseal.policy.facts import LocalFacts
    from pipeseal.policy.files import read_policy
    from pipeseal.policy.judge import judge_job, start_of
    from pipeseal.policy.policy import Mode, Policy
    from pipeseal.policy.proof import prove_job
    from pipeseal.signing.keys.open import load_verification_keys

    policy = Policy() if policy_file is None else read_policy(policy_file)
    parsed = parse_job(job.read_bytes(), source=str(job))
    local = LocalFacts(
        job_id=parsed.id,
        agent_id=parsed.env.get("BUILDKITE_AGENT_ID", ""),
        agent_name=parsed.env.get("BUILDKITE_AGENT_NAME", ""),
        now=SystemClock().now() if at is None else _moment(at),
        tags=tags,
    )
    try:
        if parsed.ambiguity:
            raise VerificationError("job.ambiguous", f"the job can be read in two ways: {parsed.ambiguity}")
        proven = prove_job(parsed, load_verification_keys(str(keys)), local)
    except VerificationError as error:
        if output == "json":
            _print_json({"proof": "none", "decision": "refused", "code": error.code, "message": error.message})
            sys.exit(CHECK_FAILED)
        click.echo(f"not proven   refused[{error.code}]: {escape_control(error.message)}")
        click.echo("Without a proof no rule is asked.")
        sys.exit(CHECK_FAILED)
    judgement = judge_job(parsed, proven, policy, local)
    start = start_of(parsed, proven, judgement.applied, now=local.now)
    findings = judgement.findings
    runs = not findings or judgement.applied.mode is not Mode.ENFORCE
    decision = "approved" if not findings else "observed" if runs else "refused"
    if output == "json":
        _print_json({"proof": proven.proof.value, "decision": decision, **_document(judgement, start)})
    else:
        _print_judgement(judgement, start, proven.proof.value, decision)
    sys.exit(0 if runs else CHECK_FAILED)


def _moment(text: str) -> float:
    from datetime import UTC, datetime

    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise click.BadParameter(f"{text!r} is not a time such as 2027-01-31T12:00:00Z", param_hint="--at") from None
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()


def _print_json(document: dict[str, Any]) -> None:
    import json

    click.echo(json.dumps(document, indent=2))


def _document(judgement: Judgement, start: StartRequest) -> dict[str, Any]:
    variables = judgement.variables
    return {
        "section": judgement.applied.title,
        "mode": judgement.applied.mode.value,
        "rules": [
            {
                "name": verdict.name,
                "asks": verdict.rule,
                "code": verdict.finding.code if verdict.finding else None,
                "message": verdict.finding.message if verdict.finding else None,
            }
            for verdict in judgement.verdicts
        ],
        "findings": [
            {"code": finding.code, "message": finding.message, "fields": list(finding.fields)}
            for finding in judgement.findings
        ],
        "variables": {
            "proven_or_known": sorted(set(variables.variables) - variables.informational),
            "informational": sorted(set(variables.variables) & variables.informational),
            "files": sorted(variables.texts),
        },
        "starts": {
            "counted_for": start.subject,
            "place": start.place,
            "at_most": start.most,
            "exclusive": start.exclusive,
            "remembered_until": start.keep_until,
        },
    }


def _print_judgement(judgement: Judgement, start: StartRequest, proof: str, decision: str) -> None:
    from pipeseal.clock import render_timestamp
    from pipeseal.errors import escape_control

    key = judgement.facts.key
    assert key is not None  # the job is proven
    click.echo(f"proof        {proof} by {escape_control(key.kid)} ({key.thumbprint[:8]}…)")
    click.echo(f"section      {judgement.applied.title}   mode {judgement.applied.mode.value}\n")
    for finding in judgement.applied.findings:
        click.echo(f"  no   refused[{finding.code}]: {escape_control(finding.message)}")
    for verdict in judgement.verdicts:
        click.echo(f"  {'ok ' if verdict.finding is None else 'no '}  {verdict.rule}")
        if verdict.finding is not None:
            click.echo(f"       refused[{verdict.finding.code}]: {escape_control(verdict.finding.message)}")
    variables = judgement.variables
    count = len(variables.variables) + len(variables.texts)
    click.echo(f"  {'no ' if variables.findings else 'ok '}  variables by the table ({count} for the job)")
    for finding in variables.findings:
        click.echo(f"       refused[{finding.code}]: {escape_control(finding.message)}")
        for name, why in list(finding.evidence.items())[:10]:
            click.echo(f"         {escape_control(name)} {escape_control(why)}")
    most = "any number of times" if start.most is None else "once" if start.most == 1 else f"{start.most} times"
    until = "for ever" if start.keep_until is None else f"until {render_timestamp(start.keep_until)[:10]}"
    exclusive = ", exclusive" if start.exclusive else ""
    click.echo(
        f"  --   {escape_control(start.subject)} may start {most}{exclusive}, which the agent's ledger counts {until}"
    )
    click.echo(f"\n{decision}")


@click.command("report")
@click.argument("log", type=click.Path(path_type=Path, dir_okay=False, exists=True))
@click.option("--since", metavar="TIME", help="Only decisions from then on, such as 2027-01-31.")
@click.option("-o", "--output", type=click.Choice(["text", "json"]), default="text", help="Text, or JSON for tools.")
def policy_report(log: Path, since: str | None, output: str) -> None:
    """Report what was refused, and what would have been, for each pipeline.

    \b
    Examples:
      pipeseal policy report /var/log/pipeseal/decisions.jsonl
      pipeseal policy report decisions.jsonl --since 2027-01-31 -o json

    LOG is what an agent with `decision-log` writes. With `mode = "observe"` or `"warn"` in the policy nothing is
    refused, and this shows what would have been; when it is empty, `enforce` changes nothing for these jobs.
    """
    from pipeseal.policy.report import summarize

    with log.open("rb") as file:
        summary = summarize(file, since=_moment(since) if since else None)
    if output == "json":
        _print_json(summary.document())
        return
    for line in summary.lines():
        click.echo(line)

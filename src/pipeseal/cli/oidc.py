"""`oidc request-token`: a token that shows other services which job this is."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from pipeseal.cli.job_options import Api, api_command, job_option, option, put, put_json, split_commas

if TYPE_CHECKING:
    from pipeseal.agentapi.job_messages import OidcTokenRequest


@click.command("request-token")
@option("--audience", default="", metavar="TEXT", help="Who the token is for.")
@option(
    "--lifetime",
    type=click.IntRange(min=0),
    default=0,
    metavar="SECONDS",
    help="How long it is good; 0: the server's word.",
)
@option(
    "--claim",
    multiple=True,
    envvar="BUILDKITE_OIDC_TOKEN_CLAIMS",
    metavar="A,B",
    help="Further claims.",
)
@option(
    "--aws-session-tag",
    multiple=True,
    envvar="BUILDKITE_OIDC_TOKEN_AWS_SESSION_TAGS",
    metavar="A,B",
    help="Claims that become AWS session tags.",
)
@option(
    "--subject-claim",
    envvar="BUILDKITE_OIDC_TOKEN_SUBJECT_CLAIM",
    default="",
    metavar="NAME",
    help="The claim to use as the subject.",
)
@option("--format", "kind", type=click.Choice(["jwt", "gcp"]), default="jwt", help="[jwt]")
@job_option
@option(
    "--skip-redaction",
    is_flag=True,
    envvar="BUILDKITE_AGENT_OIDC_REQUEST_TOKEN_SKIP_TOKEN_REDACTION",
    help="Do not hide the token in the log.",
)
@api_command
def oidc_request_token(
    api: Api,
    audience: str,
    lifetime: int,
    claim: tuple[str, ...],
    aws_session_tag: tuple[str, ...],
    subject_claim: str,
    kind: str,
    job: str,
    skip_redaction: bool,
) -> None:
    """Request an OpenID Connect token for this job, and print it.

    The agent hides it in the job's log; when it cannot be told to, nothing is printed.

    \b
    Example:
      buildkite-agent oidc request-token --audience sts.amazonaws.com
    """
    from pipeseal.cli.secret import hide_in_log

    request: OidcTokenRequest = {}
    if audience:
        request["audience"] = audience
    if lifetime:
        request["lifetime"] = lifetime
    if claim:
        request["claims"] = split_commas(claim)
    if aws_session_tag:
        request["aws_session_tags"] = split_commas(aws_session_tag)
    if subject_claim:
        request["subject_claim"] = subject_claim
    token = api.client().request_oidc_token(job, request)
    if not skip_redaction:
        hide_in_log([token], "--skip-redaction")
    if kind == "jwt":
        put(f"{token}\n")
    else:
        # As Google's workload identity federation reads it from a command (AIP-4117).
        put_json(
            {
                "id_token": token,
                "token_type": "urn:ietf:params:oauth:token-type:jwt",
                "version": 1,
                "success": True,
            },
            sort=False,
        )

"""`pipeseal server`: a control plane in one process, with nothing to set up."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from pipeseal.tracing.export import OtlpTracing


def default_data_folder() -> Path:
    """`$XDG_DATA_HOME/pipeseal/server`."""
    base = os.environ.get("XDG_DATA_HOME") or str(Path.home() / ".local" / "share")
    return Path(base) / "pipeseal" / "server"


@click.command("server", context_settings={"show_default": True})
@click.option(
    "--data",
    type=click.Path(path_type=Path),
    envvar="PIPESEAL_SERVER_DATA",
    help="Folder for the database, logs and tokens.  [default: $XDG_DATA_HOME/pipeseal/server]",
)
@click.option(
    "--database-url",
    default="",
    envvar="PIPESEAL_SERVER_DATABASE_URL",
    help="postgresql://USER:PASSWORD@HOST/DATABASE, for one or several servers.  [default: SQLite in the folder]",
)
@click.option(
    "--object-store",
    default="",
    envvar="PIPESEAL_SERVER_OBJECT_STORE",
    help="Where logs and artifacts lie: a folder, or s3://BUCKET/PREFIX?endpoint=URL.  [default: the data folder]",
)
@click.option(
    "--listen", default="127.0.0.1:8080", envvar="PIPESEAL_SERVER_LISTEN", help="HOST:PORT; port 0: any free."
)
@click.option(
    "--url", default="", envvar="PIPESEAL_SERVER_URL", help="Where people and agents reach it, if not there."
)
@click.option(
    "--organization", default="local", envvar="PIPESEAL_SERVER_ORGANIZATION", help="Slug of the organisation."
)
@click.option("--ping-hold", type=click.FloatRange(0, 50), default=25.0, help="Seconds an idle agent's ping is held.")
@click.option(
    "--streaming-pings/--no-streaming-pings", default=True, help="Tell agents that can listen on a stream what to do."
)
@click.option("--ping-interval", type=click.IntRange(1), default=1, help="Seconds between pings, told to agents.")
@click.option(
    "--job-status-interval", type=click.IntRange(1), default=1, help="Seconds between looks at a job's state."
)
@click.option(
    "--heartbeat-interval", type=click.IntRange(1), help="Seconds between heartbeats.  [default: 60, or less]"
)
@click.option("--heartbeat-timeout", type=click.FloatRange(0.1), default=180.0, help="Silent for longer: agent lost.")
@click.option(
    "--accept-timeout", type=click.FloatRange(0.1), default=10.0, help="Not accepted by then: job offered anew."
)
@click.option(
    "--cancel-timeout", type=click.FloatRange(0.1), default=120.0, help="Not stopped by then: job ended anyway."
)
@click.option(
    "--sweep-interval", type=click.FloatRange(0.05), default=2.0, help="Seconds between looks for lost agents."
)
@click.option("--max-jobs-per-upload", type=click.IntRange(1), default=500)
@click.option("--max-jobs-per-build", type=click.IntRange(1), default=4000)
@click.option("--max-jobs-per-matrix", type=click.IntRange(1), default=50)
@click.option("--max-upload-bytes", type=click.IntRange(1024), default=16 * 1024 * 1024)
@click.option("--max-log-bytes", type=click.IntRange(1024), default=1024 * 1024 * 1024)
@click.option(
    "--max-connections", type=click.IntRange(1), default=10_000, help="Open at once; fewer if files run out."
)
@click.option(
    "--max-requests",
    type=click.IntRange(0),
    default=60_000,
    help="In a minute, of one token or person; 0: any.",
)
@click.option(
    "--max-anonymous-requests",
    type=click.IntRange(0),
    default=1_200,
    help="The same of one address without either.",
)
@click.option(
    "--oidc-issuer",
    default="",
    envvar="PIPESEAL_SERVER_OIDC_ISSUER",
    help="URL where people sign in (OpenID Connect).",
)
@click.option(
    "--oidc-client-id", default="", envvar="PIPESEAL_SERVER_OIDC_CLIENT_ID", help="What the server is called there."
)
@click.option(
    "--oidc-client-secret-file",
    type=click.Path(path_type=Path),
    envvar="PIPESEAL_SERVER_OIDC_CLIENT_SECRET_FILE",
    help="File with its secret.",
)
@click.option("--oidc-domain", multiple=True, help="Verified addresses of this domain get an account.")
@click.option("--oidc-role", default="member", help="Role of accounts that are made so.")
@click.option("--oidc-owner", multiple=True, help="Verified address whose account is made an owner's.")
@click.option("--open-metrics", is_flag=True, help="Anybody may read /metrics; otherwise it takes an API token.")
@click.option("--notify-http", is_flag=True, help="Pipelines' webhooks (`notify`) may go without TLS.")
@click.option(
    "--notify-network", multiple=True, help="Network they may reach though it is no open one, such as 10.1.0.0/16."
)
@click.option(
    "--tracing",
    type=click.Choice(["none", "otlp"]),
    envvar="PIPESEAL_SERVER_TRACING",
    help="Send traces by OTLP; OTEL_... variables say where.  [default: what OTEL_TRACES_EXPORTER says, else none]",
)
@click.option(
    "--log-level", type=click.Choice(["info", "warning", "error"]), default="info", help="On standard error."
)
def server(
    data: Path | None,
    database_url: str,
    object_store: str,
    listen: str,
    url: str,
    organization: str,
    ping_hold: float,
    streaming_pings: bool,
    ping_interval: int,
    job_status_interval: int,
    heartbeat_interval: int | None,
    heartbeat_timeout: float,
    accept_timeout: float,
    cancel_timeout: float,
    sweep_interval: float,
    max_jobs_per_upload: int,
    max_jobs_per_build: int,
    max_jobs_per_matrix: int,
    max_upload_bytes: int,
    max_log_bytes: int,
    max_connections: int,
    max_requests: int,
    max_anonymous_requests: int,
    oidc_issuer: str,
    oidc_client_id: str,
    oidc_client_secret_file: Path | None,
    oidc_domain: tuple[str, ...],
    oidc_role: str,
    oidc_owner: tuple[str, ...],
    open_metrics: bool,
    notify_http: bool,
    notify_network: tuple[str, ...],
    tracing: str | None,
    log_level: str,
) -> None:
    """Run a control plane: agents connect to it, builds wait in it, logs are kept by it. It is never believed.

    \b
    Examples:
      pipeseal server
      pipeseal server --data /srv/pipeseal --listen 0.0.0.0:8080 --url https://ci.example.org

    On the first run it makes two tokens, in files readable by you only: `agent-token`, with which agents register,
    and `api-token`, for the commands `pipeseal pipeline` and `pipeseal build`. It speaks plain HTTP; put a proxy with
    TLS in front when it is not only for this computer.
    """
    import logging

    from pipeseal.controlplane.domain.destinations import parse_networks
    from pipeseal.controlplane.domain.identifiers import SLUG
    from pipeseal.controlplane.domain.limits import Limits
    from pipeseal.controlplane.domain.sign_in_provider import make_provider
    from pipeseal.controlplane.http.connections import ConnectionLimits, allowed_connections
    from pipeseal.controlplane.http.serve import Server, url_of
    from pipeseal.controlplane.http.serve import listen as bind
    from pipeseal.controlplane.services.accounts import make_first_link
    from pipeseal.controlplane.services.plane import API_FILE, REGISTRATION_FILE, Settings, open_plane

    parse_networks(notify_network)  # what is wrong with it is said now
    if not SLUG.fullmatch(organization):
        raise click.BadParameter("lower-case letters, digits and single dashes", param_hint="--organization")
    logging.basicConfig(format="%(asctime)s %(levelname)s %(message)s", level=logging.WARNING)
    logging.getLogger("pipeseal.server").setLevel(log_level.upper())
    limits = Limits(
        max_jobs_per_upload=max_jobs_per_upload,
        max_jobs_per_build=max_jobs_per_build,
        max_jobs_per_matrix=max_jobs_per_matrix,
        max_upload_bytes=max_upload_bytes,
        max_log_bytes=max_log_bytes,
        max_requests_per_minute=max_requests,
        max_anonymous_requests_per_minute=max_anonymous_requests,
    )
    provider = None
    if oidc_issuer:
        provider = make_provider(
            oidc_issuer,
            oidc_client_id,
            "" if oidc_client_secret_file is None else _read_secret(oidc_client_secret_file),
            domains=oidc_domain,
            role=oidc_role,
            owners=oidc_owner,
        )
    settings = Settings(
        organization=organization,
        url=url.rstrip("/"),
        ping_interval=ping_interval,
        job_status_interval=job_status_interval,
        # Three beats fit into the time after which an agent is lost, so that one may be late.
        heartbeat_interval=heartbeat_interval or max(1, min(60, int(heartbeat_timeout / 3))),
        ping_hold=ping_hold,
        streaming_pings=streaming_pings,
        open_metrics=open_metrics,
        sign_in_provider=provider,
        notify_http=notify_http,
        notify_networks=notify_network,
        heartbeat_timeout=heartbeat_timeout,
        offer_timeout=accept_timeout,
        cancel_timeout=cancel_timeout,
        sweep_interval=sweep_interval,
        limits=limits,
    )
    if settings.heartbeat_interval >= settings.heartbeat_timeout > 1:
        raise click.BadParameter(
            f"agents would be lost between two heartbeats, {settings.heartbeat_interval} s apart",
            param_hint="--heartbeat-timeout",
        )
    folder = data or default_data_folder()
    with _open_tracing(tracing) as spans, bind(listen) as listener:
        plane = open_plane(folder, settings, database_url=database_url, object_store=object_store, tracing=spans)
        local = url_of(listener)
        plane.url = plane.url or local
        first = make_first_link(plane)

        def ready(_url: str) -> None:
            click.echo(f"Agent token   {folder / REGISTRATION_FILE}", err=True)
            click.echo(f"API token     {folder / API_FILE}", err=True)
            if first is not None:
                click.echo(f"First sign-in {plane.url}/welcome#{first}   (works once, for two days)", err=True)
            click.echo(f"Listening on {local}")  # click flushes

        connections = ConnectionLimits(max_connections=allowed_connections(max_connections))
        Server(plane, listener, ready, connections).serve_until_stopped()


@contextmanager
def _open_tracing(chosen: str | None) -> Iterator[OtlpTracing | None]:
    """Where spans go, until the server has ended; None for nowhere."""
    import logging

    from pipeseal.tracing.open import is_wanted, open_tracing

    opened = None
    if chosen == "otlp" or (chosen is None and is_wanted(os.environ)):
        opened = open_tracing(
            default_name="pipeseal-server",
            service_name="",
            environment=os.environ,
            warn=logging.getLogger("pipeseal.server").warning,
        )
    try:
        yield opened
    finally:
        if opened is not None:
            opened.close()


def _read_secret(path: Path) -> str:
    """The first line of a file.

    Raises:
        ConfigurationError: `server.oidc`.
    """
    from pipeseal.errors import ConfigurationError

    try:
        return path.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError(
            "server.oidc", f"cannot read the client's secret in {path}", help="let the server read it"
        ) from error

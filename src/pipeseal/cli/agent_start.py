"""`pipeseal agent start`: read the settings, open the keys, say what this agent will and will not run, and run."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from pipeseal.agent.options import OPTIONS, WITHOUT_EFFECT, Option

if TYPE_CHECKING:
    from pipeseal.agent.agentlog import AgentLog
    from pipeseal.agent.ledger.ledger import Ledger
    from pipeseal.agent.settings import AgentSettings
    from pipeseal.policy.settings import VerificationSettings
    from pipeseal.tracing.export import OtlpTracing


def _flag(option: Option) -> click.Option:
    # Defaults and the environment are `settings.load_settings`' business: here a flag is given, or it is not.
    help_text = f"{option.help}  [{option.variables[-1]}]"
    if option.kind == "flag":
        return click.Option([f"--{option.name}"], is_flag=True, default=None, help=help_text)
    many = option.kind in {"list", "paths"}
    metavar = {
        "list": "A,B",
        "paths": "PATH,PATH",
        "path": "PATH",
        "key": "PATH|URI",
        "number": "N",
        "seconds": "SECONDS",
    }
    return click.Option(
        [f"--{option.name}"], multiple=many, metavar=metavar.get(option.kind, "TEXT"), default=None, help=help_text
    )


def _ignored(name: str) -> click.Option:
    return click.Option([f"--{name}"], is_flag=True, default=None, hidden=True)


def run(config: str | None, **given: Any) -> None:
    import asyncio
    import os
    import sys

    from pipeseal.agent.agentlog import AgentLog
    from pipeseal.agent.ledger.open import open_ledger
    from pipeseal.agent.settings import load_settings
    from pipeseal.agent.trust import Trust
    from pipeseal.policy.files import check_only_ours

    # click leaves out what is empty and writes options that may be repeated as tuples.
    flags = {name.replace("_", "-"): value for name, value in given.items() if value not in (None, ())}
    settings = load_settings({"config": config, **flags}, os.environ)
    if settings.config_file is not None:
        check_only_ours(settings.config_file, "config.permissions")
    trust = Trust(settings)
    verification = trust.current()
    log = AgentLog(as_json=settings.log_format == "json", colour=False if settings.no_color else None)
    _check_signing_key(settings, log)
    ledger = open_ledger(settings)
    log.block(_banner(settings, verification, ledger))
    for note in settings.notes:
        log.warn(note)
    for warning in _weak_spots(settings, verification):
        log.warn(warning)

    from pipeseal.agent.supervisor import Supervisor

    tracing = _open_tracing(settings, log)
    supervisor = Supervisor(settings, trust, log, ledger, environment=dict(os.environ), tracing=tracing)
    try:
        status = asyncio.run(supervisor.run())
    finally:
        if tracing is not None:
            tracing.close()
    sys.exit(status)


def _open_tracing(settings: AgentSettings, log: AgentLog) -> OtlpTracing | None:
    if not settings.tracing_backend:
        return None
    import os

    from pipeseal.tracing.open import open_tracing

    return open_tracing(
        default_name="pipeseal-agent",
        service_name=settings.tracing_service_name,
        environment=os.environ,
        warn=log.warn,
    )


def _check_signing_key(settings: AgentSettings, log: AgentLog) -> None:
    """A signing key that jobs could not use later is refused now."""
    if not settings.signing_key:
        return
    from pipeseal.errors import PipesealError
    from pipeseal.signing.keys.files import exposure_of
    from pipeseal.signing.keys.open import open_signing_key
    from pipeseal.signing.keys.uri import key_file

    file = key_file(settings.signing_key)
    try:
        open_signing_key(settings.signing_key, settings.signing_jwks_key_id)
    except PipesealError as error:
        if file is not None:
            raise
        # Credentials for a key service may be the jobs' own, from a hook.
        log.warn(f"The signing key cannot be used from here: {error}", code=error.code)
    if file is not None and (exposed := exposure_of(file)):
        log.warn(exposed)


def _banner(settings: AgentSettings, verification: VerificationSettings, ledger: Ledger | None) -> list[str]:
    import os

    from pipeseal import __version__

    assert verification.policy is not None  # an agent's settings have one
    rows = [("server", f"{settings.endpoint}   (not trusted for steps)")]
    if verification.keys is None:
        rows.append(("steps", "NOT VERIFIED: this agent runs whatever the server sends (--no-verification)"))
    else:
        names = ", ".join(f"{key.kid} ({key.thumbprint()[:8]}…)" for key in verification.keys)
        rows.append(("steps", f"verify with {len(verification.keys)} key(s): {names}"))
        mode = verification.unproven_mode.value
        what = {
            "enforce": "refuse the job",
            "warn": "say so at the top of its log, and run it",
            "observe": "note it, and run the job",
        }[mode]
        rows.append(("enforcement", f"{mode}: without a good signature, {what}"))
        source = verification.policy.source or "none; every pipeline that these keys sign, and the switches below"
        rows.append(("policy", source))
    if ledger is not None:
        new = "   (new: it does not know what was started before)" if ledger.is_new else ""
        rows.append(("ledger", f"{ledger.where}{new}"))
    if settings.signing_key:
        rows.append(("uploads", f"sign with {settings.signing_key}"))
    if settings.signer_socket is not None:
        rows.append(("uploads", f"signed by the signer at {settings.signer_socket}"))
    if settings.tracing_backend:
        whose = "the server's" if settings.tracing_propagate_traceparent else "of their own"
        rows.append(("traces", f"of jobs are sent to a collector (OTEL_EXPORTER_OTLP_ENDPOINT); traces: {whose}"))
    rows.append(("builds", str(settings.build_path)))
    switches = [
        f"hooks: {settings.hooks_path or 'none'}",
        f"plugins: {'off' if settings.no_plugins else 'allowed-plugins set' if settings.allowed_plugins else 'any'}",
        f"command eval: {'off' if settings.no_command_eval else 'on'}",
        f"repository hooks: {'off' if settings.no_local_hooks else 'on'}",
    ]
    rows.append(("runs", "   ".join(switches)))
    config = str(settings.config_file or "none")
    return [f"pipeseal {__version__}  pid {os.getpid()}  config {config}"] + [
        f"  {name:<12} {text}" for name, text in rows
    ]


def _weak_spots(settings: AgentSettings, verification: VerificationSettings) -> list[str]:
    spots = list(verification.keys.weaknesses()) if verification.keys is not None else []
    spots += verification.policy.warnings if verification.policy is not None else ()
    for name, patterns in (
        ("allowed-repositories", settings.allowed_repositories),
        ("allowed-plugins", settings.allowed_plugins),
        ("allowed-environment-variables", settings.allowed_environment_variables),
    ):
        spots += [
            f"{name}: the pattern {pattern!r} is not anchored (^...$); it matches anywhere in a longer text too"
            for pattern in patterns
            if not (pattern.startswith(("^", r"\A")) and pattern.endswith(("$", r"\Z")))
        ]
    hooks = settings.hooks_path
    if hooks is not None and hooks.is_dir() and hooks.stat().st_mode & 0o022:
        spots.append(f"hooks-path: other users can put hooks into {hooks}; chmod go-w {hooks}")
    config = settings.config_file
    if config is not None and config.name == "buildkite-agent.cfg":
        spots.append(f"there is no configuration file of ours, so the stock agent's was read: {config}")
    return spots


agent_start = click.Command(
    "start",
    callback=run,
    help="""Run an agent that verifies every job before it runs it.

    \b
    Examples:
      pipeseal agent start --config ~/.config/pipeseal/runner.cfg --token file://$HOME/pipeseal/agent-token
      pipeseal agent start --endpoint https://ci.example.org/v3 --token file:///etc/pipeseal/token \\
          --verification-jwks-file /etc/pipeseal/verification.json --queue deploy

    Each flag is also a key of the configuration file (name=value) and an environment variable; a flag wins over the
    environment, the environment over the file. Without --config the file is ~/.config/pipeseal/agent.cfg, else
    /etc/pipeseal/agent.cfg, else /etc/buildkite-agent/buildkite-agent.cfg.

    SIGTERM or Ctrl-C once: finish the running job, then end. Twice: cancel it. Three times: end at once.
    """,
    params=[
        click.Option(["--config"], metavar="FILE", help="Configuration file.  [BUILDKITE_AGENT_CONFIG]"),
        *map(_flag, OPTIONS),
        *map(_ignored, sorted(WITHOUT_EFFECT - {"log-level"})),
        click.Option(["--log-level"], hidden=True, default=None),
    ],
)

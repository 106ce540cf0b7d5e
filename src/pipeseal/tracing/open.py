"""Opening the way to a collector: OTLP over HTTP, by the OpenTelemetry SDK, configured by its standard variables.

https://opentelemetry.io/docs/specs/otel/configuration/sdk-environment-variables/
https://opentelemetry.io/docs/specs/otel/protocol/exporter/
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from pipeseal.errors import ConfigurationError, escape_control

if TYPE_CHECKING:
    from pipeseal.tracing.export import OtlpTracing

PROTOCOL = "http/protobuf"


def is_wanted(environment: Mapping[str, str]) -> bool:
    """Whether the standard variables ask for traces by themselves."""
    return environment.get("OTEL_TRACES_EXPORTER", "").strip() == "otlp"


def open_tracing(
    *,
    default_name: str,
    service_name: str,
    environment: Mapping[str, str],
    warn: Callable[[str], None],
) -> OtlpTracing | None:
    """A way to the collector; None when `OTEL_SDK_DISABLED` says that there is none.

    The SDK reads the other standard variables from the process's own environment by itself.

    Parameters:
        default_name: what the service is called where nobody says otherwise.
        service_name: what the operator calls it, above all variables; empty when they do not.
        environment: the process's.
        warn: is told, now and then, that the collector cannot be reached.

    Raises:
        ConfigurationError: the packages are not installed (code `tracing.missing`), or the variables ask for what
            cannot be done (code `tracing.settings`).
    """
    if environment.get("OTEL_SDK_DISABLED", "").strip().lower() == "true":
        return None
    _check(environment)
    try:
        from pipeseal.tracing.export import OtlpTracing
    except ModuleNotFoundError as error:
        if error.name is None or not error.name.startswith("opentelemetry"):
            raise
        raise ConfigurationError(
            "tracing.missing",
            f"traces need the package {error.name}, which is not installed",
            help="pip install 'pipeseal[tracing]', or leave tracing off",
        ) from error
    try:
        return OtlpTracing(default_name=default_name, service_name=service_name, warn=warn)
    except (ValueError, RuntimeError, ImportError) as error:  # what the SDK says to variables that it cannot use
        raise ConfigurationError(
            "tracing.settings",
            f"the OTEL_ variables cannot be used: {escape_control(str(error)[:300])}",
            help="correct them, or take them away",
        ) from error


def _check(environment: Mapping[str, str]) -> None:
    for name in ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL"):
        if environment.get(name, "") not in ("", PROTOCOL):
            raise ConfigurationError(
                "tracing.settings",
                f"{name} is {environment[name]!r}, and traces are sent as {PROTOCOL} alone",
                help=f"set it to {PROTOCOL}; a collector takes that at port 4318",
            )
        if environment.get(name):
            break  # the first one is for traces, and wins
    for name in ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT"):
        if not (url := environment.get(name)):
            continue
        try:
            parts = urlsplit(url)
            sound = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
        except ValueError:
            sound = False
        if not sound:
            # The address itself may hold a password, so it is not shown.
            raise ConfigurationError(
                "tracing.settings",
                f"{name} is no http or https address",
                help="give one such as http://collector.example.org:4318",
            )
        break

"""The agent's settings: where the values of its options come from, and the one value they make.

Precedence: command line, then environment (when not empty), then configuration file, then default. Names, file format
and variables are `buildkite-agent`'s; each option also has a variable of ours, `PIPESEAL_AGENT_` and its name.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pipeseal.agent.options import BY_NAME, NOT_SUPPORTED, OPTIONS, WITHOUT_EFFECT, Option
from pipeseal.errors import ConfigurationError
from pipeseal.signing.keys.uri import key_file, signing_key_uri

_LINE = re.compile(r"(?:export\s+)?([A-Za-z0-9_-]+)\s*[=:]\s*(.*)")
_TRUE = {"1", "t", "true", "yes", "on"}
_FALSE = {"0", "f", "false", "no", "off", ""}
# Settings that have one of a few values.
_CHOICES = {
    "verification-failure-behavior": ("block", "warn"),
    "log-format": ("text", "json"),
    "cancel-signal": ("SIGTERM", "SIGINT", "SIGHUP", "SIGQUIT", "SIGUSR1", "SIGUSR2", "SIGKILL"),
    "git-commit-verification": ("", "warn", "strict"),
    "git-sparse-checkout-mode": ("cone", "no-cone"),
    "git-mirror-checkout-mode": ("reference", "dissociate"),
    "tracing-backend": ("", "opentelemetry"),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class AgentSettings:
    """What the operator wants; one member for each option of the table, see there.

    Parameters (beyond the options):
        config_file: the configuration file that was read, None if there was none.
        notes: what the operator should know about how the settings were read, one sentence each.
        explicit: options that were given, not left to their default.
    """

    token: str
    endpoint: str
    name: str
    priority: str
    tags: tuple[str, ...]
    queue: str
    spawn: int
    spawn_per_cpu: int | None
    spawn_with_priority: bool
    acquire_job: str
    reflect_exit_status: bool
    disconnect_after_job: bool
    disconnect_after_idle_timeout: float
    disconnect_after_uptime: float
    health_check_addr: str
    build_path: Path
    hooks_path: Path | None
    additional_hooks_paths: tuple[Path, ...]
    hooks_shell: str
    plugins_path: Path
    plugins_always_clone_fresh: bool
    strict_single_hooks: bool
    verification_jwks_file: Path | None
    policy_file: Path | None
    ledger: str
    decision_log: Path | None
    no_decision_reporting: bool
    allow_shared_secrets: bool
    verification_failure_behavior: str
    no_verification: bool
    signing_jwks_file: str
    signing_jwks_key_id: str
    signer_socket: Path | None
    signing_aws_kms_key: str
    signing_gcp_kms_key: str
    allowed_repositories: tuple[str, ...]
    allowed_plugins: tuple[str, ...]
    allowed_environment_variables: tuple[str, ...]
    no_command_eval: bool
    no_plugins: bool
    no_local_hooks: bool
    shell: str
    bootstrap_script: str
    no_pty: bool
    pass_environment: tuple[str, ...]
    redacted_vars: tuple[str, ...]
    no_ansi_timestamps: bool
    cancel_grace_period: float
    cancel_signal: str
    sockets_path: Path
    expose_job_token: bool
    no_job_api: bool
    enable_job_log_tmpfile: bool
    job_log_path: Path | None
    artifact_upload_concurrency: int | None
    no_multipart_artifact_upload: bool
    artifact_stores: tuple[str, ...]
    skip_checkout: bool
    checkout_attempts: int
    no_git_submodules: bool
    git_skip_fetch_existing_commits: bool
    no_git_object_check: bool
    ssh_keyscan: bool
    git_checkout_timeout: float
    git_commit_verification: str
    git_sparse_checkout_paths: tuple[str, ...]
    git_sparse_checkout_mode: str
    git_submodule_clone_config: tuple[str, ...]
    git_mirrors_path: Path | None
    git_mirrors_skip_update: bool
    git_mirrors_lock_timeout: float
    git_mirror_checkout_mode: str
    git_clone_mirror_flags: str
    git_config_file: Path | None
    git_protocols: tuple[str, ...]
    git_clone_flags: str
    git_fetch_flags: str
    git_checkout_flags: str
    git_clean_flags: str
    tracing_backend: str
    tracing_service_name: str
    tracing_propagate_traceparent: bool
    log_format: str
    no_color: bool
    config_file: Path | None = None
    notes: tuple[str, ...] = ()
    explicit: frozenset[str] = field(default_factory=frozenset)

    @property
    def own_tags(self) -> tuple[str, ...]:
        """This agent's tags with its queue, each `name=value`."""
        return (*self.tags, *([f"queue={self.queue}"] if self.queue else []))

    @property
    def signing_key(self) -> str:
        """Path or URI of the key that uploads are signed with; empty when there is none."""
        return signing_key_uri(
            self.signing_jwks_file, aws_kms_key=self.signing_aws_kms_key, gcp_kms_key=self.signing_gcp_kms_key
        )


def find_config_file(environment: Mapping[str, str], given: str | None) -> Path | None:
    """The configuration file to read.

    Parameters:
        given: value of `--config`, if there is one.

    Raises:
        ConfigurationError: the file that was named is not there (code `config.missing`).
    """
    named = given or environment.get("PIPESEAL_AGENT_CONFIG") or environment.get("BUILDKITE_AGENT_CONFIG")
    if named:
        path = Path(named).expanduser()
        if not path.is_file():
            raise ConfigurationError("config.missing", f"there is no configuration file {path}")
        return path
    home = Path(environment.get("XDG_CONFIG_HOME") or Path(environment.get("HOME", "/")) / ".config")
    for path in (
        home / "pipeseal" / "agent.cfg",
        Path("/etc/pipeseal/agent.cfg"),
        Path("/etc/buildkite-agent/buildkite-agent.cfg"),
    ):
        if path.is_file():
            return path
    return None


def parse_config_file(text: str, source: str) -> tuple[dict[str, str], list[str]]:
    """The settings in a configuration file: `key=value` lines, `#` comments, values perhaps in quotes.

    Parameters:
        text: the file's text.
        source: its name, for messages.

    Returns:
        Key to value, and a note for each key that is known and not supported.

    Raises:
        ConfigurationError: a line that says nothing, or a key that nobody knows (codes `config.line`, `config.key`).
    """
    values: dict[str, str] = {}
    notes: list[str] = []
    for number, line in enumerate(text.splitlines(), 1):
        bare = line.strip()
        if not bare or bare.startswith("#"):
            continue
        match = _LINE.fullmatch(bare)
        if match is None:
            raise ConfigurationError("config.line", f"{source}:{number} is not key=value: {bare[:80]!r}")
        key, value = match[1], _config_value(match[2])
        if key in BY_NAME:
            values[key] = value
        elif key in NOT_SUPPORTED:
            notes.append(f"{source}:{number}: {key} is not supported yet and was ignored")
        elif key not in WITHOUT_EFFECT:
            raise _unknown_key(key, f"{source}:{number}")
    return values, notes


def _config_value(text: str) -> str:
    for quote in ('"', "'"):
        if text.startswith(quote):
            inner, closed, _comment = text[1:].partition(quote) if "\\" not in text else _quoted(text, quote)
            if closed:
                return inner.replace("\\n", "\n").replace('\\"', '"') if quote == '"' else inner
    return re.split(r"(?:^|\s)#", text, maxsplit=1)[0].strip()


def _quoted(text: str, quote: str) -> tuple[str, str, str]:
    match = re.match(rf"{quote}((?:\\.|[^\\{quote}])*){quote}", text)
    return (match[1], quote, text[match.end() :]) if match else ("", "", text)


def _unknown_key(key: str, where: str) -> ConfigurationError:
    from difflib import get_close_matches

    near = get_close_matches(key, list(BY_NAME), 1)
    return ConfigurationError(
        "config.key", f"{where}: there is no setting {key!r}", help=f"did you mean {near[0]}?" if near else ""
    )


def load_settings(command_line: Mapping[str, Any], environment: Mapping[str, str]) -> AgentSettings:
    """The settings, from everywhere they can come from.

    Parameters:
        command_line: option name to text (or number, bool, list) for the flags that were given, `config` among them.
        environment: the process's environment.

    Raises:
        ConfigurationError: a value that cannot be used (code `config.value`), and as `find_config_file` and
            `parse_config_file`.
    """
    path = find_config_file(environment, command_line.get("config"))
    in_file: dict[str, str] = {}
    notes: list[str] = []
    if path is not None:
        try:
            text = path.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigurationError("config.missing", f"{path} cannot be read: {error}") from error
        in_file, notes = parse_config_file(text, str(path))
    values: dict[str, Any] = {}
    explicit = set()
    for option in OPTIONS:
        given, where = _look_up(option, command_line, environment, in_file)
        if given is not None:
            explicit.add(option.name)
        values[option.attribute] = _read(option, option.default if given is None else given, where, environment)
    if command_line.get("token") and not str(command_line["token"]).startswith("file://"):
        notes.append(
            "everybody on this machine can see the token in the list of processes; "
            "use --token file://PATH, or BUILDKITE_AGENT_TOKEN"
        )
    if "@" in str(command_line.get("ledger") or ""):
        notes.append(
            "everybody on this machine can see the ledger's password in the list of processes; "
            "use ledger=... in the configuration file, or PIPESEAL_AGENT_LEDGER"
        )
    values["token"] = _read_token(values["token"])
    if not values["ledger"]:
        raise ConfigurationError("config.value", "ledger is empty; it has to be a file or postgresql://...")
    if "://" not in values["ledger"]:
        values["ledger"] = str(_path(values["ledger"], environment))
    # The stock agent's rule: who may not run commands may not run plugins either, unless told otherwise.
    if (values["no_command_eval"] or values["no_local_hooks"]) and "no-plugins" not in explicit:
        values["no_plugins"] = True
    if values["spawn_per_cpu"]:
        values["spawn"] = values["spawn_per_cpu"] * len(os.sched_getaffinity(0))
    _check(values)
    return AgentSettings(**values, config_file=path, notes=tuple(notes), explicit=frozenset(explicit))


def _look_up(
    option: Option, command_line: Mapping[str, Any], environment: Mapping[str, str], in_file: Mapping[str, str]
) -> tuple[Any, str]:
    if command_line.get(option.name) is not None:
        return command_line[option.name], f"--{option.name}"
    for variable in option.variables:
        if environment.get(variable):
            return environment[variable], variable
    if option.name in in_file:
        return in_file[option.name], option.name
    return None, ""


def _read(option: Option, value: Any, where: str, environment: Mapping[str, str]) -> Any:
    def bad(wanted: str) -> ConfigurationError:
        return ConfigurationError("config.value", f"{where} is {value!r}; it has to be {wanted}")

    if value is None:
        return None
    match option.kind:
        case "text":
            return str(value)
        case "flag":
            if isinstance(value, bool):
                return value
            if str(value).lower() in _TRUE | _FALSE:
                return str(value).lower() in _TRUE
            raise bad("true or false")
        case "number":
            try:
                number = int(value)
            except ValueError:
                raise bad("a whole number") from None
            if not 1 <= number <= 1000:
                raise bad("between 1 and 1000")
            return number
        case "seconds":
            try:
                seconds = float(value)
            except ValueError:
                raise bad("a number of seconds") from None
            if not 0 <= seconds <= 10_000_000:
                raise bad("between 0 and 10,000,000 seconds")
            return seconds
        case "key":
            text = str(value)
            file = key_file(text) if text else None
            return text if file is None else str(_path(file, environment))
        case "path":
            return _path(value, environment) if str(value) else None
        case "list" | "paths":
            items = (
                value.split(",") if isinstance(value, str) else [part for text in value for part in text.split(",")]
            )
            trimmed = tuple(item.strip() for item in items if item.strip())
            return tuple(_path(item, environment) for item in trimmed) if option.kind == "paths" else trimmed


def _path(value: Any, environment: Mapping[str, str]) -> Path:
    text = re.sub(r"\$\{?([A-Za-z_][A-Za-z0-9_]*)\}?", lambda match: environment.get(match[1], ""), str(value))
    if text == "~" or text.startswith("~/"):
        text = environment.get("HOME", "/") + text[1:]
    return Path(os.path.abspath(text))  # noqa: PTH100  (absolute without following links: the operator chose the name)


def _read_token(token: str) -> str:
    if not token.startswith("file://"):
        return token
    path = Path(token.removeprefix("file://"))
    try:
        return path.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError("token.unreadable", f"the token file {path} cannot be read: {error}") from error


def _check(values: Mapping[str, Any]) -> None:
    if not values["token"]:
        raise ConfigurationError(
            "token.missing",
            "there is no registration token",
            help="give --token file://PATH, token=... in the configuration file, or BUILDKITE_AGENT_TOKEN",
        )
    if not all("!" <= character <= "~" for character in values["token"]):
        raise ConfigurationError("token.unreadable", "the registration token has characters that no token has")
    for name, choices in _CHOICES.items():
        value = values[name.replace("-", "_")]
        if value not in choices:
            words = " or ".join(choice or "empty" for choice in choices)
            raise ConfigurationError("config.value", f"{name} is {value!r}; it has to be {words}")
    if values["acquire_job"] and values["spawn"] != 1:
        raise ConfigurationError(
            "config.value", "acquire-job runs one job, so it cannot go with spawn", help="leave out one of the two"
        )
    keys = ("signing-jwks-file", "signing-aws-kms-key", "signing-gcp-kms-key")
    beside = next((name for name in keys if values[name.replace("-", "_")]), "")
    if values["signer_socket"] and beside:
        raise ConfigurationError(
            "config.value",
            f"signer-socket and {beside} contradict each other: jobs could use that key",
            help="keep one of the two",
        )
    for pair in values["git_submodule_clone_config"]:
        if not re.fullmatch(r"[A-Za-z][A-Za-z0-9.-]*=.*", pair):
            raise ConfigurationError(
                "config.value", f"git-submodule-clone-config has {pair!r}, which is not NAME=VALUE"
            )
    for protocol in values["git_protocols"]:
        if not re.fullmatch(r"[a-z][a-z0-9+.-]*", protocol) or protocol == "ext":
            raise ConfigurationError(
                "config.value", f"git-protocols has {protocol!r}, which is not the name of one that may be allowed"
            )
    for option in ("allowed_repositories", "allowed_plugins", "allowed_environment_variables"):
        for pattern in values[option]:
            try:
                re.compile(pattern)
            except re.error as error:
                raise ConfigurationError(
                    "config.value", f"{option.replace('_', '-')} has {pattern!r}, no regular expression: {error}"
                ) from error

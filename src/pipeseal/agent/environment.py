"""A job's variables: built from nothing, out of four sources, by the tables of this file.

1. A few variables of the agent's own environment (`PASSED_ON`), and those the operator names.
2. The server's variables for the job. A variable that the verified step covers (its `env`, or an `env::` field) goes
   in. Another one goes in unless it could change how programs start, what the agent does, or where it does it: then
   it is left out, and the job's log says so. When the operator runs unverified jobs on purpose, all of them go in.
3. What the step itself says: its variables, command, plugins, repository and checkout.
4. The agent's own variables (`OWN`): they win over everything.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from pipeseal.errors import VerificationError, escape_control

# From the agent's own environment.
PASSED_ON = re.compile(
    r"PATH|HOME|USER|LOGNAME|SHELL|LANG|LANGUAGE|LC_[A-Z]+|TZ|TMPDIR|SSH_AUTH_SOCK|SSL_CERT_FILE|SSL_CERT_DIR"
    r"|(?i:https?_proxy|no_proxy|all_proxy)"
)

# The agent's own, all with the prefix `BUILDKITE_`: what the server says about them is overwritten or left out.
OWN = frozenset(
    {
        "ENV_FILE", "ENV_JSON_FILE", "AGENT_JOB_TIMEOUT_FILE", "AGENT_ENDPOINT", "AGENT_ACCESS_TOKEN", "AGENT_TOKEN",
        "NO_HTTP2", "AGENT_DEBUG", "AGENT_DEBUG_HTTP", "AGENT_PID", "BIN_PATH", "AGENT_CACHE_PATHS", "SECRETS_CONFIG",
        "AGENT_JOB_API_SOCKET", "AGENT_JOB_API_TOKEN", "AGENT_NAME", "AGENT_ID", "JOB_ID", "IGNORED_ENV",
        "CONFIG_PATH", "BUILD_PATH", "SOCKETS_PATH", "HOOKS_PATH", "ADDITIONAL_HOOKS_PATHS", "PLUGINS_PATH",
        "GIT_MIRRORS_PATH", "COMMAND_EVAL", "PLUGINS_ENABLED", "LOCAL_HOOKS_ENABLED", "STRICT_SINGLE_HOOKS",
        "SSH_KEYSCAN", "SHELL", "HOOKS_SHELL", "REDACTED_VARS", "AGENT_EXPERIMENT", "CHECKOUT_OVERRIDE_MODE",
        "CHECKOUT_ATTEMPTS", "CANCEL_GRACE_PERIOD", "SIGNAL_GRACE_PERIOD_SECONDS", "CANCEL_SIGNAL", "PTY",
        "TRACE_CONTEXT_ENCODING", "PLUGIN_VALIDATION", "JOB_LOGS_OTLP", "AGENT_DISABLE_WARNINGS_FOR",
        "GIT_MIRRORS_SKIP_UPDATE", "GIT_MIRRORS_LOCK_TIMEOUT", "GIT_MIRROR_CHECKOUT_MODE", "GIT_CLONE_MIRROR_FLAGS",
        "GIT_SUBMODULE_CLONE_CONFIG", "GIT_REMOTE_MIRROR_URL", "PLUGINS_ALWAYS_CLONE_FRESH", "AGENT_AWS_KMS_KEY",
        "AGENT_GCP_KMS_KEY", "AGENT_JWKS_FILE", "AGENT_JWKS_KEY_ID", "AGENT_DEBUG_SIGNING", "BOOTSTRAP_PHASES",
        "KUBERNETES_EXEC", "CONTAINER_COUNT", "JOB_CONTEXT_DIR",
    }
)  # fmt: skip

# How the checkout is done, all with the prefix `BUILDKITE_`: the step's, or the operator's.
CHECKOUT = frozenset(
    {
        "GIT_CHECKOUT_FLAGS", "GIT_CLONE_FLAGS", "GIT_FETCH_FLAGS", "GIT_CLEAN_FLAGS", "GIT_COMMIT_VERIFICATION",
        "GIT_SPARSE_CHECKOUT_PATHS", "GIT_SPARSE_CHECKOUT_MODE", "GIT_SUBMODULES", "SKIP_CHECKOUT", "CLEAN_CHECKOUT",
        "GIT_SKIP_FETCH_EXISTING_COMMITS", "GIT_CHECKOUT_TIMEOUT", "GIT_LFS_ENABLED", "GIT_SSH_KEY",
        "BUILD_CHECKOUT_PATH", "NO_LOCAL_HOOKS", "USE_REPOSITORY_PROVIDER_GIT_CREDENTIALS",
        "USE_GITHUB_APP_GIT_CREDENTIALS",
    }
)  # fmt: skip

# What a hook or plugin may not change either (`BUILDKITE_` again).
PROTECTED = frozenset(
    {
        "AGENT_ACCESS_TOKEN", "AGENT_DEBUG", "AGENT_ENDPOINT", "AGENT_JOB_TIMEOUT_FILE", "AGENT_PID", "BIN_PATH",
        "BUILD_PATH", "CHECKOUT_OVERRIDE_MODE", "COMMAND_EVAL", "CONFIG_PATH", "CONTAINER_COUNT",
        "GIT_CLONE_MIRROR_FLAGS", "GIT_MIRRORS_LOCK_TIMEOUT", "GIT_MIRRORS_PATH", "GIT_MIRRORS_SKIP_UPDATE",
        "GIT_MIRROR_CHECKOUT_MODE", "GIT_REMOTE_MIRROR_URL", "GIT_SUBMODULE_CLONE_CONFIG", "HOOKS_PATH",
        "HOOKS_SHELL", "JOB_CONTEXT_DIR", "KUBERNETES_EXEC", "LOCAL_HOOKS_ENABLED", "PLUGINS_ENABLED", "PLUGINS_PATH",
        "SHELL", "SSH_KEYSCAN",
    }
)  # fmt: skip

# Variables that change how programs start, what they load, or whom they trust.
STARTS_PROGRAMS = re.compile(
    r"(LD|DYLD)_.*|GCONV_PATH|LOCPATH|NLSPATH|GLIBC_TUNABLES|MALLOC_.*|RES_OPTIONS|HOSTALIASES"
    r"|BASH_ENV|ENV|SHELLOPTS|BASHOPTS|BASH_FUNC_.*|BASH_.*|PS4|IFS|PROMPT_COMMAND|CDPATH|GLOBIGNORE|INPUTRC|ZDOTDIR"
    r"|PATH|HOME|USER|LOGNAME|SHELL|TMPDIR|TERMINFO.*|TERMCAP|XDG_.*"
    r"|GIT_.*|SSH_.*|EDITOR|VISUAL|PAGER|BROWSER|LESSOPEN|LESSCLOSE|LESS"
    r"|PYTHON.*|PIP_.*|UV_.*|NODE_(OPTIONS|PATH|EXTRA_CA_CERTS|TLS_REJECT_UNAUTHORIZED)|(?i:npm_config_.*)|YARN_.*"
    r"|PERL5?(LIB|OPT|DB)|PERL_.*|RUBY(LIB|OPT)|GEM_.*|BUNDLE_.*|PHPRC|PHP_INI_SCAN_DIR|LUA_(PATH|CPATH|INIT).*"
    r"|JAVA_TOOL_OPTIONS|_JAVA_OPTIONS|JDK_JAVA_OPTIONS|CLASSPATH|JAVA_HOME|(MAVEN|GRADLE|ANT|SBT|JVM)_(OPTS|ARGS|HOME)"
    r"|GO(FLAGS|PROXY|ROOT|PATH|ENV|NOSUMDB|NOSUMCHECK|SUMDB|PRIVATE|INSECURE|TOOLCHAIN|DEBUG)|CGO_.*"
    r"|RUST(C|C_WRAPPER|FLAGS|DOCFLAGS|UP_.*)|CARGO_.*|(GNU)?MAKEFLAGS|MAKEFILES|CC|CXX|CPP|LD|AR|AS"
    r"|(C|CXX|CPP|LD)FLAGS|CMAKE_.*|PKG_CONFIG.*|DOTNET_.*|COR(ECLR)?_.*|DOCKER_.*|COMPOSE_.*|KUBECONFIG"
    r"|SSL_.*|CURL_.*|AWS_CA_BUNDLE|REQUESTS_CA_BUNDLE|(?i:https?_proxy|no_proxy|all_proxy|ftp_proxy)"
)
# The same among `BUILDKITE_` names: plugin configuration comes from the step, destinations from the operator,
# and how a pipeline is uploaded from whoever wrote the command.
STARTS_PHASES = re.compile(
    r"PLUGIN_.*|DOCKER.*|REQUEST_HEADER_.*|S3_.*|GS_.*|GCS_.*|ARTIFACTORY_.*|AZURE_BLOB_.*|ARTIFACT_UPLOAD_DESTINATION"
    r"|PIPELINE_(NO_INTERPOLATION|REPLACE|UPLOAD_.*)|AGENT_PIPELINE_.*|AGENT_NO_JOB_API|CHANGED_FILES_PATH"
    r"|GIT_DIFF_BASE|FETCH_DIFF_BASE|APPLY_IF_CHANGED|TRACING_.*|AGENT_APPLY_.*|HOOK_.*|LAST_HOOK_EXIT_STATUS"
    r"|COMMAND_EXIT_STATUS|JOB_(CANCELLED|TIMED_OUT)|REPO_MIRROR|JOB_LOG_.*"
)

_PREFIX = "BUILDKITE_"
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")

MAX_MESSAGE_BYTES = 65_536
# Linux refuses to start a program with a longer variable (MAX_ARG_STRLEN), or with all of them longer than this.
MAX_VARIABLE_BYTES = 131_000
MAX_TOTAL_BYTES = 1_500_000


class LeftOut(NamedTuple):
    """A variable of the server that the job does not get, and why."""

    name: str
    reason: str


@dataclass(slots=True)
class JobEnvironment:
    """A job's variables.

    Parameters:
        values: all of them.
        server: those that came from the server, for `BUILDKITE_ENV_FILE`.
        left_out: the server's variables that the job does not get.
        overwritten: names whose value the agent replaced by its own.
    """

    values: dict[str, str]
    server: dict[str, str]
    left_out: list[LeftOut] = field(default_factory=list)
    overwritten: list[str] = field(default_factory=list)


def is_protected(name: str) -> bool:
    """Whether a hook may not change this variable."""
    return name.startswith(_PREFIX) and name[len(_PREFIX) :] in PROTECTED


def base_environment(agent_environment: Mapping[str, str], pass_on: Collection[str] = ()) -> dict[str, str]:
    """The part of the agent's environment that every job gets.

    Parameters:
        agent_environment: all of it.
        pass_on: further names that the operator wants passed on.
    """
    return {name: value for name, value in agent_environment.items() if PASSED_ON.fullmatch(name) or name in pass_on}


def build_environment(
    *,
    base: Mapping[str, str],
    server: Mapping[str, str],
    covered: Collection[str] | None,
    step: Mapping[str, str],
    own: Mapping[str, str],
) -> JobEnvironment:
    """Put a job's variables together.

    Parameters:
        base: from `base_environment`.
        server: the server's variables, as they came.
        covered: names that the verified step covers; None when jobs are not verified on this agent, on purpose.
        step: what the step says, as variables.
        own: the agent's own variables for this job.

    Raises:
        VerificationError: a name or value that cannot be handed to a program, or that is made to look like another
            variable (codes `environment.name`, `environment.value`).
    """
    values = dict(base)
    result = JobEnvironment(values, {})
    for name, value in server.items():
        _check_name(name)
        if "\0" in value:
            raise _bad_value(name, "holds a NUL byte")
        if name in step or name in own:
            if name in own and own[name] != value and name not in step:
                result.overwritten.append(name)
            continue
        reason = _reason_to_leave_out(name, covered)
        if reason:
            result.left_out.append(LeftOut(name, reason))
        else:
            result.server[name] = values[name] = _shorten(name, value)
    for name, value in step.items():
        _check_name(name)
        if "\0" in value:
            raise _bad_value(name, "holds a NUL byte")
        result.server[name] = values[name] = value
    values |= own
    total = 0
    for name, value in values.items():
        size = len(name) + len(value.encode("utf-8", "surrogatepass")) + 2
        total += size
        if size > MAX_VARIABLE_BYTES:
            raise _bad_value(
                name, f"has {size:,} bytes; no program can be started with more than {MAX_VARIABLE_BYTES:,}"
            )
    if total > MAX_TOTAL_BYTES:
        raise VerificationError(
            "environment.value",
            f"the job's variables have {total:,} bytes; no program can be started with more than {MAX_TOTAL_BYTES:,}",
        )
    return result


def _check_name(name: str) -> None:
    # An environment is a list of NAME=VALUE: a name with an equals sign is another variable in disguise.
    if not name or any(character in "=\0\n" for character in name):
        raise VerificationError(
            "environment.name",
            f"the job has a variable with the name {escape_control(name[:80])!r}, which is made to look like another",
            evidence={"name": name[:80]},
        )


def _bad_value(name: str, problem: str) -> VerificationError:
    return VerificationError("environment.value", f"the variable {name} {problem}", evidence={"name": name})


def _reason_to_leave_out(name: str, covered: Collection[str] | None) -> str:
    """Why the server may not set `name`; empty when it may."""
    is_ours = name.startswith(_PREFIX)
    rest = name[len(_PREFIX) :] if is_ours else name
    if is_ours and rest in OWN:
        return "is the agent's own"
    if covered is None or name in covered:
        return ""
    if not _NAME.fullmatch(name):
        return "is not a name that shells know, and no signature covers it"
    if is_ours and rest in CHECKOUT:
        return "changes the checkout, and no signature covers it"
    if is_ours and STARTS_PHASES.fullmatch(rest):
        return "changes what the agent does, and no signature covers it"
    if not is_ours and STARTS_PROGRAMS.fullmatch(name):
        return "changes how programs start, and no signature covers it"
    return ""


def _shorten(name: str, value: str) -> str:
    """A commit message may be endless; nothing else is shortened."""
    if name != "BUILDKITE_MESSAGE":
        return value
    encoded = value.encode("utf-8", "surrogatepass")
    if len(encoded) <= MAX_MESSAGE_BYTES:
        return value
    kept = encoded[: MAX_MESSAGE_BYTES - 100].decode("utf-8", "ignore")
    return f"{kept} [value truncated {len(encoded)} -> {len(kept.encode())} bytes]"


def render_environment_file(values: Mapping[str, str]) -> str:
    """`BUILDKITE_ENV_FILE`: one `NAME="value"` a line, quoted as Go's `%q` does."""
    from pipeseal.agent.redaction import go_quoted

    return "".join(f'{name}="{go_quoted(value)}"\n' for name, value in values.items())

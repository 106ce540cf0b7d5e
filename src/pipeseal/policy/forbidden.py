"""Variables that no server may set, whatever a policy says, with the reason for each family of names.

A signed step may set them: what its author signed is what its author meant. The agent's own (`OWN`) nobody sets.
"""

from __future__ import annotations

import re
from typing import NamedTuple

PREFIX = "BUILDKITE_"


class Forbidden(NamedTuple):
    """One family of names.

    Parameters:
        names: what matches, as a whole.
        reason: to follow the name: what such a variable does.
    """

    names: re.Pattern[str]
    reason: str


# The agent's own, all with the prefix `BUILDKITE_`.
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
        "USE_GITHUB_APP_GIT_CREDENTIALS", "REFSPEC",
    }
)  # fmt: skip

# The families among names without the prefix; first match gives the reason.
_PROGRAMS: tuple[Forbidden, ...] = (
    Forbidden(
        re.compile(
            r"(LD|DYLD)_.*|GCONV_PATH|LOCPATH|NLSPATH|GLIBC_TUNABLES|MALLOC_.*|RES_OPTIONS|HOSTALIASES|LOCALDOMAIN"
        ),
        "changes what every program loads",
    ),
    Forbidden(
        re.compile(
            r"BASH_ENV|ENV|SHELLOPTS|BASHOPTS|BASH_.*|PS4|IFS|PROMPT_COMMAND|CDPATH|GLOBIGNORE|INPUTRC|ZDOTDIR|ENVIRON"
        ),
        "changes how a shell starts",
    ),
    Forbidden(re.compile(r"GIT_.*|SSH_.*"), "changes what git or ssh runs, and whom it talks to"),
    Forbidden(
        re.compile(
            r"PATH|PATHEXT|HOME|USER|LOGNAME|SHELL|TMPDIR|TMP|TEMP|TERMINFO.*|TERMCAP|XDG_.*|EDITOR|VISUAL|PAGER|BROWSER"
            r"|LESSOPEN|LESSCLOSE|LESS|MANPAGER"
        ),
        "changes which programs and files are found",
    ),
    Forbidden(
        re.compile(
            r"PYTHON.*|PIP_.*|UV_.*|POETRY_.*|NODE_(OPTIONS|PATH|EXTRA_CA_CERTS|TLS_REJECT_UNAUTHORIZED)"
            r"|(?i:npm_config_.*)|YARN_.*|PERL5?(LIB|OPT|DB)|PERL_.*|RUBY(LIB|OPT|SHELL)|GEM_.*|BUNDLE_.*|PHPRC"
            r"|PHP_INI_SCAN_DIR|LUA_(PATH|CPATH|INIT).*|JAVA_TOOL_OPTIONS|_JAVA_OPTIONS|JDK_JAVA_OPTIONS|CLASSPATH"
            r"|JAVA_HOME|(MAVEN|MVN|GRADLE|ANT|SBT|JVM|M2)_(OPTS|ARGS|HOME|USER_HOME)"
            r"|GO(FLAGS|PROXY|ROOT|PATH|ENV|NOSUMDB|NOSUMCHECK|SUMDB|PRIVATE|INSECURE|TOOLCHAIN|DEBUG|NOPROXY)|CGO_.*"
            r"|RUST(C|C_WRAPPER|C_WORKSPACE_WRAPPER|FLAGS|DOCFLAGS|UP_.*)|CARGO_.*|(GNU)?MAKEFLAGS|MAKEFILES|MFLAGS"
            r"|CC|CXX|CPP|LD|AR|AS|NM|FC|(C|CXX|CPP|LD|F)FLAGS|COMPILER_PATH|LIBRARY_PATH|C_INCLUDE_PATH|CPATH|CMAKE_.*"
            r"|PKG_CONFIG.*|DOTNET_.*|COR(ECLR)?_.*|NUGET_.*|ELIXIR_.*|ERL_.*|MIX_.*|HOMEBREW_.*|CCACHE_.*"
        ),
        "changes what a language's tools load or where they fetch from",
    ),
    Forbidden(
        re.compile(
            r"SSL_.*|CURL_.*|WGETRC|AWS_CA_BUNDLE|REQUESTS_CA_BUNDLE|(?i:https?_proxy|no_proxy|all_proxy|ftp_proxy)"
        ),
        "changes whom encrypted connections trust, or leads them through a proxy",
    ),
    Forbidden(
        re.compile(
            r"AWS_.*|GOOGLE_.*|CLOUDSDK_.*|GCLOUD_.*|AZURE_.*|ARM_.*|KUBECONFIG|KUBERNETES_.*|DOCKER_.*|BUILDX_.*"
            r"|BUILDKIT_.*|COMPOSE_.*|CONTAINER_HOST|PODMAN_.*|VAULT_.*|CONSUL_.*|NOMAD_.*|TF_.*|TERRAFORM_.*|ANSIBLE_.*"
            r"|HELM_.*|OTEL_.*"
        ),
        "changes which cloud, container or tool endpoint is talked to, and as whom",
    ),
    Forbidden(re.compile(r"PIPESEAL_.*"), "changes what Pipeseal does"),
)
# The families among names with the prefix, without it.
_PHASES: tuple[Forbidden, ...] = (
    Forbidden(re.compile(r"PLUGIN_.*"), "is a plugin's configuration, which comes from the step alone"),
    Forbidden(re.compile(r"DOCKER.*"), "hands the command to a container"),
    Forbidden(
        re.compile(r"S3_.*|GS_.*|GCS_.*|ARTIFACTORY_.*|AZURE_BLOB_.*|ARTIFACT_UPLOAD_DESTINATION|ARTIFACT_UPLOAD_.*"),
        "chooses where artifacts go",
    ),
    Forbidden(
        re.compile(
            r"PIPELINE_(NO_INTERPOLATION|REPLACE|UPLOAD_.*|REJECT_.*)|AGENT_PIPELINE_.*|CHANGED_FILES_PATH|GIT_DIFF_BASE"
            r"|FETCH_DIFF_BASE|APPLY_IF_CHANGED|AGENT_APPLY_.*"
        ),
        "changes how a pipeline is uploaded and signed",
    ),
    Forbidden(
        re.compile(
            r"AGENT_NO_JOB_API|AGENT_.*SKIP_.*REDACTION|AGENT_PROFILE|AGENT_LOG_.*|AGENT_TRACE.*|TRACING_.*|JOB_LOG_.*"
            r"|REQUEST_HEADER_.*|REPO_MIRROR|HOOK_.*|LAST_HOOK_EXIT_STATUS|COMMAND_EXIT_STATUS|JOB_(CANCELLED|TIMED_OUT)"
            r"|GIT_.*|AGENT_SIGNING_.*|AGENT_VERIFICATION_.*|NO_.*|ALLOWED_.*|ENABLE_.*"
        ),
        "changes what the agent does",
    ),
)


def forbidden_reason(name: str) -> str:
    """Why no server may set `name`; empty when it is in none of the families."""
    if name.startswith(PREFIX):
        rest = name[len(PREFIX) :]
        if rest in OWN:
            return "is the agent's own"
        if rest in CHECKOUT:
            return "changes the checkout"
        return next((row.reason for row in _PHASES if row.names.fullmatch(rest)), "")
    return next((row.reason for row in _PROGRAMS if row.names.fullmatch(name)), "")


def is_own(name: str) -> bool:
    """Whether `name` is one that only the agent sets, signed or not."""
    return name.startswith(PREFIX) and name[len(PREFIX) :] in OWN


def families() -> list[tuple[str, str]]:
    """Every family of names with its reason, in words, for the docs."""

    def words(pattern: str) -> str:
        alternatives = []
        depth, current = 0, ""
        for character in pattern:
            depth += (character == "(") - (character == ")")
            if character == "|" and depth == 0:
                alternatives.append(current)
                current = ""
            else:
                current += character
        shown = (text.replace(".*", "*").replace("(?i:", "(").replace("?", "") for text in [*alternatives, current])
        return ", ".join(f"`{text}`".replace("|", "\\|") for text in shown)

    rows = [(words(row.names.pattern), row.reason) for row in _PROGRAMS]
    rows += [(f"`{PREFIX}` and {words(row.names.pattern)}", row.reason) for row in _PHASES]
    rows.append((f"`{PREFIX}` and {', '.join(f'`{name}`' for name in sorted(CHECKOUT))}", "changes the checkout"))
    rows.append((f"`{PREFIX}` and {', '.join(f'`{name}`' for name in sorted(OWN))}", "is the agent's own"))
    return rows

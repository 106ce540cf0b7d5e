"""The agent's options: one table for command line, configuration file, environment and docs."""

from __future__ import annotations

from typing import Any, Literal, NamedTuple

from pipeseal.pipeline.secret_names import DEFAULT_PATTERNS
from pipeseal.repository.git_config import DEFAULT_PROTOCOLS

Kind = Literal["text", "number", "flag", "list", "path", "paths", "key", "seconds"]


class Option(NamedTuple):
    """One row of the table.

    Parameters:
        name: long flag and key in the file.
        kind: how its text is read.
        help: one line.
        stock: the stock agent's environment variable without `BUILDKITE_`; empty when the option is ours.
        default: its value when nothing is said.
    """

    name: str
    kind: Kind
    help: str
    stock: str = ""
    default: Any = None

    @property
    def attribute(self) -> str:
        """Its name in `AgentSettings`."""
        return self.name.replace("-", "_")

    @property
    def variables(self) -> tuple[str, ...]:
        """Its environment variables, the first one wins."""
        ours = "PIPESEAL_AGENT_" + self.name.replace("-", "_").upper()
        return (ours, f"BUILDKITE_{self.stock}") if self.stock else (ours,)


OPTIONS: tuple[Option, ...] = (
    # --- who this agent is and whom it works for
    Option("token", "text", "Registration token, or file://PATH of a file that holds it.", "AGENT_TOKEN", ""),
    Option("endpoint", "text", "URL of the Agent API.", "AGENT_ENDPOINT", "http://127.0.0.1:8080/v3"),
    Option("name", "text", "Its name; %hostname and %spawn are filled in.", "AGENT_NAME", "%hostname-%spawn"),
    Option("priority", "text", "Agents with a higher number get work first.", "AGENT_PRIORITY", ""),
    Option("tags", "list", "Tags, such as os=linux.", "AGENT_TAGS", ()),
    Option("queue", "text", "Queue to take jobs from.", "AGENT_QUEUE", ""),
    Option("spawn", "number", "How many jobs to run at a time.", "AGENT_SPAWN", 1),
    Option("spawn-per-cpu", "number", "The same for each processor.", "AGENT_SPAWN_PER_CPU"),
    Option("spawn-with-priority", "flag", "Worker N has priority N.", "AGENT_SPAWN_WITH_PRIORITY", False),
    Option("acquire-job", "text", "Run the job with this id, and end.", "AGENT_ACQUIRE_JOB", ""),
    Option("reflect-exit-status", "flag", "End with the acquired job's status.", "AGENT_REFLECT_EXIT_STATUS", False),
    Option("disconnect-after-job", "flag", "Stop after one job.", "AGENT_DISCONNECT_AFTER_JOB", False),
    Option(
        "disconnect-after-idle-timeout",
        "seconds",
        "Stop after so many idle seconds; 0 means never.",
        "AGENT_DISCONNECT_AFTER_IDLE_TIMEOUT",
        0,
    ),
    Option(
        "disconnect-after-uptime",
        "seconds",
        "Stop after so many seconds, when no job runs; 0 means never.",
        "AGENT_DISCONNECT_AFTER_UPTIME",
        0,
    ),
    Option("health-check-addr", "text", "HOST:PORT to say on how it is.", "AGENT_HEALTH_CHECK_ADDR", ""),
    # --- what it will run
    Option("verification-jwks-file", "path", "Keys of the signers.", "AGENT_VERIFICATION_JWKS_FILE"),
    Option("policy-file", "path", "What may run, see docs/reference/policy.md."),
    Option(
        "ledger",
        "text",
        "What counts starts: a file, or postgresql:// for several machines.",
        "",
        "~/.local/share/pipeseal/ledger.sqlite",
    ),
    Option("decision-log", "path", "One JSON line for each decision, for `pipeseal policy report`."),
    Option("no-decision-reporting", "flag", "Tell the server of refusals alone.", "", False),
    Option("allow-shared-secrets", "flag", "Verify with secrets that signers share too (HS256 and kin).", "", False),
    Option(
        "verification-failure-behavior",
        "text",
        "block: refuse the job. warn: say so, and run it.",
        "AGENT_JOB_VERIFICATION_NO_SIGNATURE_BEHAVIOR",
        "block",
    ),
    Option("no-verification", "flag", "Run whatever the server sends, signed or not.", "", False),
    Option("allowed-repositories", "list", "Patterns (regular expressions).", "ALLOWED_REPOSITORIES", ()),
    Option("allowed-plugins", "list", "Patterns (regular expressions).", "ALLOWED_PLUGINS", ()),
    Option(
        "allowed-environment-variables",
        "list",
        "Further variables that the server may set (regular expressions).",
        "ALLOWED_ENVIRONMENT_VARIABLES",
        (),
    ),
    Option("no-command-eval", "flag", "Run scripts of the repository alone.", "NO_COMMAND_EVAL", False),
    Option("no-plugins", "flag", "Refuse plugins.", "NO_PLUGINS", False),
    Option("no-local-hooks", "flag", "Refuse hooks of repositories.", "NO_LOCAL_HOOKS", False),
    # --- what its jobs sign with when they upload a pipeline
    Option("signing-jwks-file", "key", "Key that uploads are signed with.", "AGENT_SIGNING_JWKS_FILE", ""),
    Option("signing-jwks-key-id", "text", "Which key of that file.", "AGENT_SIGNING_JWKS_KEY_ID", ""),
    Option("signing-aws-kms-key", "text", "Sign with this key in AWS KMS.", "AGENT_SIGNING_AWS_KMS_KEY", ""),
    Option("signing-gcp-kms-key", "text", "Or this in Google Cloud KMS.", "AGENT_SIGNING_GCP_KMS_KEY", ""),
    Option("signer-socket", "path", "Socket of the signer that signs uploads in this agent's place."),
    # --- how it runs jobs
    Option("build-path", "path", "Where jobs are checked out.", "BUILD_PATH", "~/.local/share/pipeseal/builds"),
    Option("hooks-path", "path", "Folder of agent hooks.", "HOOKS_PATH"),
    Option("additional-hooks-paths", "paths", "More folders of agent hooks.", "ADDITIONAL_HOOKS_PATHS", ()),
    Option("hooks-shell", "text", "What runs hooks written for a shell.", "HOOKS_SHELL", ""),
    Option("plugins-path", "path", "Where plugins are.", "PLUGINS_PATH", "~/.local/share/pipeseal/plugins"),
    Option("plugins-always-clone-fresh", "flag", "Clone for each job.", "PLUGINS_ALWAYS_CLONE_FRESH", False),
    Option("strict-single-hooks", "flag", "One command or checkout hook.", "STRICT_SINGLE_HOOKS", False),
    Option("shell", "text", "What runs a command.", "SHELL", "/bin/bash -e -c"),
    Option("bootstrap-script", "text", "Run this in place of all phases.", "BOOTSTRAP_SCRIPT_PATH", ""),
    Option("no-pty", "flag", "Run commands without a terminal.", "NO_PTY", False),
    Option("pass-environment", "list", "Variables of the agent that jobs get too.", "", ()),
    Option("redacted-vars", "list", "Names of secrets, with * and ?.", "REDACTED_VARS", DEFAULT_PATTERNS),
    Option("no-ansi-timestamps", "flag", "No times in the job's log.", "NO_ANSI_TIMESTAMPS", False),
    Option("cancel-grace-period", "seconds", "From being asked to end to SIGKILL.", "CANCEL_GRACE_PERIOD", 10),
    Option("cancel-signal", "text", "What asks a job to end.", "CANCEL_SIGNAL", "SIGTERM"),
    Option("sockets-path", "path", "Where its sockets are.", "SOCKETS_PATH", "~/.buildkite-agent/sockets"),
    Option(
        "expose-job-token",
        "flag",
        "Give jobs the server's address and the job's own token, not the agent's broker; for jobs in containers.",
        "",
        False,
    ),
    Option("no-job-api", "flag", "Jobs cannot change their own later phases.", "NO_JOB_API", False),
    Option("enable-job-log-tmpfile", "flag", "Jobs can read their own log.", "ENABLE_JOB_LOG_TMPFILE", False),
    Option("job-log-path", "path", "Folder for those logs.", "JOB_LOG_PATH"),
    Option("artifact-upload-concurrency", "number", "Uploads at once.", "ARTIFACT_UPLOAD_CONCURRENCY"),
    Option(
        "no-multipart-artifact-upload", "flag", "Send each file in one piece.", "NO_MULTIPART_ARTIFACT_UPLOAD", False
    ),
    Option("artifact-stores", "list", "More hosts that may hold artifacts.", "", ()),
    # --- how it checks out
    Option("skip-checkout", "flag", "Do not check out anything.", "SKIP_CHECKOUT", False),
    Option("checkout-attempts", "number", "How often to try a checkout.", "CHECKOUT_ATTEMPTS", 6),
    Option("no-git-submodules", "flag", "Leave submodules alone.", "NO_GIT_SUBMODULES", False),
    Option(
        "git-skip-fetch-existing-commits",
        "flag",
        "Do not fetch a commit that is there already.",
        "GIT_SKIP_FETCH_EXISTING_COMMITS",
        False,
    ),
    Option("no-git-object-check", "flag", "Believe the objects of clones and mirrors of before.", "", False),
    Option("ssh-keyscan", "flag", "Believe the host key of a new host.", "", False),
    Option("git-checkout-timeout", "seconds", "For one try; 0: no limit.", "GIT_CHECKOUT_TIMEOUT", 0),
    Option("git-commit-verification", "text", "warn or strict: be on the branch.", "GIT_COMMIT_VERIFICATION", ""),
    Option("git-sparse-checkout-paths", "list", "Check out these alone.", "GIT_SPARSE_CHECKOUT_PATHS", ()),
    Option("git-sparse-checkout-mode", "text", "cone or no-cone.", "GIT_SPARSE_CHECKOUT_MODE", "cone"),
    Option("git-submodule-clone-config", "list", "NAME=VALUE.", "GIT_SUBMODULE_CLONE_CONFIG", ()),
    Option("git-mirrors-path", "path", "Where mirrors of repositories are.", "GIT_MIRRORS_PATH"),
    Option("git-mirrors-skip-update", "flag", "Use mirrors as they are.", "GIT_MIRRORS_SKIP_UPDATE", False),
    Option("git-mirrors-lock-timeout", "seconds", "Wait for a mirror.", "GIT_MIRRORS_LOCK_TIMEOUT", 300),
    Option("git-mirror-checkout-mode", "text", "reference or dissociate.", "GIT_MIRROR_CHECKOUT_MODE", "reference"),
    Option("git-clone-mirror-flags", "text", "Flags of git clone --mirror.", "GIT_CLONE_MIRROR_FLAGS", "-v"),
    Option("git-config-file", "path", "The git configuration that checkouts use; no other is read."),
    Option("git-protocols", "list", "How git may fetch.", "", DEFAULT_PROTOCOLS),
    Option("git-clone-flags", "text", "Flags of git clone.", "GIT_CLONE_FLAGS", "-v"),
    Option("git-fetch-flags", "text", "Flags of git fetch.", "GIT_FETCH_FLAGS", "-v --prune"),
    Option("git-checkout-flags", "text", "Flags of git checkout.", "GIT_CHECKOUT_FLAGS", "-f"),
    Option("git-clean-flags", "text", "Flags of git clean.", "GIT_CLEAN_FLAGS", "-ffxdq"),
    # --- traces of its jobs
    Option("tracing-backend", "text", "opentelemetry: send traces of jobs to a collector.", "TRACING_BACKEND", ""),
    Option("tracing-service-name", "text", "What they call this agent.", "TRACING_SERVICE_NAME", ""),
    Option(
        "tracing-propagate-traceparent",
        "flag",
        "Put them into the trace that the server names.",
        "TRACING_PROPAGATE_TRACEPARENT",
        False,
    ),
    # --- its own log
    Option("log-format", "text", "text or json.", "LOG_FORMAT", "text"),
    Option("no-color", "flag", "No colours.", "AGENT_NO_COLOR", False),
)

BY_NAME = {option.name: option for option in OPTIONS}

# Keys of the stock agent that change nothing here: what they switch off is not done anyway.
WITHOUT_EFFECT = frozenset(
    {
        "no-ssh-keyscan", "no-http2", "no-feature-reporting", "no-plugin-validation", "debug", "debug-http",
        "log-level", "disable-warnings-for", "trace-context-encoding", "enable-environment-variable-allowlist",
    }
)  # fmt: skip
# Keys of the stock agent that this one does not know how to do yet.
NOT_SUPPORTED = frozenset(
    {
        "checkout-override-mode", "debug-signing", "experiment", "fail-on-missing-tags", "job-context-dir",
        "job-logs-otlp", "kubernetes-exec", "metrics-datadog", "metrics-datadog-distributions",
        "metrics-datadog-host", "ping-mode", "profile", "signal-grace-period-seconds", "tags-from-ec2-meta-data",
        "tags-from-ec2-meta-data-paths", "tags-from-ec2-tags",
        "tags-from-ecs-meta-data", "tags-from-gcp-labels", "tags-from-gcp-meta-data",
        "tags-from-gcp-meta-data-paths", "tags-from-host", "timestamp-lines", "wait-for-ec2-meta-data-timeout",
        "wait-for-ec2-tags-timeout", "wait-for-ecs-meta-data-timeout", "wait-for-gcp-labels-timeout",
        "write-job-logs-to-stdout",
    }
)  # fmt: skip

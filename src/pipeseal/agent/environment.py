"""A job's variables: built from nothing, out of four sources; the later ones win.

1. A few variables of the agent's own environment (`PASSED_ON`), and those the operator names.
2. The approved job's variables: what is proven, and what the policy lets the server set (`policy/environment.py`).
   When the operator runs unverified jobs on purpose, all that the server sends.
3. What the step itself says: its variables, command, plugins, repository and checkout.
4. The agent's own variables: nobody else sets those (`policy/forbidden.py`).
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

from pipeseal.errors import VerificationError, escape_control
from pipeseal.policy.environment import LeftOut, shorten_text
from pipeseal.policy.forbidden import forbidden_reason, is_own

# From the agent's own environment.
PASSED_ON = re.compile(
    r"PATH|HOME|USER|LOGNAME|SHELL|LANG|LANGUAGE|LC_[A-Z]+|TZ|TMPDIR|SSH_AUTH_SOCK|SSL_CERT_FILE|SSL_CERT_DIR"
    r"|(?i:https?_proxy|no_proxy|all_proxy)"
)

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

_PREFIX = "BUILDKITE_"

# Linux refuses to start a program with a longer variable (MAX_ARG_STRLEN), or with all of them longer than this.
MAX_VARIABLE_BYTES = 131_000
MAX_TOTAL_BYTES = 1_500_000


@dataclass(slots=True)
class JobEnvironment:
    """A job's variables.

    Parameters:
        values: all of them.
        server: those that came from the server and the step, for `BUILDKITE_ENV_FILE`.
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
    approved: Mapping[str, str],
    step: Mapping[str, str],
    own: Mapping[str, str],
) -> JobEnvironment:
    """Put a job's variables together.

    Parameters:
        base: from `base_environment`.
        approved: variables of the approved job.
        step: what the step says, as variables.
        own: the agent's own variables for this job.

    Raises:
        VerificationError: a name or value that cannot be handed to a program, or that is made to look like another
            variable (codes `environment.name`, `environment.value`).
    """
    values = dict(base)
    result = JobEnvironment(values, {})
    for name, value in approved.items():
        _check(name, value)
        if name in own:
            if own[name] != value:
                result.overwritten.append(name)
        elif is_own(name):
            result.left_out.append(LeftOut(name, forbidden_reason(name)))
        elif name not in step:
            result.server[name] = values[name] = shorten_text(value) if name == "BUILDKITE_MESSAGE" else value
    for name, value in step.items():
        _check(name, value)
        if name not in own and not is_own(name):
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


def _check(name: str, value: str) -> None:
    # An environment is a list of NAME=VALUE: a name with an equals sign is another variable in disguise.
    if not name or any(character in "=\0\n" for character in name):
        raise VerificationError(
            "environment.name",
            f"the job has a variable with the name {escape_control(name[:80])!r}, which is made to look like another",
            evidence={"name": name[:80]},
        )
    if "\0" in value:
        raise _bad_value(name, "holds a NUL byte")


def _bad_value(name: str, problem: str) -> VerificationError:
    return VerificationError("environment.value", f"the variable {name} {problem}", evidence={"name": name})


def render_environment_file(values: Mapping[str, str]) -> str:
    """`BUILDKITE_ENV_FILE`: one `NAME="value"` a line, quoted as Go's `%q` does."""
    from pipeseal.agent.redaction import go_quoted

    return "".join(f'{name}="{go_quoted(value)}"\n' for name, value in values.items())

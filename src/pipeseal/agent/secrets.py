"""The secrets that a step names: fetched with the job's token, hidden in the log, put into variables.

The names are the step's, and proven with it; the values are the server's word. So a secret cannot go into a variable
that the agent keeps to itself, nor into one that would change how programs start.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from pipeseal.agent.environment import is_protected
from pipeseal.agent.job_client import JobClient
from pipeseal.agent.parallel import in_parallel
from pipeseal.agent.session import JobSession, PhaseFailed
from pipeseal.errors import PipesealError, escape_control
from pipeseal.pipeline.steps import Secret

AT_ONCE = 10
# What the stock agent reports when it cannot set up a job: no exit status, and this reason.
REASON = "process_run_error"
MAX_VALUE_BYTES = 131_000

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
# What a program loads or runs before it does what it is for.
_STARTS_PROGRAMS = re.compile(
    r"(LD|DYLD)_.*|PATH|HOME|SHELL|IFS|ENV|PS4|CDPATH|BASH_ENV|BASH_FUNC_.*|SHELLOPTS|BASHOPTS|PROMPT_COMMAND|ZDOTDIR"
    r"|GIT_(SSH|SSH_COMMAND|SSH_VARIANT|EXEC_PATH|DIR|CONFIG.*|ASKPASS|EDITOR|EXTERNAL_DIFF|PROXY_COMMAND|TEMPLATE_DIR)"
    r"|SSH_ASKPASS|EDITOR|PAGER|PYTHON(PATH|HOME|STARTUP|WARNINGS|BREAKPOINT)|NODE_(OPTIONS|PATH)|PERL5(LIB|OPT|DB)"
    r"|RUBY(LIB|OPT)|(JAVA_TOOL|_JAVA|JDK_JAVA)_OPTIONS|(GNU)?MAKEFLAGS|(RUSTC|CARGO_BUILD_RUSTC)(_WRAPPER)?|GOFLAGS"
)
# Of the agent's and the server's own names, a secret may have one that is plainly for a secret.
_FOR_SECRETS = re.compile(r"BUILDKITE_(?!AGENT_|GIT_|PLUGIN_).*_(TOKEN|KEY|SECRET|PASSWORD|CREDENTIALS)")


def fetch_secrets(
    session: JobSession,
    secrets: Sequence[Secret],
    client: JobClient,
    job_id: str,
) -> None:
    """Fetch a step's secrets and set their variables. A secret without a variable is fetched to be hidden.

    Raises:
        PhaseFailed: a variable that a secret cannot go into, or a secret that cannot be had; none is set then.
    """
    session.log.header("Preparing secrets")
    for secret in secrets:
        name = secret.environment_variable
        if name is None:
            continue
        if not _NAME.fullmatch(name):
            raise _failed(f"the secret {_shown(secret.key)} cannot go into {_shown(name)}: it is no variable's name")
        if not _may_hold_a_secret(name):
            raise _failed(
                f"the secret {_shown(secret.key)} cannot go into {name}: no secret may change that variable"
            )

    def fetch(secret: Secret) -> str | PipesealError:
        try:
            return client.get_secret(job_id, secret.key)
        except PipesealError as error:
            return error

    answers = list(in_parallel(fetch, secrets, workers=min(AT_ONCE, len(secrets))))
    values = [answer for answer in answers if isinstance(answer, str)]
    session.log.redact(values)
    problems = [
        f"{_shown(secret.key)}: {problem}"
        for secret, answer in zip(secrets, answers, strict=True)
        if (problem := _problem(answer))
    ]
    if problems:
        raise _failed("these secrets could not be had: " + "; ".join(problems))
    variables = {
        secret.environment_variable: value
        for secret, value in zip(secrets, values, strict=True)
        if secret.environment_variable is not None
    }
    session.change(variables)
    for name in sorted(variables):
        session.log.comment(f"{name} added")


def _may_hold_a_secret(name: str) -> bool:
    if name.startswith("BUILDKITE"):
        return _FOR_SECRETS.fullmatch(name) is not None and not is_protected(name)
    return _STARTS_PROGRAMS.fullmatch(name) is None


def _problem(answer: str | PipesealError) -> str:
    if isinstance(answer, PipesealError):
        return answer.message
    if "\0" in answer or len(answer.encode("utf-8", "surrogatepass")) > MAX_VALUE_BYTES:
        return "its value cannot be given to a program"
    return ""


def _shown(text: str) -> str:
    return repr(escape_control(text[:100]))


def _failed(message: str) -> PhaseFailed:
    return PhaseFailed(message, status=-1, signal_reason=REASON)

"""What the commands inside a job share: their options, what they say on standard error, and what they may print.

Options, their variables and what goes to standard output are the stock agent's. Talk goes to standard error.
"""

from __future__ import annotations

import functools
import re
import sys
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

import click

if TYPE_CHECKING:
    from pipeseal.agent.artifacts.stores import StorePolicy
    from pipeseal.agent.job_api.client import JobApiClient
    from pipeseal.agent.job_client import JobClient
    from pipeseal.errors import PipesealError

Function = Callable[..., Any]

MAX_STDIN_BYTES = 64 << 20
# From talkative to silent, as the stock agent orders them.
_LEVELS = ("debug", "notice", "info", "error", "warn", "fatal")


class Talk:
    """What a command says on standard error.

    Parameters:
        level: the least important kind of line that is said.
    """

    def __init__(self, level: str) -> None:
        self._threshold = _LEVELS.index(level)

    @property
    def is_debugging(self) -> bool:
        """Whether everything is said."""
        return self._threshold == 0

    def say(self, text: str) -> None:
        """What is going on."""
        if self._threshold <= _LEVELS.index("info"):
            self._write(text)

    def warn(self, text: str) -> None:
        """What a person should look at."""
        if self._threshold <= _LEVELS.index("warn"):
            self._write(f"warning: {text}")

    def retrying(self, name: str, error: PipesealError, delay: float) -> None:
        """A call failed and will be tried again."""
        self.warn(f"{name}: {error}; trying again in {delay:.0f} s")

    def _write(self, text: str) -> None:
        # One write, so that lines of several threads do not mix.
        sys.stderr.write(text + "\n")
        sys.stderr.flush()


class Api:
    """How a command reaches the Agent API.

    Parameters:
        talk: see there.
        endpoint, token: from the options.
    """

    def __init__(self, talk: Talk, endpoint: str, token: str) -> None:
        self.talk = talk
        self.endpoint = endpoint
        self._token = token

    def stores(self, named: Sequence[str]) -> StorePolicy:
        """Which addresses artifacts may come from and go to: the control plane's host, and the stores that are named.

        Parameters:
            named: hosts, or several with commas between them.
        """
        import os

        from pipeseal.agent.artifacts.stores import StorePolicy
        from pipeseal.agent.connection import CONTROL_PLANE_VARIABLE

        # Inside a job the endpoint is the agent's, and no server may name something on the agent's own machine.
        return StorePolicy(os.environ.get(CONTROL_PLANE_VARIABLE) or self.endpoint, split_commas(named))

    def client(self) -> JobClient:
        """A client with the job's token."""
        from pipeseal.agent.job_client import JobClient

        return until_the_end(JobClient(self.endpoint, self._token, on_failure=self.talk.retrying))


class Closes(Protocol):
    """Something that is closed after use."""

    def close(self) -> None: ...


Closable = TypeVar("Closable", bound=Closes)


def until_the_end(thing: Closable) -> Closable:
    """`thing`, which is closed when the command ends."""
    click.get_current_context().call_on_close(thing.close)
    return thing


def job_api() -> JobApiClient:
    """The Job API of the job that this command runs in."""
    import os

    from pipeseal.agent.job_api.client import open_job_api

    return until_the_end(open_job_api(os.environ))


def split_commas(values: Sequence[str]) -> list[str]:
    """The texts in the values of a repeated option, which may hold several with commas between them."""
    return [text.strip() for value in values for text in value.split(",") if text.strip()]


_DURATION_PIECE = re.compile(r"(\d+(?:\.\d*)?|\.\d+)(ns|us|µs|ms|s|m|h)")
_UNIT_SECONDS = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}


def parse_duration(_context: click.Context, _parameter: click.Parameter, value: str) -> float:
    """Seconds of a duration such as `90s` or `1h30m`, as Go writes them; for options that hold one."""
    pieces = _DURATION_PIECE.findall(value)
    if value != "0" and (not pieces or "".join(map("".join, pieces)) != value):
        raise click.BadParameter(f"{value!r} is not a duration such as 90s or 1h30m")
    return float(sum(float(number) * _UNIT_SECONDS[unit] for number, unit in pieces))


def option(*names: str, **attributes: Any) -> Callable[[Function], Function]:
    """A click option that names its variable, in the help and when it is missing."""
    return click.option(*names, show_envvar="envvar" in attributes, **attributes)


def add_options(function: Function, options: Sequence[Callable[[Function], Function]]) -> Function:
    """`function` with options, in this order."""
    for option in reversed(options):
        function = option(function)
    return function


_GLOBAL = (
    option("--debug", is_flag=True, envvar="BUILDKITE_AGENT_DEBUG", help="Say everything."),
    option(
        "--log-level",
        type=click.Choice(_LEVELS),
        default="notice",
        envvar="BUILDKITE_AGENT_LOG_LEVEL",
        help="Say no less important things than these.  [notice]",
    ),
    # They change nothing here: there are no colours, experiments and profiles.
    option("--no-color", is_flag=True, hidden=True, expose_value=False),
    option("--experiment", multiple=True, hidden=True, expose_value=False),
    option("--profile", hidden=True, expose_value=False),
)
_API = (
    option(
        "--agent-access-token",
        envvar="BUILDKITE_AGENT_ACCESS_TOKEN",
        required=True,
        metavar="TOKEN",
        help="The job's token; jobs have it in the variable.",
    ),
    option(
        "--endpoint",
        envvar="BUILDKITE_AGENT_ENDPOINT",
        required=True,
        metavar="URL",
        help="Address of the Agent API.",
    ),
    # They change nothing here: HTTP/1.1 is spoken, and nothing that holds tokens is ever dumped.
    option("--no-http2", is_flag=True, hidden=True, expose_value=False),
    option("--debug-http", is_flag=True, hidden=True, expose_value=False),
    option("--trace-http", is_flag=True, hidden=True, expose_value=False),
)


def local_command(function: Function) -> Function:
    """A command that does not call the Agent API; gets `talk`."""

    @functools.wraps(function)
    def run(*, debug: bool, log_level: str, **given: Any) -> Any:
        return function(talk=Talk("debug" if debug else log_level), **given)

    return add_options(run, _GLOBAL)


def api_command(function: Function) -> Function:
    """A command that calls the Agent API; gets `api`."""

    @functools.wraps(function)
    def run(*, debug: bool, log_level: str, agent_access_token: str, endpoint: str, **given: Any) -> Any:
        talk = Talk("debug" if debug else log_level)
        return function(api=Api(talk, endpoint, agent_access_token), **given)

    return add_options(run, (*_API, *_GLOBAL))


job_option = option("--job", envvar="BUILDKITE_JOB_ID", required=True, metavar="ID", help="The job.  [this one]")
build_option = option(
    "--build", envvar="BUILDKITE_BUILD_ID", required=True, metavar="ID", help="The build.  [this one]"
)
redacted_vars_option = option(
    "--redacted-vars",
    multiple=True,
    envvar="BUILDKITE_REDACTED_VARS",
    metavar="A,B",
    help="Patterns of variables whose values are not sent; empty for none.  [*_PASSWORD, *_TOKEN, ...]",
)
sockets_path_option = option(
    "--sockets-path",
    envvar="BUILDKITE_SOCKETS_PATH",
    default="~/.buildkite-agent/sockets",
    metavar="PATH",
    help="The agents' folder for sockets.  [~/.buildkite-agent/sockets]",
)


def put(text: str) -> None:
    """Print exactly `text` on standard output, whatever the locale."""
    try:
        data = text.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        data = text.encode("utf-8", "replace")
    sys.stdout.buffer.write(data)
    sys.stdout.buffer.flush()


def put_json(value: object, *, pretty: bool = False, sort: bool = True) -> None:
    """Print JSON as the stock agent does: members in order, no escapes that would hide a secret from redaction."""
    import json

    style: dict[str, Any] = {"indent": 2} if pretty else {"separators": (",", ":")}
    put(json.dumps(value, ensure_ascii=False, sort_keys=sort, **style) + "\n")


def read_stdin() -> str:
    """All of standard input, as text that can be sent on."""
    data = sys.stdin.buffer.read(MAX_STDIN_BYTES + 1)
    if len(data) > MAX_STDIN_BYTES:
        raise click.UsageError(f"Standard input has more than {MAX_STDIN_BYTES} bytes.")
    return data.decode("utf-8", "surrogateescape")


def stdin_is_given() -> bool:
    """Whether standard input is something else than a terminal or another device."""
    import os
    import stat

    try:
        return not stat.S_ISCHR(os.fstat(sys.stdin.fileno()).st_mode)
    except (OSError, ValueError, AttributeError):
        return sys.stdin is not None  # it is no file at all, or closed


def value_or_stdin(value: str | None, what: str, talk: Talk) -> str:
    """`value`, or standard input when it was left out altogether."""
    if value is not None:
        return value
    talk.say(f"Reading {what} from standard input")
    return read_stdin()


def without_secrets(text: str, patterns: Sequence[str], what: str, talk: Talk) -> str:
    """`text` as it may be sent: the values of secret variables hidden, bytes that are not UTF-8 replaced.

    Parameters:
        patterns: value of `redacted_vars_option`.
        what: what the text is, for the warning.
    """
    import os

    from pipeseal.agent.job_client import clean_text
    from pipeseal.agent.redaction import Redactor, find_secrets
    from pipeseal.pipeline.secret_names import DEFAULT_PATTERNS

    names = split_commas(patterns) if patterns else DEFAULT_PATTERNS
    hidden, _ = find_secrets(os.environ, names)
    if text and hidden:
        redactor = Redactor()
        redactor.add_all(hidden.values())
        data = text.encode("utf-8", "surrogateescape")
        shown = redactor.feed(data) + redactor.flush()
        if shown != data:
            text = shown.decode("utf-8", "surrogateescape")
            talk.warn(
                f"{what} held the value of a secret variable, which was replaced by [REDACTED]; if it is meant to be "
                "sent, say --redacted-vars=''"
            )
    return clean_text(text)

"""Commands inside a job that are common enough to skip the command line's machinery: `pipeline upload`."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from pipeseal.errors import ConfigurationError, PipesealError, render_error

if TYPE_CHECKING:
    from pipeseal.agent.client import AgentClient
    from pipeseal.agent.upload_options import UploadCall

DEFAULT_ENDPOINT = "http://127.0.0.1:8080/v3"


def run(arguments: Sequence[str], status_of: Callable[[PipesealError], int] = lambda _error: 1) -> bool:
    """Run a plain `pipeline upload`; False, and nothing done, when it is anything else.

    Parameters:
        arguments: the words after the program's name.
        status_of: the exit status for an error; always 1 under the name `buildkite-agent`.

    Raises:
        SystemExit: it failed; the error is on standard error.
    """
    if list(arguments[:2]) != ["pipeline", "upload"]:
        return False
    from pipeseal.agent.upload_options import read_plain_call

    call = read_plain_call(arguments[2:], os.environ)
    if call is None:
        return False
    try:
        perform(call)
    except PipesealError as error:
        _say(render_error(error))
        sys.exit(status_of(error))
    return True


def perform(call: UploadCall) -> None:
    """Upload, with the words for people on standard error and a dry run on standard output.

    Raises:
        PipesealError: as `upload` and `upload_signed`.
    """
    from pipeseal.agent.upload_signed import goes_through_signer, upload_signed

    if goes_through_signer(call.options, os.environ):
        upload_signed(call.options, environment=os.environ, client=lambda: _client(call), say=_say)
        return
    from pipeseal.agent.upload import upload

    upload(call.options, environment=os.environ, client=lambda: _client(call), say=_say, output=_print)


def has_input() -> bool:
    """Whether standard input is a file, pipe or socket: what a shell gives when something is to be read."""
    import stat

    try:
        mode = os.fstat(sys.stdin.fileno()).st_mode
    except (OSError, ValueError, AttributeError):
        return False
    return not stat.S_ISCHR(mode)


def _client(call: UploadCall) -> AgentClient:
    from pipeseal.agent.client import AgentClient

    if not call.token:
        raise ConfigurationError(
            "token.missing",
            "there is no token to upload with",
            help="run this inside a job, where BUILDKITE_AGENT_ACCESS_TOKEN is set, or use --dry-run",
        )

    def on_failure(_name: str, error: PipesealError, delay: float) -> None:
        _say(f"warning: trying again in {delay:.0f} s: {error}")

    return AgentClient(call.endpoint or DEFAULT_ENDPOINT, call.token, on_failure=on_failure)


def _say(line: str) -> None:
    sys.stderr.write(line + "\n")


def _print(text: str) -> None:
    sys.stdout.write(text.removesuffix("\n") + "\n")
    sys.stdout.flush()

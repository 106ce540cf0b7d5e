"""The command `pipeseal` with short pauses (of PAUSE seconds) between the attempts of a call: a program for tests.

    python impatient.py agent start ...
    python impatient.py each 'meta-data set a b' 'annotate text'

Which failures are tried again, and how often, is as it is.
"""

from __future__ import annotations

import os
import shlex
import sys


def shorten_pauses() -> None:
    """Let every pause of the tables of retries be a short one."""
    from pipeseal.agent import job_client, retries
    from pipeseal.agent.artifacts import upload

    quick = retries.constant(float(os.environ.get("PAUSE", "0.02")))
    for table in (retries.RETRIES, job_client.RETRIES):
        table.update({name: retry._replace(delay=quick, jitter_seconds=0.0) for name, retry in table.items()})
    upload.SEND_RETRY = upload.SEND_RETRY._replace(delay=quick)


def main() -> None:
    """Run one command, or each of several."""
    from pipeseal.cli import main as run

    shorten_pauses()
    if sys.argv[1] != "each":
        run()
    for line in sys.argv[2:]:
        sys.argv[1:] = shlex.split(line)
        try:
            run()
        except SystemExit as end:
            if end.code:
                raise


if __name__ == "__main__":
    main()

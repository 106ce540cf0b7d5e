"""Runs one command and writes what it cost as JSON: a small parent, so that the child's peak memory is its own.

Linux carries the peak memory of the process that called exec over into the new program, so a child started straight
from the harness would never show less than the harness itself. Run as `python -I -S launch.py FD COMMAND...`; the
result goes to the open file descriptor FD. Imports nothing but what the bare interpreter has.
"""

import os
import sys
import time


def main() -> None:
    """Run the command line in `sys.argv`; exits with the command's status, 128 + number for a signal."""
    report = int(sys.argv[1])
    os.set_inheritable(report, False)
    command = sys.argv[2:]
    start = time.monotonic()
    pid = os.posix_spawnp(command[0], command, os.environ)
    _, status, usage = os.wait4(pid, 0)
    seconds = time.monotonic() - start
    code = os.waitstatus_to_exitcode(status)
    cpu = usage.ru_utime + usage.ru_stime
    line = f'{{"seconds": {seconds!r}, "cpu_seconds": {cpu!r}, "max_rss_bytes": {usage.ru_maxrss * 1024}}}'
    os.write(report, line.encode())
    sys.exit(code if code >= 0 else 128 - code)


if __name__ == "__main__":
    main()

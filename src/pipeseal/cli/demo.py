"""`pipeseal demo`: the whole path on this machine, then four attacks, each refused."""

from __future__ import annotations

import click


@click.command("demo")
@click.option("--keep", is_flag=True, help="Keep the temporary folder with the repository, keys, server and logs.")
def demo(keep: bool) -> None:
    """Watch a pipeline be signed and run, then four attacks be refused.

    Everything happens on loopback, in a temporary folder, with keys made on the spot: a git repository, a control
    plane, an agent that holds the signing key and one that does not. Ends with 0 only if the honest build passed
    and every attack was refused before anything ran.
    """
    import sys
    import tempfile
    from pathlib import Path

    from pipeseal.lab.demo import Demo

    folder = Path(tempfile.mkdtemp(prefix="pipeseal-demo-"))
    try:
        done = Demo(folder, say=click.echo).run()
    finally:
        if keep:
            click.echo(f"Kept: {folder}")
        else:
            import shutil

            shutil.rmtree(folder, ignore_errors=True)
    sys.exit(0 if done else 1)

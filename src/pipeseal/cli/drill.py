"""`pipeseal drill`: a malicious control plane, a real agent, and every attack of the catalogue against it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from pipeseal.lab.own_agent import OwnAgent
    from pipeseal.lab.result import Result
    from pipeseal.lab.scenario import Scenario


@click.command("drill")
@click.option("--group", "groups", multiple=True, metavar="LETTER", help="Only this group of attacks; repeatable.")
@click.option("--scenario", "wanted", multiple=True, metavar="ID", help="Only this attack, such as A01; repeatable.")
@click.option("--list", "list_only", is_flag=True, help="List the attacks, and try none.")
@click.option("--agent-config", metavar="FILE", help="Attack an agent with the settings and policy of this file.")
@click.option("--repository", metavar="URL", help="With --agent-config: a repository that its policy allows.")
@click.option("--pipeline", metavar="SLUG", help="With --agent-config: a pipeline that its policy allows.")
@click.option("--organization", metavar="SLUG", help="With --agent-config: an organisation that its policy allows.")
@click.option("--branch", metavar="NAME", help="With --agent-config: a branch that its policy allows.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document at the end.")
@click.option("--keep", metavar="DIR", help="Keep everything in this new folder: requests, logs, repositories, keys.")
@click.option("--allow-missing", is_flag=True, help="Do not fail because of attacks that cannot be shown yet.")
def drill(
    groups: tuple[str, ...],
    wanted: tuple[str, ...],
    list_only: bool,
    agent_config: str | None,
    repository: str | None,
    pipeline: str | None,
    organization: str | None,
    branch: str | None,
    as_json: bool,
    keep: str | None,
    allow_missing: bool,
) -> None:
    """Attack an agent with a malicious control plane, and see that nothing gets through.

    A control plane in the attacker's hands and a real agent are started on loopback, in a temporary folder, with
    repositories, keys and a policy of their own. Each attack is tried beside its honest twin, which has to run. An
    attack passes only when it was refused with the expected code, nothing of the job started, no file outside was
    read or changed, nobody connected anywhere else, and no secret left.

    With --agent-config the jobs are offered to an agent with your own settings and policy, in a temporary copy: keys
    are stood in for by others of the same id, your hooks and repositories are not touched, and the report says what
    your settings refuse. Attacks that need other settings are left out.

    \b
    Examples:
      pipeseal drill                          every attack
      pipeseal drill --agent-config ~/.config/pipeseal/runner.cfg
      pipeseal drill --group C --group D      variables, and other code
      pipeseal drill --scenario B01 --keep /tmp/b01
      pipeseal drill --json | jq .groups

    Exit status: 0 when nothing got through, 1 when something did or could not be shown.
    """
    import sys
    import tempfile
    import time
    from pathlib import Path

    from pipeseal.lab.result import State
    from pipeseal.lab.score import document, summary

    say: Callable[[str], object] = (lambda text: None) if as_json else click.echo
    chosen = _choose(groups, wanted)
    own = None
    if agent_config is not None:
        import os

        from pipeseal.lab.own_agent import load_own_agent

        own = load_own_agent(
            Path(agent_config),
            os.environ,
            repository=repository or "",
            pipeline=pipeline or "",
            organization=organization or "",
            branch=branch or "",
        )
        for line in own.describe():
            say(line)
    if list_only:
        for scenario in chosen:
            click.echo(f"{scenario.id}  {scenario.title}")
        return
    folder = _new_folder(keep) if keep else Path(tempfile.mkdtemp(prefix="pipeseal-drill-"))
    begun = time.monotonic()
    try:
        results = _run(folder, chosen, own, say=say)
    finally:
        if keep:
            click.echo(f"Kept: {folder}", err=True)
        else:
            import shutil

            shutil.rmtree(folder, ignore_errors=True)
    seconds = time.monotonic() - begun
    if as_json:
        import json

        click.echo(json.dumps(document(results, seconds), indent=1, ensure_ascii=False))
    else:
        click.echo("\n" + "\n".join(summary(results, seconds)))
    failed = [result for result in results if not result.passed]
    if allow_missing:
        failed = [result for result in failed if result.state is not State.NOT_YET]
    sys.exit(1 if failed else 0)


def _choose(groups: Sequence[str], wanted: Sequence[str]) -> list[Scenario]:
    """The scenarios that are asked for, all when none is."""
    from pipeseal.lab.attacks import GROUPS, SCENARIOS

    letters, ids = {letter.upper() for letter in groups}, {name.upper() for name in wanted}
    if unknown := sorted(letters - set(GROUPS)):
        raise click.UsageError(f"there is no group {unknown[0]}; there are {', '.join(GROUPS)}")
    if unknown := sorted(ids - {scenario.id for scenario in SCENARIOS}):
        raise click.UsageError(f"there is no scenario {unknown[0]}; --list lists them")
    return [
        scenario
        for scenario in SCENARIOS
        if (not letters and not ids) or scenario.group in letters or scenario.id in ids
    ]


def _new_folder(name: str) -> Path:
    from pathlib import Path

    path = Path(name).absolute()
    try:
        path.mkdir(parents=True)
    except FileExistsError:
        raise click.UsageError(f"{path} is there already; --keep wants a new folder") from None
    return path


def _run(
    folder: Path, chosen: Sequence[Scenario], own: OwnAgent | None, *, say: Callable[[str], object]
) -> list[Result]:
    from pipeseal.lab.attacks import GROUPS
    from pipeseal.lab.run import run_all
    from pipeseal.lab.score import MARKS, colour_of, line_of

    letter = ""

    def tell(result: Result) -> None:
        nonlocal letter
        if result.scenario.group != letter:
            letter = result.scenario.group
            say(click.style(f"\n{letter}  {GROUPS[letter]}", bold=True))
        say(f"  {click.style(MARKS[result.state], fg=colour_of(result))} {line_of(result)}")

    return run_all(folder, chosen, tell, own)

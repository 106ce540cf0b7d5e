"""`pipeseal completion SHELL`: the script that makes a shell complete our commands."""

from __future__ import annotations

import click


@click.command("completion")
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def completion(shell: str) -> None:
    """Print a shell completion script.

    \b
    Examples:
      pipeseal completion bash > ~/.local/share/bash-completion/completions/pipeseal
      pipeseal completion zsh  > ~/.zfunc/_pipeseal
      pipeseal completion fish > ~/.config/fish/completions/pipeseal.fish
    """
    from click.shell_completion import get_completion_class

    from pipeseal.cli import root

    script = get_completion_class(shell)
    assert script is not None  # every choice above is one of click's own shells
    click.echo(script(root, {}, "pipeseal", "_PIPESEAL_COMPLETE").source())

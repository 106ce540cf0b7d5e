"""`pipeseal explain CODE`: what a code means, its likely causes and what to do. Works offline."""

from __future__ import annotations

import click

from pipeseal.errors.codes import CODES, Code, find_code


def _known_codes(_ctx: click.Context, _parameter: click.Parameter, incomplete: str) -> list[str]:
    return [row.code for row in CODES if row.code.startswith(incomplete)]


@click.command("explain")
@click.argument("code", required=False, shell_complete=_known_codes)
@click.option("-o", "--output", type=click.Choice(["text", "json"]), default="text", help="Text, or JSON for tools.")
def explain(code: str | None, output: str) -> None:
    """Explain a code: what it means, likely causes, what to do.

    \b
    Examples:
      pipeseal explain signature.missing
      pipeseal explain                     # every code with its title
    """
    if code is None:
        rows: tuple[Code, ...] = CODES
    else:
        row = find_code(code)
        if row is None:
            from difflib import get_close_matches

            near = get_close_matches(code, [known.code for known in CODES], 3, 0.4)
            hint = f" Did you mean {' or '.join(near)}?" if near else " `pipeseal explain` lists every code."
            raise click.UsageError(f"There is no code {code!r}.{hint}")
        rows = (row,)
    if output == "json":
        import json

        documents = [row._asdict() for row in rows]
        click.echo(json.dumps(documents if code is None else documents[0], indent=2))
    elif code is None:
        width = max(len(row.code) for row in rows)
        for row in rows:
            click.echo(f"{row.code:<{width}}  {row.title}")
    else:
        click.echo(_render_page(rows[0]))


def _render_page(row: Code) -> str:
    wrap = click.wrap_text
    lines = [f"{row.code}: {row.title}", "", wrap(row.meaning, 88), "", "Likely causes, harmless ones first:"]
    lines += [wrap(cause, 88, f"  {n}  ", "     ") for n, cause in enumerate(row.causes, 1)]
    lines += ["", "What to do:", wrap(row.fix, 88, "  ", "  ")]
    return "\n".join(lines)

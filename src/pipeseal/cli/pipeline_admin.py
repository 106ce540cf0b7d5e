"""`pipeseal pipeline create|list|steps`: the pipelines of a control plane."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, TextIO

import click

from pipeseal.cli.rest_client import items, members, text
from pipeseal.cli.rest_options import output_option, rest_command

if TYPE_CHECKING:
    from pipeseal.cli.rest_client import RestClient


@click.command("create")
@click.argument("slug")
@click.option("--repository", required=True, help="URL that agents clone; signatures are bound to it.")
@click.option("--name", help="For people.  [default: the slug]")
@click.option("--default-branch", default="main", show_default=True)
@click.option("--description", default="")
@click.option(
    "--steps", type=click.File("r", encoding="utf-8"), help="YAML file with the steps to keep in the settings."
)
@rest_command
@output_option
def pipeline_create(
    client: RestClient,
    slug: str,
    repository: str,
    name: str | None,
    default_branch: str,
    description: str,
    steps: TextIO | None,
    output: str,
) -> None:
    """Create a pipeline on the control plane.

    \b
    Examples:
      pipeseal pipeline create api --repository https://git.example.org/acme/api.git
      pipeseal pipeline create api --repository /srv/git/api.git --steps signed-steps.yml

    Without --steps the pipeline has one step, which uploads the repository's own pipeline file. Agents that run only
    what is signed refuse that step unless it is signed: make it with `pipeseal tool sign` and give it as --steps.
    """
    body = {
        "name": name or slug,
        "slug": slug,
        "repository": repository,
        "default_branch": default_branch,
        "description": description,
        "configuration": steps.read() if steps is not None else "",
    }
    pipeline = members(client.post("pipelines", body=body))
    if output == "json":
        click.echo(json.dumps(pipeline, indent=2))
    else:
        click.echo(f"Created pipeline {text(pipeline.get('slug'))} for {text(pipeline.get('repository'))}")


@click.command("list")
@rest_command
@output_option
def pipeline_list(client: RestClient, output: str) -> None:
    """List the pipelines of the control plane."""
    pipelines: list[dict[str, object]] = []
    page = 1
    while True:
        found = items(client.get("pipelines", query={"page": page, "per_page": 100}))
        pipelines += found
        if len(found) < 100:
            break
        page += 1
    if output == "json":
        click.echo(json.dumps(pipelines, indent=2))
        return
    width = max((len(text(pipeline.get("slug"))) for pipeline in pipelines), default=0)
    for pipeline in pipelines:
        click.echo(f"{text(pipeline.get('slug')):<{width}}  {text(pipeline.get('repository'))}")
    if not pipelines:
        click.echo("There is no pipeline yet. `pipeseal pipeline create SLUG --repository URL` makes one.", err=True)


@click.command("steps")
@click.argument("slug")
@click.option("--set", "file", type=click.File("r", encoding="utf-8"), help="YAML file whose steps replace them.")
@rest_command
def pipeline_steps(client: RestClient, slug: str, file: TextIO | None) -> None:
    """Show or replace the steps kept in a pipeline's settings.

    \b
    Examples:
      pipeseal pipeline steps api > steps.yml
      pipeseal tool sign steps.yml | pipeseal pipeline steps api --set -
    """
    if file is not None:
        client.patch("pipelines", slug, body={"configuration": file.read()})
        click.echo(f"Replaced the steps of {text(slug)}", err=True)
        return
    configuration = members(client.get("pipelines", slug)).get("configuration")
    for line in str(configuration or "").splitlines():
        click.echo(text(line))

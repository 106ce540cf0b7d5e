"""What a person types: one file a command, imported only when that command runs.

The same program is `buildkite-agent` inside a job (see `agent/`), so that existing pipelines upload without change;
under that name every failure exits with 1, as scripts expect there.
"""

from __future__ import annotations

import atexit
import gc
import re
import sys
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path

import click
from click.shell_completion import CompletionItem

from pipeseal.errors import PipesealError

# Command path -> (module in this package, first line of its help). One place, so that `--help` imports nothing.
COMMANDS: dict[str, tuple[str, str]] = {
    "init": ("init", "Make keys and an agent configuration, and say what to do next."),
    "demo": ("demo", "Watch a pipeline be signed and run, then four attacks be refused."),
    "drill": ("drill", "Attack an agent with a malicious control plane, and see that nothing gets through."),
    "server": ("server", "Run a control plane."),
    "agent start": ("agent_start", "Run an agent that verifies every job before it runs it."),
    "signer": ("signer", "Run the process that signs uploads, as a user of its own."),
    "pipeline upload": ("pipeline_upload", "Sign a pipeline and upload it to the build of the current job."),
    "pipeline create": ("pipeline_admin", "Create a pipeline on the control plane."),
    "pipeline list": ("pipeline_admin", "List the pipelines of the control plane."),
    "pipeline steps": ("pipeline_admin", "Show or replace the steps kept in a pipeline's settings."),
    "build create": ("build", "Create a build, and watch it if asked."),
    "build show": ("build", "Show a build, its jobs and why any were refused."),
    "build log": ("build", "Print the log of a job."),
    "build cancel": ("build_cancel", "Cancel a build, with the token of one of its jobs."),
    "agent stop": ("agent_control", "Stop the agent that runs this job, after the job."),
    "agent pause": ("agent_control", "Pause the agent that runs this job: it takes no others."),
    "agent resume": ("agent_control", "Resume the agent that runs this job."),
    "annotate": ("annotate", "Annotate the build's page with Markdown."),
    "annotation remove": ("annotate", "Remove an annotation."),
    "artifact upload": ("artifact", "Upload the files that patterns mean as artifacts of a job."),
    "artifact download": ("artifact", "Download the artifacts of a build that match."),
    "artifact search": ("artifact", "Search the artifacts of a build, and print a line for each."),
    "artifact shasum": ("artifact", "Print the checksum of the one artifact that matches."),
    "env dump": ("env", "Print the variables of this process as a JSON object."),
    "env get": ("env", "Get variables of the job as later phases will see them."),
    "env set": ("env", "Set variables of the job, for its later phases and hooks."),
    "env unset": ("env", "Unset variables of the job, for its later phases and hooks."),
    "job update": ("job_update", "Update an attribute of a job."),
    "job promise-failure": ("job_update", "Promise that this job will fail, before it ends."),
    "lock acquire": ("lock", "Acquire a lock between the jobs of this machine."),
    "lock release": ("lock", "Release a lock with its token."),
    "lock do": ("lock", "Do work that several jobs need only once."),
    "lock done": ("lock", "Declare work done that `lock do` began."),
    "lock get": ("lock", "Get the state of a lock."),
    "meta-data set": ("meta_data", "Set a key of the build's meta-data."),
    "meta-data set-batch": ("meta_data", "Set several keys of the build's meta-data, all or none."),
    "meta-data get": ("meta_data", "Get a key of the build's meta-data."),
    "meta-data exists": ("meta_data", "Ask whether a key is set: exit status 0, or 100."),
    "meta-data keys": ("meta_data", "List the keys of the build's meta-data."),
    "oidc request-token": ("oidc", "Request an OpenID Connect token for this job."),
    "redactor add": ("redactor", "Add values that the agent hides in the job's log."),
    "secret get": ("secret", "Get secrets and print them."),
    "step get": ("step", "Get an attribute of a step, or the whole step."),
    "step update": ("step", "Update an attribute of a step."),
    "step cancel": ("step", "Cancel the unfinished jobs of a step."),
    "workdir set": ("workdir", "Set the working directory of the job's later phases."),
    "verify": ("verify", "Verify who signed the steps of a build, without the server's pages."),
    "tool keygen": ("tool_keygen", "Make a key pair for signing and verifying steps."),
    "tool sign": ("tool_sign", "Sign the steps of a pipeline file."),
    "tool verify": ("tool_verify", "Say for each step of a signed file who signed what."),
    "keys list": ("keys", "List the keys that agents believe, and whether each is believed now."),
    "keys show": ("keys", "Show one key: what people compare it by, and how readers pin it."),
    "keys publish": (
        "keys_publish",
        "List public keys on a server, so that readers of its pages need not look for them.",
    ),
    "keys rotate": ("keys", "Replace a key by a new one: both are good for a while, then only the new one."),
    "keys revoke": ("keys", "Revoke a key: nothing that it ever signed is believed any more."),
    "plugins lock": ("plugins", "Write down which commit each plugin version stands for, or check it."),
    "policy check": ("policy", "Check a policy file, and say in words what it asks for."),
    "policy explain": ("policy", "Explain what each rule says of a stored job."),
    "policy report": ("policy", "Report what was refused, and what would have been, for each pipeline."),
    "explain": ("explain", "Explain a code: what it means, likely causes, what to do."),
    "completion": ("completion", "Print a shell completion script."),
    "conformance": ("conformance", "Run conformance cases from standard input, as JSON."),
}

GROUP_HELP = {
    "agent": "Run and control agents.",
    "pipeline": "Upload pipelines from a job, and manage them on the control plane.",
    "build": "Create, watch and cancel builds.",
    "annotation": "Remove annotations.",
    "artifact": "Upload, find and download files that jobs keep.",
    "env": "Look at and change the job's variables.",
    "job": "Change the running job.",
    "lock": "Share locks between the jobs of one machine.",
    "meta-data": "Share keys and values between the jobs of a build.",
    "oidc": "Show other services which job this is.",
    "redactor": "Hide values in the job's log.",
    "keys": "List, show, publish, rotate and revoke the keys that agents believe.",
    "plugins": "Lock plugins to commits.",
    "policy": "Check policies, and see what they say of jobs.",
    "secret": "Use secrets in a job.",
    "step": "Look at, change and cancel steps.",
    "workdir": "Choose where the job's later phases run.",
    "tool": "Make keys, sign and verify.",
}

# What `buildkite-agent` calls differently.
ALIASES = {"start": "agent start", "stop": "agent stop", "pause": "agent pause", "resume": "agent resume"}


class LazyGroup(click.Group):
    """A group that imports a subcommand only when it is used."""

    def __init__(self, prefix: str = "", **attributes: object) -> None:
        super().__init__(**attributes)  # type: ignore[arg-type]  # click's own signature is wider than object
        self.prefix = prefix

    def _names(self) -> list[str]:
        below = [path[len(self.prefix) :].strip() for path in COMMANDS if path.startswith(self.prefix)]
        return list(dict.fromkeys(name.split(" ")[0] for name in below))

    def list_commands(self, ctx: click.Context) -> list[str]:
        return self._names()

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        path = f"{self.prefix}{cmd_name}"
        if path in COMMANDS:
            module, _ = COMMANDS[path]
            command: click.Command = getattr(import_module(f"{__name__}.{module}"), re.sub("[ -]", "_", path))
            return command
        if cmd_name in GROUP_HELP and not self.prefix:
            return LazyGroup(prefix=f"{cmd_name} ", name=cmd_name, help=GROUP_HELP[cmd_name])
        if not self.prefix and cmd_name in ALIASES:
            group, _, name = ALIASES[cmd_name].partition(" ")
            parent = self.get_command(ctx, group)
            assert isinstance(parent, LazyGroup)
            return parent.get_command(ctx, name)
        return None

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        # click's own asks every command for its help, which would import them all at each press of the tab key.
        names = [
            CompletionItem(name, help=self._help_line(name)) for name in self._names() if name.startswith(incomplete)
        ]
        return names + click.Command.shell_complete(self, ctx, incomplete)

    def _help_line(self, name: str) -> str:
        path = f"{self.prefix}{name}"
        return COMMANDS[path][1] if path in COMMANDS else GROUP_HELP[name]

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args[0] not in {*self._names(), *(() if self.prefix else ALIASES)} and not args[0].startswith("-"):
            from difflib import get_close_matches

            near = get_close_matches(args[0], self._names(), 1)
            ctx.fail(f"No such command '{args[0]}'." + (f" Did you mean '{near[0]}'?" if near else ""))
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        rows = [(name, self._help_line(name)) for name in self._names()]
        with formatter.section("Commands"):
            formatter.write_dl(rows)


def _print_version(ctx: click.Context, _parameter: click.Parameter, wanted: bool) -> None:
    if wanted:
        from pipeseal import __version__

        click.echo(f"pipeseal {__version__}")
        ctx.exit()


root = LazyGroup(
    name="pipeseal",
    help="CI whose control plane need not be trusted: steps are signed where they are written,\n"
    "and agents verify them before anything runs.",
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    params=[
        click.Option(
            ["--version"],
            is_flag=True,
            expose_value=False,
            is_eager=True,
            callback=_print_version,
            help="Show the version.",
        )
    ],
)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line and exit.

    Parameters:
        arguments: the words after the program's name; `sys.argv[1:]` when None.
    """
    # Nothing is gained by collecting garbage on the way out, and it takes a sixth of a small command's time.
    atexit.register(gc.freeze)
    name = Path(sys.argv[0]).name
    as_agent = name == "buildkite-agent"
    try:
        root.main(args=arguments, prog_name=name if as_agent else "pipeseal")
    except SystemExit as ended:
        if as_agent and ended.code == click.UsageError.exit_code:
            sys.exit(1)
        raise
    except PipesealError as error:
        from pipeseal.cli.exits import exit_status
        from pipeseal.errors import render_error

        print(render_error(error), file=sys.stderr)  # noqa: T201  (standard error is this function's output)
        sys.exit(1 if as_agent else exit_status(error))

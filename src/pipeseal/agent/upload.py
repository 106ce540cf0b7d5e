"""`pipeline upload`: find the pipeline, read it, fill in variables, look for secrets, sign it, send it.

Runs inside a job, in a process of its own for every call: what is not needed is not imported.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from pipeseal.agent.inside import has_input
from pipeseal.agent.upload_options import UploadOptions
from pipeseal.agent.upload_send import make_uuid, send_pipeline
from pipeseal.errors import ConfigurationError, MalformedInput, escape_control
from pipeseal.pipeline.expand import interpolate_pipeline
from pipeseal.pipeline.files import DEFAULT_FILES
from pipeseal.pipeline.object_id import is_object_id
from pipeseal.pipeline.parse import parse_all
from pipeseal.pipeline.render import pipeline_value, render_json
from pipeseal.pipeline.steps import CommandStep, GroupStep, Pipeline, Step
from pipeseal.pipeline.yaml import collector_paused

if TYPE_CHECKING:
    from pipeseal.agent.client import AgentClient
    from pipeseal.signing.seal.make import Sealing

TRACE_CONTEXT = "BUILDKITE_TRACE_CONTEXT"
_COMMIT = "BUILDKITE_COMMIT"


class Source(NamedTuple):
    """A text with pipelines in it: its name for people, and its bytes."""

    name: str
    data: bytes


def find_sources(files: Sequence[str]) -> list[Source]:
    """The texts to upload: the named files, else standard input if it is no terminal, else the default file.

    Raises:
        ConfigurationError: no file, several default files, or a file that is empty or cannot be read
            (codes `upload.no_file`, `upload.several_files`, `upload.empty`).
    """
    if files:
        return [_read_file(name) for name in files]
    if has_input():
        return [Source("<stdin>", sys.stdin.buffer.read())]
    found = [name for name in DEFAULT_FILES if Path(name).exists()]
    if not found:
        raise ConfigurationError(
            "upload.no_file",
            "there is no pipeline file here",
            help="name one, or give it one of these names: " + ", ".join(DEFAULT_FILES),
        )
    if len(found) > 1:
        raise ConfigurationError(
            "upload.several_files",
            f"found multiple configuration files: {', '.join(found)}",
            help="keep one of them, or name the one to upload",
        )
    return [_read_file(found[0])]


def _read_file(name: str) -> Source:
    try:
        data = Path(name).read_bytes()
    except OSError as error:
        raise ConfigurationError("upload.no_file", f"{name} cannot be read: {error.strerror}") from error
    if not data:
        raise ConfigurationError("upload.empty", f"pipeline file {name!r} is empty")
    return Source(name, data)


@collector_paused()
def upload(
    options: UploadOptions,
    *,
    environment: Mapping[str, str],
    client: Callable[[], AgentClient],
    say: Callable[[str], None],
    output: Callable[[str], None],
    now: Callable[[], float] = time.time,
) -> None:
    """Do it.

    Parameters:
        environment: the process's variables.
        client: makes the client with the job's token; called only when there is something to send.
        say: prints a line for people.
        output: prints a line of the dry run.
        now: seconds since 1970.

    Raises:
        PipesealError: nothing was uploaded, or of several documents only those before the one with the fault.
    """
    sources = find_sources(options.files)
    variables = dict(environment)
    _resolve_commit(variables, say)
    # What steps are bound to and sealed for is what the job itself was given, not what pipelines set.
    given = {**environment, _COMMIT: variables[_COMMIT]} if _COMMIT in variables else environment
    signing = _Signing(options, given, now(), say) if options.jwks_file else None
    server = None
    for source in sources:
        count = 0
        for pipeline in _read_pipelines(source, variables, options, say):
            count += 1
            say(f"Using {source.name} ({_describe(pipeline.steps)})" if count == 1 else f"Document {count}")
            text = _prepare(pipeline, source.name, environment, options, signing, say)
            if options.dry_run:
                output(_render_dry_run(text, options.format))
                continue
            if not options.job:
                raise ConfigurationError(
                    "upload.no_job",
                    "there is no job to upload to",
                    help="run this inside a job, or give --job, or --dry-run",
                )
            server = server or client()
            send_pipeline(server, options.job, text, replace=options.replace)
            say(f"Uploaded {_describe(pipeline.steps)} from {source.name}")


def _resolve_commit(variables: dict[str, str], say: Callable[[str], None]) -> None:
    """Put the object id in the place of another name of the commit, as `git rev-parse` knows it."""
    name = variables.get(_COMMIT, "")
    if not name or is_object_id(name):
        return
    import subprocess

    try:
        # --verify makes `name` one revision, and --end-of-options keeps it from being a flag.
        done = subprocess.run(
            ["git", "rev-parse", "--verify", "--end-of-options", name], capture_output=True, text=True, check=False
        )
        resolved = done.stdout.strip() if done.returncode == 0 else ""
    except OSError:
        resolved = ""
    if not resolved:
        say(f"warning: git does not know the commit {escape_control(name)!r}, so {_COMMIT} stays as it is")
        return
    variables[_COMMIT] = resolved


def _read_pipelines(
    source: Source, variables: dict[str, str], options: UploadOptions, say: Callable[[str], None]
) -> Iterator[Pipeline]:
    for outcome in parse_all(source.data, source=source.name):
        if isinstance(outcome, MalformedInput):
            raise outcome
        pipeline = outcome
        for warning in pipeline.warnings:
            say(f"warning: {warning}")
        if pipeline.warnings and options.reject_parse_warnings:
            raise MalformedInput(
                "upload.warnings",
                f"{source.name} was understood only in part, and --reject-parse-warnings refuses that",
                evidence={"first": pipeline.warnings[0]},
            )
        if not options.no_interpolation:
            if TRACE_CONTEXT in variables:
                pipeline = replace(pipeline, env={**pipeline.env, TRACE_CONTEXT: variables[TRACE_CONTEXT]})
            # What one document sets is seen by the next, as the stock agent does it.
            pipeline, after = interpolate_pipeline(pipeline, variables)
            variables.update(after)
        yield pipeline


def _prepare(
    pipeline: Pipeline,
    name: str,
    environment: Mapping[str, str],
    options: UploadOptions,
    signing: _Signing | None,
    say: Callable[[str], None],
) -> str:
    """Check, trim and sign a pipeline; its JSON."""
    if options.redacted_vars:
        from pipeseal.agent.secretscan import scan

        scan(pipeline, name, environment, options, say)
    if _has_conditions(pipeline.steps):
        from pipeseal.agent.if_changed import apply_conditions

        # Before signing: seals cover `skip`.
        pipeline = replace(pipeline, steps=apply_conditions(pipeline.steps, environment, options, say))
    if signing is not None:
        pipeline = signing.sign(pipeline)
    return render_json(pipeline_value(pipeline))


class _Signing:
    """Signs and seals the pipelines of one upload.

    Parameters:
        options: the caller's.
        given: the job's variables as it was given them, the commit resolved.
        now: seconds since 1970.
        say: prints a line for people.

    Raises:
        ConfigurationError: no usable key, or a validity that is none.
        MalformedInput: the job's own seal cannot be read.
    """

    def __init__(
        self, options: UploadOptions, given: Mapping[str, str], now: float, say: Callable[[str], None]
    ) -> None:
        from pipeseal.signing.bindings import uploader_bindings
        from pipeseal.signing.keys.open import open_signing_key

        self._say = say
        self._given = given
        self._repository = given.get("BUILDKITE_REPO", "")
        if not self._repository:
            say("warning: BUILDKITE_REPO is not set; steps are signed for an empty repository address")
        self._bindings = {} if options.no_bindings else uploader_bindings(given)
        self._options = options
        self._sealing: Sealing | None = None
        if options.no_bindings or options.no_seal:
            self._key = open_signing_key(options.jwks_file, options.jwks_key_id)
            return
        from pipeseal.agent.upload_seal import TreeQuestion, make_sealing, parse_validity

        valid_seconds = parse_validity(options.seal_valid_for)
        with TreeQuestion(self._bindings.get(_COMMIT)) as question:
            self._key = open_signing_key(options.jwks_file, options.jwks_key_id)
            if not self._key.kid:
                say("warning: the key has no id (`kid`), so the steps are not sealed")
                return
            self._sealing = make_sealing(
                given,
                self._bindings,
                tree=question.answer(say),
                upload_id=make_uuid(),
                now=now,
                valid_seconds=valid_seconds,
            )

    def sign(self, pipeline: Pipeline) -> Pipeline:
        """The pipeline, every command step signed and sealed, and a line about that.

        Raises:
            PipesealError: as `sign_pipeline` and `pin_plugins`.
        """
        from pipeseal.signing.sign import sign_pipeline

        if pipeline.secrets and not self._options.no_bindings:
            from pipeseal.signing.merge import merge_pipeline_secrets

            # A control plane may only hand out what is signed, so a step has to say by itself what it gets.
            pipeline = merge_pipeline_secrets(pipeline)
        key, bindings, sealing = self._key, self._bindings, self._sealing
        if sealing is not None:
            from pipeseal.repository.pin import pin_plugins

            options = self._options
            pinned = pin_plugins(
                pipeline.steps,
                lock_file=options.plugins_lock,
                resolve=options.resolve_plugins,
                git_config_file=options.git_config_file,
            )
            sealing = sealing._replace(resolved=pinned)
        signed = sign_pipeline(pipeline, key=key, repository_url=self._repository, bindings=bindings, sealing=sealing)
        steps = sum(1 for step in _walk(signed.steps) if isinstance(step, CommandStep))
        bound = []
        if "BUILDKITE_BUILD_ID" in bindings:
            bound.append(f"build {self._given.get('BUILDKITE_BUILD_NUMBER') or bindings['BUILDKITE_BUILD_ID']}")
        if _COMMIT in bindings:
            bound.append(f"commit {bindings[_COMMIT][:7]}")
        tied = f", bound to {' and '.join(bound)}" if bound else ", bound to no build"
        who = (
            f"{key.kid or 'a key without id'} ({key.thumbprint[:8]}...)" if key.thumbprint else (key.kid or "the key")
        )
        done = "Signed" if self._sealing is None else "Signed and sealed"
        self._say(f"~~~ {done} {_plural(steps, 'step')} with {escape_control(who)}{escape_control(tied)}")
        return signed


def _render_dry_run(text: str, kind: str) -> str:
    import json

    value = json.loads(text)
    if kind == "yaml":
        from pipeseal.pipeline.render import render_yaml

        return str(render_yaml(value))
    return json.dumps(value, indent=2, ensure_ascii=False)


def _walk(steps: Sequence[Step]) -> Iterator[Step]:
    for step in steps:
        yield step
        if isinstance(step, GroupStep):
            yield from _walk(step.steps)


def _has_conditions(steps: Sequence[Step]) -> bool:
    return any("if_changed" in (getattr(step, "rest", None) or getattr(step, "members", {})) for step in _walk(steps))


def _describe(steps: Sequence[Step]) -> str:
    """Such as `12 steps, 3 groups, 1 matrix`."""
    all_steps = list(_walk(steps))
    groups = sum(isinstance(step, GroupStep) for step in all_steps)
    matrices = sum(isinstance(step, CommandStep) and step.matrix is not None for step in all_steps)
    parts = [_plural(len(all_steps) - groups, "step")]
    if groups:
        parts.append(_plural(groups, "group"))
    if matrices:
        parts.append("1 matrix" if matrices == 1 else f"{matrices} matrices")
    return ", ".join(parts)


def _plural(count: int, noun: str) -> str:
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"

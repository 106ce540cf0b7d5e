"""From a verified upload step to signed pipelines: the file of its commit, proven variables, plugins, seals."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import count
from typing import Final, NamedTuple
from uuid import uuid4

from pipeseal.errors import ConfigurationError, MalformedInput, VerificationError
from pipeseal.pipeline.expand import interpolate_pipeline
from pipeseal.pipeline.files import DEFAULT_FILES
from pipeseal.pipeline.parse import parse_all
from pipeseal.pipeline.render import pipeline_value, render_json
from pipeseal.pipeline.steps import CommandStep, GroupStep, Pipeline, Step, TriggerStep
from pipeseal.pipeline.yaml import Limits
from pipeseal.repository.git_config import GitConfig
from pipeseal.repository.plugin_lock import LOCK_FILE, parse_lock, plugin_sources, verify_lock
from pipeseal.signer.clone import MAX_FILE_BYTES, RepositoryClone, clean_path
from pipeseal.signer.judge import VerifiedUpload, verify_path
from pipeseal.signer.templates import make_templates, parse_templates, verify_generated
from pipeseal.signer.variables import ProvenVariables
from pipeseal.signerapi.messages import Signed
from pipeseal.signing.bindings import SEAL
from pipeseal.signing.keys.signing_key import SigningKey
from pipeseal.signing.merge import merge_pipeline_secrets
from pipeseal.signing.seal.envelope import BuildFacts, ResolvedPlugin
from pipeseal.signing.seal.make import Sealing
from pipeseal.signing.sign import sign_pipeline, walk_steps

_LIMITS: Final = Limits(max_bytes=MAX_FILE_BYTES, max_depth=100, max_values=200_000)
_CONDITION: Final = "if_changed"
_COMMIT, _BRANCH, _TAG, _PULL_REQUEST = (
    "BUILDKITE_COMMIT",
    "BUILDKITE_BRANCH",
    "BUILDKITE_TAG",
    "BUILDKITE_PULL_REQUEST",
)

Resolve = Callable[[Iterable[str]], Mapping[str, ResolvedPlugin]]


class Wanted(NamedTuple):
    """What a job asks to have signed.

    Parameters:
        file: path in the repository; empty to search.
        generated: a pipeline that the job made; None for a file.
    """

    file: str = ""
    generated: str | None = None


def resolver(config: GitConfig) -> Resolve:
    """Says what plugins stand for now, with the operator's git configuration.

    Parameters:
        config: for git.
    """

    def resolve(sources: Iterable[str]) -> Mapping[str, ResolvedPlugin]:
        from pipeseal.repository.resolve import resolve_plugins

        return resolve_plugins(sources, config=config)

    return resolve


def sign_upload(
    upload: VerifiedUpload,
    wanted: Wanted,
    *,
    key: SigningKey,
    clone: RepositoryClone,
    resolve: Resolve,
    now: float,
    valid_seconds: int,
) -> Signed:
    """The pipelines of an upload, signed and sealed.

    1. The repository has the commit where the build says it is, signed by whom the policy names, if it names any.
    2. What is signed is a file of that commit, or generated and made of templates in one.
    3. Only variables that somebody vouches for become part of it.
    4. Each plugin is sealed at the commit that its version stands for, and that the repository's lock says, if it has
       one.
    5. Each step is bound to the build, and sealed as a child of the upload step.

    Parameters:
        upload: the step that uploads.
        wanted: what its job asks for.
        key: signs.
        clone: of the step's repository.
        resolve: says what plugins stand for.
        now: seconds since 1970.
        valid_seconds: how long the seals are good for.

    Raises:
        VerificationError: `commit.not_on_branch`, `signer.file`, `signer.generated`, `plugin.moved`,
            `plugin.unlocked`.
        MalformedInput: `signer.taint`, `signer.value`, `signer.templates`, and what reading, expanding, resolving and
            signing raises.
        ConfigurationError: `upload.no_file`, `upload.several_files`; as `sign_pipeline`.
        Unavailable: git or the key's home did not answer.
    """
    # 1.
    commit, tree = clone.verify_commit(upload.revision)
    clone.verify_signers(commit, upload.approved.limits.commit_signers)
    if upload.approved.tree and upload.approved.tree != tree:
        raise VerificationError(
            "commit.not_on_branch",
            f"commit {commit} has the tree {tree}, and the upload step was sealed for {upload.approved.tree}",
        )
    # 2. and 3.
    bindings = {**upload.bindings, _COMMIT: commit}
    variables = variables_of(upload, bindings)
    notes: list[str] = []
    if wanted.generated is not None:
        source = "the generated pipeline"
        pipelines = [_generated(upload, commit, wanted.generated, clone, variables)]
    else:
        file = clone.read_file(commit, _choose(upload, commit, wanted.file, clone))
        source = file.path
        pipelines = list(_documents(file.data, source, variables))
        if not pipelines:
            raise MalformedInput("yaml.empty", f"{source} has no YAML document in it")
    pipelines = [merge_pipeline_secrets(_without_conditions(pipeline, notes)) for pipeline in pipelines]
    for pipeline in pipelines:
        notes += [f"warning: {warning}" for warning in pipeline.warnings]
    # 4.
    resolved = resolve(sorted({found for pipeline in pipelines for found in plugin_sources(pipeline.steps)}))
    if resolved:
        _hold_to_lock(commit, clone, resolved)
    # 5.
    sealing = Sealing(
        repository=upload.approved.repository_url,
        not_before=int(now),
        expires=int(now) + valid_seconds,
        positions=count(),
        organization=bindings["BUILDKITE_ORGANIZATION_SLUG"],
        pipeline=bindings["BUILDKITE_PIPELINE_SLUG"],
        build=BuildFacts(
            id=bindings["BUILDKITE_BUILD_ID"],
            commit=commit,
            tree=tree,
            branch=bindings.get("BUILDKITE_BRANCH"),
            tag=bindings.get("BUILDKITE_TAG"),
            pull_request=bindings.get("BUILDKITE_PULL_REQUEST"),
        ),
        parent=upload.approved.seal_digest,
        upload=str(uuid4()),
        is_script=_script_finder(pipelines, commit, clone),
        resolved=resolved,
    )
    texts, summaries = [], []
    for pipeline in pipelines:
        signed = sign_pipeline(
            pipeline, key=key, repository_url=upload.approved.repository_url, bindings=bindings, sealing=sealing
        )
        texts.append(render_json(pipeline_value(signed)))
        summaries.append(_describe(signed.steps))
        notes += _unsigned(signed)
    steps = sum(isinstance(step, CommandStep) for pipeline in pipelines for _, step in walk_steps(pipeline.steps))
    notes.append(
        f"~~~ Signed and sealed {_plural(steps, 'step')} of {source} at commit {commit[:7]} with {key.kid} "
        f"({key.thumbprint[:8]}...)"
    )
    return Signed(source=source, pipelines=tuple(texts), summaries=tuple(summaries), notes=tuple(notes))


def variables_of(upload: VerifiedUpload, bindings: Mapping[str, str]) -> ProvenVariables:
    """The variables that the files of an upload may use.

    Parameters:
        upload: the step that uploads.
        bindings: what its steps are bound to, with the commit that was verified.
    """
    approved = upload.approved
    revision = upload.revision
    # What the repository was asked about, and nothing else of these four: that a seal names a branch only means that
    # the server named it when the build began, unless the commit is on it.
    if revision.tag:
        looked_at = {_COMMIT, _TAG}
    elif revision.pull_request not in ("", "false"):
        looked_at = {_COMMIT, _TAG, _PULL_REQUEST}
    else:
        looked_at = {_COMMIT, _BRANCH, _TAG, _PULL_REQUEST}
    checked = {name: bindings[name] for name in looked_at if name in bindings}
    checked["BUILDKITE_REPO"] = approved.repository_url
    named = approved.proven_variables - {_COMMIT, _BRANCH, _TAG, _PULL_REQUEST, SEAL}
    proven = {name: approved.env[name] for name in named if name in approved.env}
    return ProvenVariables(proven, checked, upload.rule)


def _choose(upload: VerifiedUpload, commit: str, asked: str, clone: RepositoryClone) -> str:
    """The file to sign: the one that was asked for, or the one that is there of those that the step may upload."""
    if asked:
        return verify_path(upload, asked)
    names = upload.files
    if names is None:
        names = tuple(name for name in DEFAULT_FILES if upload.rule.files is None or upload.rule.files.match(name))
    if len(names) == 1:
        return names[0]
    found = clone.find_files(commit, names)
    there = [name for name in names if name in found]
    if not there:
        raise ConfigurationError(
            "upload.no_file",
            f"commit {commit[:12]} has no pipeline file",
            help="name one, or give it one of these names: " + ", ".join(names),
        )
    if len(there) > 1:
        raise ConfigurationError(
            "upload.several_files",
            f"found multiple configuration files: {', '.join(there)}",
            help="keep one of them, or name the one to upload",
        )
    return there[0]


def _documents(data: bytes, source: str, variables: ProvenVariables) -> Iterator[Pipeline]:
    for outcome in parse_all(data, source=source, limits=_LIMITS):
        if isinstance(outcome, MalformedInput):
            raise outcome
        pipeline, after = interpolate_pipeline(outcome, variables.values, check=variables.check)
        # What one document sets is seen by the next, as everywhere.
        variables.declare(after, pipeline.env)
        yield pipeline


def _generated(
    upload: VerifiedUpload, commit: str, text: str, clone: RepositoryClone, variables: ProvenVariables
) -> Pipeline:
    if not upload.rule.templates:
        raise VerificationError(
            "signer.generated",
            "this step may upload files of its commit, and nothing that a program has made",
            help="commit the pipeline, or give the step's [[upload]] in the signer's file `templates`",
        )
    data = text.encode("utf-8", "surrogateescape")
    file = clone.read_file(commit, upload.rule.templates)
    templates = parse_templates(file.data, source=file.path)
    expanded, _ = interpolate_pipeline(templates.pipeline, variables.values, check=variables.check)
    pipelines = list(_documents(data, "<stdin>", variables))
    if len(pipelines) != 1:
        raise VerificationError("signer.generated", "a generated pipeline is one document")
    return verify_generated(pipelines[0], make_templates(templates, expanded))


def _hold_to_lock(commit: str, clone: RepositoryClone, resolved: Mapping[str, ResolvedPlugin]) -> None:
    if clone.find_files(commit, [LOCK_FILE]):
        file = clone.read_file(commit, LOCK_FILE)
        verify_lock(parse_lock(file.data, source=file.path), resolved)


def _script_finder(pipelines: Sequence[Pipeline], commit: str, clone: RepositoryClone) -> Callable[[str], bool]:
    """Says of a command whether it is the name of a file of the commit, which is then run as a script."""

    def name_of(command: str) -> str:
        try:
            return clean_path(command.strip("\n").lstrip("/"))
        except VerificationError:
            return ""

    names = {
        name
        for pipeline in pipelines
        for _, step in walk_steps(pipeline.steps)
        if isinstance(step, CommandStep) and (name := name_of(step.command))
    }
    files = clone.find_files(commit, names)
    return lambda command: name_of(command) in files


def _without_conditions(pipeline: Pipeline, notes: list[str]) -> Pipeline:
    """`if_changed` asks what changed against a place that the server or the job names: nothing is skipped for it."""
    found = False

    def strip(step: Step) -> Step:
        nonlocal found
        match step:
            case CommandStep() if _CONDITION in step.rest:
                found = True
                return replace(step, rest={name: value for name, value in step.rest.items() if name != _CONDITION})
            case TriggerStep() if _CONDITION in step.members:
                found = True
                return TriggerStep({name: value for name, value in step.members.items() if name != _CONDITION})
            case GroupStep():
                found = found or _CONDITION in step.rest
                rest = {name: value for name, value in step.rest.items() if name != _CONDITION}
                return replace(step, steps=[strip(inner) for inner in step.steps], rest=rest)
            case _:
                return step

    steps = [strip(step) for step in pipeline.steps]
    if not found:
        return pipeline
    notes.append("warning: no steps are skipped for if_changed: whoever asks could choose what counts as changed")
    return replace(pipeline, steps=steps)


def _unsigned(pipeline: Pipeline) -> Iterator[str]:
    """What nobody can sign: said, so that nobody relies on it."""
    places = [path for path, step in walk_steps(pipeline.steps) if isinstance(step, TriggerStep)]
    if places:
        yield (
            f"warning: {', '.join(places[:5])}{' and more' if len(places) > 5 else ''}: a trigger step is not "
            "signed, and the build that it starts gets no authority from it"
        )


def _describe(steps: Sequence[Step]) -> str:
    everything = [step for _, step in walk_steps(list(steps))]
    groups = sum(isinstance(step, GroupStep) for step in everything)
    parts = [_plural(len(everything) - groups, "step")]
    return ", ".join([*parts, *([_plural(groups, "group")] if groups else [])])


def _plural(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"

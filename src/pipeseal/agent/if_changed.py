"""`if_changed`: skip the steps whose patterns match no file that changed, and take the member off again.

The member is not signed and no server understands it, so it never leaves the uploader: it is removed from command,
group and trigger steps. When what changed cannot be found out, nothing is skipped.
"""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeseal.errors import MalformedInput
from pipeseal.pipeline.steps import CommandStep, GroupStep, Step, TriggerStep

if TYPE_CHECKING:
    from pipeseal.agent.upload_options import UploadOptions

SKIPPED = "if_changed matched no unexcluded changed files in this build"
MEMBER = "if_changed"


def apply_conditions(
    steps: Sequence[Step], environment: Mapping[str, str], options: UploadOptions, say: Callable[[str], None]
) -> list[Step]:
    """The steps without their `if_changed`, and with `skip` where it matched nothing.

    Parameters:
        environment: the uploader's variables.
        options: what counts as changed.
        say: prints a line for people.
    """
    changed: list[str] | None = None
    if options.apply_if_changed:
        changed = find_changed_files(environment, options, say)
    return [_apply(step, changed, say) for step in steps]


def _apply(step: Step, changed: list[str] | None, say: Callable[[str], None]) -> Step:
    match step:
        case GroupStep():
            inner = [_apply(one, changed, say) for one in step.steps]
            return replace(step, steps=inner, rest=_judge(step.rest, changed, say))
        case CommandStep():
            return replace(step, rest=_judge(step.rest, changed, say))
        case TriggerStep():
            return replace(step, members=_judge(step.members, changed, say))
        case _:
            return step


def _judge(members: dict[str, Any], changed: list[str] | None, say: Callable[[str], None]) -> dict[str, Any]:
    if MEMBER not in members:
        return members
    rest = {name: value for name, value in members.items() if name != MEMBER}
    condition = members[MEMBER]
    if changed is None or condition is None:
        return rest
    try:
        include, exclude = _read_condition(condition)
    except MalformedInput as error:
        say(f"warning: {error}; the step is not skipped")
        return rest
    if not any(include(path) and not exclude(path) for path in changed):
        rest["skip"] = SKIPPED
    return rest


Matcher = Callable[[str], bool]


def _read_condition(condition: Any) -> tuple[Matcher, Matcher]:
    if not isinstance(condition, dict):
        return _matcher(condition, MEMBER), lambda _path: False
    if "include" not in condition:
        raise MalformedInput("upload.if_changed", "if_changed is a mapping without include")
    exclude = condition.get("exclude")
    return (
        _matcher(condition["include"], "if_changed.include"),
        _matcher(exclude, "if_changed.exclude") if "exclude" in condition else lambda _path: False,
    )


def _matcher(value: Any, what: str) -> Matcher:
    from pipeseal.agent.artifacts.globs import matches, parse_pattern

    texts = [value] if isinstance(value, str) else value
    if not isinstance(texts, list) or not all(isinstance(text, str) for text in texts):
        raise MalformedInput("upload.if_changed", f"{what} is neither a pattern nor a list of patterns")
    patterns = [parse_pattern(text) for text in texts]
    return lambda path: any(matches(pattern, path) for pattern in patterns)


def find_changed_files(
    environment: Mapping[str, str], options: UploadOptions, say: Callable[[str], None]
) -> list[str] | None:
    """The files that changed in this build; None when that cannot be found out.

    They are those of `--changed-files-path`; else those that differ between the working tree and the point where its
    commit left the base branch; else, on the base branch itself, those that its latest commit changed against its
    first parent.
    """
    if options.changed_files_path:
        try:
            lines = Path(options.changed_files_path).read_text(encoding="utf-8").splitlines()
        except (OSError, UnicodeDecodeError) as error:
            say(f"warning: {options.changed_files_path} cannot be read ({error}); no steps are skipped")
            return None
        return [line for line in lines if line.strip()]
    base = options.git_diff_base or next(
        (
            f"origin/{environment[name]}"
            for name in ("BUILDKITE_PULL_REQUEST_BASE_BRANCH", "BUILDKITE_PIPELINE_DEFAULT_BRANCH")
            if environment.get(name)
        ),
        "origin/main",
    )
    if options.fetch_diff_base:
        remote, slash, branch = base.partition("/")
        if not slash:
            remote, branch = "origin", base
        if _git("fetch", "--", remote, branch) is None:
            say(f"warning: {branch} could not be fetched from {remote}; if_changed goes on with what is there")
    base_commit, head = _git("rev-parse", "--verify", "--end-of-options", base), _git("rev-parse", "HEAD")
    if base_commit is None or head is None:
        say(f"warning: git does not know {base}, so no steps are skipped; set --git-diff-base or --fetch-diff-base")
        return None
    if base_commit == head:
        say(f"if_changed compares with the first parent, since this commit is {base}")
        names = _git("log", "--first-parent", "-1", "--name-only", "-z", "--pretty=format:")
    else:
        merge_base = _git("merge-base", base_commit, head)
        if merge_base is None:
            say(f"warning: this commit and {base} have nothing in common, so no steps are skipped")
            return None
        say(f"if_changed compares with {merge_base[:12]}, where this commit left {base}")
        names = _git("diff", "--name-only", "-z", merge_base)
    if names is None:
        say("warning: git could not say what changed, so no steps are skipped")
        return None
    return [name for name in names.split("\0") if name.strip()]


def _git(*arguments: str) -> str | None:
    try:
        done = subprocess.run(
            ["git", *arguments], stdin=subprocess.DEVNULL, capture_output=True, check=False, timeout=300
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.decode("utf-8", "surrogateescape").strip("\n") if done.returncode == 0 else None

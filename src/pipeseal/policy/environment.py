"""Which variables the server may set: one typed table, and the judgement of a job's variables by it.

A variable that the verified step covers needs no permission: its value is proven. Every other one is looked up here.
`IDENTITY` is compared with what the agent knows, and has a strict form even where a signature covers it;
`INFORMATIONAL` is checked by type and length; what is not in the table is refused by name, unless the policy allows
it (`server-variables`); and nothing makes a forbidden one acceptable (`forbidden.py`).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from enum import Enum
from typing import NamedTuple

from pipeseal.agentapi.traceparent import VARIABLE as TRACE_VARIABLE
from pipeseal.errors import escape_control
from pipeseal.policy.facts import Finding, LocalFacts
from pipeseal.policy.forbidden import PREFIX, forbidden_reason, is_own
from pipeseal.policy.patterns import NONE, Patterns
from pipeseal.policy.values import (
    AGENT_NAME,
    ANYTHING,
    BOOLEAN,
    COMMIT,
    FALSE,
    IDENTIFIER,
    KEY,
    MAX_TEXT_BYTES,
    MESSAGE,
    NOTHING,
    NUMBER,
    NUMBER_OR_FALSE,
    OBJECT_ID,
    PATTERNS,
    PLAIN,
    REFERENCE,
    REMOTE,
    SLUG,
    TEXT,
    TRACE_PARENT,
    TRUE,
    URL,
    WORD,
    ValueType,
)
from pipeseal.signing.bindings import BINDINGS
from pipeseal.signing.bindings import COMMIT as COMMIT_VARIABLE

BUILD_ID = "BUILDKITE_BUILD_ID"
_TAG = "BUILDKITE_AGENT_META_DATA_"
NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


class Kind(Enum):
    """What is done with a server's variable."""

    IDENTITY = "identity"
    INFORMATIONAL = "informational"
    FORBIDDEN = "forbidden"


class HandOver(Enum):
    """How an accepted value reaches the job."""

    VARIABLE = "as a variable"
    FILE = "as a file, named by a variable with `_FILE` at its end"
    NEVER = "not at all"


class Row(NamedTuple):
    """One row.

    Parameters:
        name: the variable, or with `*` at its end all that begin so.
        kind: identity or informational.
        type: what its value must look like, when it is not empty.
        meaning: for the docs.
        hand_over: how it reaches the job.
        needed: whether an empty value is refused too.
    """

    name: str
    kind: Kind
    type: ValueType
    meaning: str
    hand_over: HandOver = HandOver.VARIABLE
    needed: bool = False


_ID, _INFO, _FILE, _NEVER = Kind.IDENTITY, Kind.INFORMATIONAL, HandOver.FILE, HandOver.NEVER

TABLE: tuple[Row, ...] = (
    # --- which job this is: proven by the signature's bindings or the seal, or known to the agent
    Row("BUILDKITE_JOB_ID", _ID, IDENTIFIER, "the job the agent accepted", needed=True),
    Row("BUILDKITE_AGENT_ID", _ID, IDENTIFIER, "the agent"),
    Row("BUILDKITE_AGENT_NAME", _ID, AGENT_NAME, "the agent's name"),
    Row("BUILDKITE_AGENT_META_DATA_*", _ID, PLAIN, "the agent's own tags"),
    Row(BUILD_ID, _ID, IDENTIFIER, "the build"),
    Row("BUILDKITE_ORGANIZATION_SLUG", _ID, SLUG, "the organisation"),
    Row("BUILDKITE_PIPELINE_SLUG", _ID, SLUG, "the pipeline"),
    Row("BUILDKITE_STEP_KEY", _ID, KEY, "the step's key"),
    Row(
        "BUILDKITE_REPO", _ID, ANYTHING, "the repository; every proof covers it, the job gets the proven one", _NEVER
    ),
    Row("BUILDKITE_COMMIT", _ID, COMMIT, "the commit; `HEAD` only where the policy lets it be"),
    Row("BUILDKITE_BRANCH", _ID, REFERENCE, "the branch"),
    Row("BUILDKITE_TAG", _ID, REFERENCE, "the tag, empty for none"),
    Row("BUILDKITE_PULL_REQUEST", _ID, NUMBER_OR_FALSE, "the pull request, `false` for none"),
    Row(
        "BUILDKITE_COMMAND", _ID, ANYTHING, "the command; every proof covers it, the job gets the proven one", _NEVER
    ),
    Row(
        "BUILDKITE_PLUGINS",
        _ID,
        ANYTHING,
        "the plugins; every proof covers them, the job gets the proven ones",
        _NEVER,
    ),
    # --- what a hook or script may like to know
    Row("BUILDKITE", _INFO, TRUE, "always `true`"),
    Row("CI", _INFO, TRUE, "always `true`"),
    Row("BUILDKITE_BUILD_NUMBER", _INFO, NUMBER, "number of the build in its pipeline"),
    Row("BUILDKITE_BUILD_URL", _INFO, URL, "page of the build"),
    Row("BUILDKITE_STEP_ID", _INFO, IDENTIFIER, "the step"),
    Row("BUILDKITE_LABEL", _INFO, TEXT, "the step's label", _FILE),
    Row("BUILDKITE_MESSAGE", _INFO, MESSAGE, "the build's message, often a commit's", _FILE),
    Row("BUILDKITE_SOURCE", _INFO, WORD, "what started the build"),
    Row("BUILDKITE_TIMEOUT", _INFO, NUMBER_OR_FALSE, "minutes, or `false`"),
    Row("BUILDKITE_RETRY_COUNT", _INFO, NUMBER, "how often this job was retried"),
    Row("BUILDKITE_RETRY_TYPE", _INFO, WORD, "`automatic` or `manual`"),
    Row("BUILDKITE_PARALLEL_JOB", _INFO, NUMBER, "which of the parallel jobs, from 0"),
    Row("BUILDKITE_PARALLEL_JOB_COUNT", _INFO, NUMBER, "how many parallel jobs"),
    Row("BUILDKITE_GROUP_ID", _INFO, IDENTIFIER, "the group around the step"),
    Row("BUILDKITE_GROUP_KEY", _INFO, KEY, "that group's key"),
    Row("BUILDKITE_GROUP_LABEL", _INFO, TEXT, "that group's label", _FILE),
    Row("BUILDKITE_ARTIFACT_PATHS", _INFO, PATTERNS, "which files are kept, patterns with `;` between them"),
    Row("BUILDKITE_ORGANIZATION_ID", _INFO, IDENTIFIER, "the organisation"),
    Row("BUILDKITE_PIPELINE_ID", _INFO, IDENTIFIER, "the pipeline"),
    Row("BUILDKITE_PIPELINE_NAME", _INFO, TEXT, "the pipeline's name", _FILE),
    Row("BUILDKITE_PIPELINE_TEAMS", _INFO, TEXT, "teams that may see the pipeline", _FILE),
    Row("BUILDKITE_PIPELINE_DEFAULT_BRANCH", _INFO, REFERENCE, "default branch in the pipeline's settings"),
    Row("BUILDKITE_PIPELINE_PROVIDER", _INFO, WORD, "where the repository is hosted"),
    Row("BUILDKITE_PROJECT_PROVIDER", _INFO, WORD, "older name of the same"),
    Row("BUILDKITE_PROJECT_SLUG", _INFO, WORD, "older form of organisation and pipeline"),
    Row("BUILDKITE_COMMIT_RESOLVED", _INFO, BOOLEAN, "whether the server knows the commit already"),
    Row("BUILDKITE_GIT_REMOTE_MIRROR_URL", _INFO, NOTHING, "must be empty: mirrors are the operator's", _NEVER),
    Row("BUILDKITE_PULL_REQUEST_BASE_BRANCH", _INFO, REFERENCE, "branch that the pull request is to be merged into"),
    Row("BUILDKITE_PULL_REQUEST_DRAFT", _INFO, BOOLEAN, "whether the pull request is a draft"),
    Row("BUILDKITE_PULL_REQUEST_LABELS", _INFO, TEXT, "the pull request's labels", _FILE),
    Row("BUILDKITE_PULL_REQUEST_REPO", _INFO, REMOTE, "repository that the pull request comes from"),
    Row("BUILDKITE_PULL_REQUEST_USING_MERGE_REFSPEC", _INFO, FALSE, "must be `false`: a merge made elsewhere moves"),
    Row("BUILDKITE_MERGE_QUEUE_BASE_BRANCH", _INFO, REFERENCE, "branch of the merge queue"),
    Row("BUILDKITE_MERGE_QUEUE_BASE_COMMIT", _INFO, OBJECT_ID, "commit that the queue merges onto"),
    Row("BUILDKITE_REBUILT_FROM_BUILD_ID", _INFO, IDENTIFIER, "build that this one repeats"),
    Row("BUILDKITE_REBUILT_FROM_BUILD_NUMBER", _INFO, NUMBER, "number of that build"),
    Row("BUILDKITE_TRIGGERED_FROM_BUILD_ID", _INFO, IDENTIFIER, "build that triggered this one"),
    Row("BUILDKITE_TRIGGERED_FROM_BUILD_NUMBER", _INFO, NUMBER, "number of that build"),
    Row("BUILDKITE_TRIGGERED_FROM_BUILD_PIPELINE_SLUG", _INFO, SLUG, "pipeline of that build"),
    Row("BUILDKITE_BUILD_AUTHOR", _INFO, TEXT, "who wrote the commit", _FILE),
    Row("BUILDKITE_BUILD_AUTHOR_EMAIL", _INFO, TEXT, "their address", _FILE),
    Row("BUILDKITE_BUILD_CREATOR", _INFO, TEXT, "who created the build", _FILE),
    Row("BUILDKITE_BUILD_CREATOR_EMAIL", _INFO, TEXT, "their address", _FILE),
    Row("BUILDKITE_BUILD_CREATOR_TEAMS", _INFO, TEXT, "their teams", _FILE),
    Row("BUILDKITE_UNBLOCKER", _INFO, TEXT, "who unblocked the step before", _FILE),
    Row("BUILDKITE_UNBLOCKER_EMAIL", _INFO, TEXT, "their address", _FILE),
    Row("BUILDKITE_UNBLOCKER_ID", _INFO, IDENTIFIER, "their id"),
    Row("BUILDKITE_UNBLOCKER_TEAMS", _INFO, TEXT, "their teams", _FILE),
    Row("BUILDKITE_CLUSTER_ID", _INFO, IDENTIFIER, "cluster of the agent"),
    Row("BUILDKITE_CLUSTER_NAME", _INFO, TEXT, "its name", _FILE),
    Row(TRACE_VARIABLE, _INFO, TRACE_PARENT, "trace of the job; an agent that sends traces sets its own"),
    Row("BUILDKITE_COMPUTE_TYPE", _INFO, WORD, "`self-hosted` or `hosted`"),
    Row("BUILDKITE_AGENT_CACHE_STORE_URL", _INFO, URL, "a place for caches; places are the operator's", _NEVER),
    Row("BUILDKITE_GITHUB_ACTION", _INFO, WORD, "what happened to the pull request"),
    Row("BUILDKITE_GITHUB_EVENT", _INFO, WORD, "kind of event that started the build"),
    Row("BUILDKITE_GITHUB_COMMENT_ID", _INFO, NUMBER, "comment that started the build"),
    Row("BUILDKITE_GITHUB_REVIEW_ID", _INFO, NUMBER, "review that started the build"),
    Row("BUILDKITE_GITHUB_DEPLOYMENT_ID", _INFO, NUMBER, "deployment that started the build"),
    Row("BUILDKITE_GITHUB_DEPLOYMENT_*", _INFO, TEXT, "task, environment and payload of that deployment", _FILE),
)

_EXACT = {row.name: row for row in TABLE if not row.name.endswith("*")}
_BEGINNINGS = tuple((row.name[:-1], row) for row in TABLE if row.name.endswith("*"))

# Names that an uploader binds whenever its own job has them. A commit is left out while nobody knows its id.
_BOUND_TOGETHER = frozenset(row.name for row in BINDINGS) - {COMMIT_VARIABLE}
_BINDABLE = frozenset(row.name for row in BINDINGS)

# A free text that the policy lets become a variable all the same.
MAX_VARIABLE_TEXT = 4096


def find_row(name: str) -> Row | None:
    """The table's row for a variable, None when it has none."""
    row = _EXACT.get(name)
    if row is not None:
        return row
    return next(
        (row for beginning, row in _BEGINNINGS if name.startswith(beginning) and len(name) > len(beginning)), None
    )


class LeftOut(NamedTuple):
    """A variable of the server that a job does not get although it runs, and why."""

    name: str
    reason: str


class JudgedVariables(NamedTuple):
    """A job's variables, judged.

    Parameters:
        variables: what the job gets, proven values where there is a proof.
        texts: free text that the job gets as files.
        informational: names among `variables` and `texts` whose values are the server's word.
        left_out: what it does not get.
        findings: why it must not run; each finding names all variables it is about.
    """

    variables: dict[str, str]
    texts: dict[str, str]
    informational: frozenset[str]
    left_out: tuple[LeftOut, ...]
    findings: tuple[Finding, ...]


def judge_variables(
    server: Mapping[str, str],
    *,
    proven: Mapping[str, str],
    local: LocalFacts,
    allowed: Patterns = NONE,
    informational: bool = True,
) -> JudgedVariables:
    """A job's variables by the table.

    Parameters:
        server: the server's variables, as they came.
        proven: name to value of all variables that the verified step covers.
        local: what the agent knows.
        allowed: further names that the operator lets the server set.
        informational: whether the job gets informational values; they are checked in any case.
    """
    known = _known(local)
    variables: dict[str, str] = {}
    texts: dict[str, str] = {}
    told: set[str] = set()
    left_out: list[LeftOut] = []
    problems: dict[str, list[tuple[str, str]]] = {}
    for name, value in server.items():
        row = find_row(name)
        code, why = _problem(name, proven.get(name, value), row, proven, known, allowed)
        if code:
            problems.setdefault(code, []).append((name, why))
        if code in _LEFT_OUT:
            left_out.append(LeftOut(name, why))
        elif name in proven:
            variables[name] = proven[name]
        elif name in known or (row is not None and row.kind is Kind.IDENTITY and name in _BINDABLE):
            variables[name] = value
            if name not in known:
                told.add(name)
        elif row is None:
            told.add(name)
            variables[name] = value
        elif informational and row.hand_over is not HandOver.NEVER:
            told.add(name)
            if row.hand_over is HandOver.VARIABLE:
                variables[name] = value
            else:
                texts[name] = shorten_text(value)
                if allowed.match(name):
                    variables[name] = plain_text(value)
    # What is proven the job gets, whether or not the server repeats it.
    for name, value in proven.items():
        row = find_row(name)
        if row is None or row.hand_over is not HandOver.NEVER:
            variables.setdefault(name, value)
    return JudgedVariables(
        variables,
        texts,
        frozenset(told),
        tuple(left_out),
        tuple(_finding(code, problems[code]) for code in _CODES if code in problems),
    )


def look_at_names(server: Mapping[str, str]) -> tuple[Finding, ...]:
    """What is wrong with the names and values of an unverified job's variables: what no program can be handed."""
    problems: dict[str, list[tuple[str, str]]] = {}
    for name, value in server.items():
        if why := _disguise(name):
            problems.setdefault("environment.name", []).append((name, why))
        elif "\0" in value:
            problems.setdefault("environment.value", []).append((name, "holds a NUL byte"))
    return tuple(_finding(code, problems[code]) for code in _CODES if code in problems)


# With these a variable is left out even while the policy does not enforce.
_LEFT_OUT = frozenset({"environment.name", "environment.forbidden", "job.identity"})
# Worst first: the first one is the refusal's code.
_CODES = ("environment.name", "environment.forbidden", "job.identity", "environment.value", "environment.unknown")
_BEGINS = {
    "environment.name": "the job has variables whose names are not names",
    "environment.forbidden": "the server sets variables that no signature covers and no server may set",
    "job.identity": "the job says of itself what is not so",
    "environment.value": "variables of the job do not have the form they must have",
    "environment.unknown": "the server sets variables that no signature covers and nobody allowed",
}
_MANY = 8


def _problem(
    name: str, value: str, row: Row | None, proven: Mapping[str, str], known: Mapping[str, str], allowed: Patterns
) -> tuple[str, str]:
    """The code and the reason why a variable cannot be accepted; two empty texts when it can."""
    if why := _disguise(name):
        return "environment.name", why
    if "\0" in value:
        return "environment.value", "holds a NUL byte"
    if row is not None and row.kind is Kind.IDENTITY:
        if value and known.get(name) == value:
            return "", ""
        if (value or row.needed) and not row.type.admits(value):
            return "environment.value", f"is not {row.type.words}"
        if name in known and value != known[name]:
            return "job.identity", f"is {_shown(value)}, and it is {_shown(known[name])}"
        if value and name not in proven and name in _BOUND_TOGETHER and BUILD_ID in proven:
            return "job.identity", f"is {_shown(value)}, which the step was not bound to when it was signed"
        return "", ""
    if name in proven:
        return "", ""
    if row is not None:
        return ("", "") if not value or row.type.admits(value) else ("environment.value", f"is not {row.type.words}")
    return _problem_outside(name, allowed)


def _problem_outside(name: str, allowed: Patterns) -> tuple[str, str]:
    """The same for a variable that neither the table nor a proof knows."""
    if not NAME.fullmatch(name):
        return "environment.name", "is not a name that a shell knows"
    upper = name.upper()
    if name != upper and upper.startswith(PREFIX):
        return "environment.name", f"differs from {upper} by case alone"
    if reason := forbidden_reason(name):
        return "environment.forbidden", reason
    if allowed.match(name):
        return "", ""
    return "environment.unknown", "is in no table"


def _disguise(name: str) -> str:
    # An environment is a list of NAME=VALUE: a name with an equals sign is another variable in disguise.
    if not name:
        return "has no name"
    return "is made to look like another" if any(character in "=\0\n\r" for character in name) else ""


def _known(local: LocalFacts) -> dict[str, str]:
    known = {
        "BUILDKITE_JOB_ID": local.job_id,
        "BUILDKITE_AGENT_ID": local.agent_id,
        "BUILDKITE_AGENT_NAME": local.agent_name,
    }
    return known | tag_variables(local.tags)


def tag_variables(tags: Iterable[str]) -> dict[str, str]:
    """`BUILDKITE_AGENT_META_DATA_<TAG>` for an agent's own tags, except those that have several values.

    Parameters:
        tags: each `name=value`.
    """
    values: dict[str, set[str]] = {}
    for tag in tags:
        name, equals, value = tag.partition("=")
        variable = f"{_TAG}{re.sub(r'[^A-Za-z0-9]', '_', name.strip()).upper()}"
        values.setdefault(variable, set()).add(value.strip() if equals else "true")
    return {name: next(iter(of_tag)) for name, of_tag in values.items() if len(of_tag) == 1}


def _finding(code: str, problems: list[tuple[str, str]]) -> Finding:
    names = [_shown(name) if not NAME.fullmatch(name) else name for name, _ in problems]
    shown = ", ".join(names[:_MANY]) + (f" and {len(names) - _MANY} more" if len(names) > _MANY else "")
    evidence = {name: why for name, (_, why) in zip(names[:_MANY], problems, strict=False)}
    return Finding(code=code, message=f"{_BEGINS[code]}: {shown}", evidence=evidence, fields=tuple(names))


def _shown(text: str) -> str:
    return repr(escape_control(text if len(text) <= 60 else f"{text[:60]}…"))


def shorten_text(text: str) -> str:
    """`text`, cut to what a job is handed of an endless one; says so at its end."""
    encoded = text.encode("utf-8", "surrogatepass")
    if len(encoded) <= MAX_TEXT_BYTES:
        return text
    kept = encoded[: MAX_TEXT_BYTES - 100].decode("utf-8", "ignore")
    return f"{kept} [value truncated {len(encoded)} -> {len(kept.encode())} bytes]"


def plain_text(text: str) -> str:
    """`text` as a variable: without control characters, and not endless."""
    return "".join(" " if ord(character) < 0x20 or ord(character) == 0x7F else character for character in text)[
        :MAX_VARIABLE_TEXT
    ]


def allowable(names: Iterable[str]) -> list[tuple[str, str]]:
    """Those of a policy's `server-variables` that cannot be allowed, each with the reason."""
    problems = []
    for name in names:
        if "*" in name or "?" in name or "[" in name:
            continue
        if is_own(name) or (reason := forbidden_reason(name)):
            problems.append((name, "is the agent's own" if is_own(name) else reason))
        elif not NAME.fullmatch(name):
            problems.append((name, "is not a name"))
    return problems

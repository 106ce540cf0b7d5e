"""The options of `pipeline upload`: one table that the command line is made from, and a quick reader of plain calls.

A call inside a job should cost as little as it can: the quick reader understands what scripts write (`--flag`,
`--name value`, `--name=value`, files), leaves everything else, help and mistakes too, to the command line proper, and
so saves the time that takes to import.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

from pipeseal.pipeline.secret_names import DEFAULT_PATTERNS

# How long a seal is good for: a week, for builds that wait for a person over a weekend.
DEFAULT_VALIDITY = "7d"


@dataclass(frozen=True, slots=True, kw_only=True)
class UploadOptions:
    """What the caller wants.

    Parameters:
        files: pipeline files; empty to take standard input or search.
        replace: put the steps in place of all that did not start yet.
        dry_run: print, do not upload.
        format: `json` or `yaml`, of the dry run.
        no_interpolation: leave `$` alone.
        reject_secrets: do not upload what seems to hold a secret.
        reject_parse_warnings: do not upload what was understood only in part.
        apply_if_changed: skip steps whose `if_changed` matches no changed file.
        git_diff_base, fetch_diff_base, changed_files_path: what counts as changed, see `if_changed`.
        jwks_file: private key to sign with; empty not to sign.
        jwks_key_id: which key of that file.
        no_bindings: sign exactly what the stock agent signs; no seals either.
        no_seal: sign, with bindings, and do not seal.
        seal_valid_for: how long seals are good for, such as `7d`.
        plugins_lock: lock that plugins are held against; empty for the repository's own, if it has one.
        resolve_plugins: seal plugins at the commits that they stand for now, without a lock too.
        git_config_file: the one configuration that git reads when it asks for plugins; empty for none.
        redacted_vars: patterns of names of secret variables; empty to look for none.
        job: id of the job that uploads.
    """

    files: tuple[str, ...] = ()
    replace: bool = False
    dry_run: bool = False
    format: str = "json"
    no_interpolation: bool = False
    reject_secrets: bool = False
    reject_parse_warnings: bool = False
    apply_if_changed: bool = True
    git_diff_base: str = ""
    fetch_diff_base: bool = False
    changed_files_path: str = ""
    jwks_file: str = ""
    jwks_key_id: str = ""
    no_bindings: bool = False
    no_seal: bool = False
    seal_valid_for: str = DEFAULT_VALIDITY
    plugins_lock: str = ""
    resolve_plugins: bool = False
    git_config_file: str = ""
    redacted_vars: tuple[str, ...] = ()
    job: str = ""


class UploadOption(NamedTuple):
    """One row.

    Parameters:
        name: long flag, without dashes.
        kind: `flag`, `text`, or `switch` (a flag that is on and can be turned off with `--no-`).
        variable: environment variable that sets it too; may be empty.
        metavar: what its value is called; empty for flags.
        help: one line; empty for an option that changes nothing here and is known all the same.
        choices: the values there are, if they are few.
    """

    name: str
    kind: Literal["flag", "text", "switch"]
    variable: str
    metavar: str
    help: str
    choices: tuple[str, ...] = ()

    @property
    def attribute(self) -> str:
        """Its name in Python."""
        return self.name.replace("-", "_")


UPLOAD_OPTIONS: tuple[UploadOption, ...] = (
    UploadOption("replace", "flag", "BUILDKITE_PIPELINE_REPLACE", "", "Replace steps that did not start yet."),
    UploadOption("job", "text", "BUILDKITE_JOB_ID", "ID", "Job that uploads.  [this one]"),
    UploadOption("dry-run", "flag", "BUILDKITE_PIPELINE_UPLOAD_DRY_RUN", "", "Print; upload nothing."),
    UploadOption(
        "format", "text", "BUILDKITE_PIPELINE_UPLOAD_DRY_RUN_FORMAT", "FORMAT", "Of the dry run.", ("json", "yaml")
    ),
    UploadOption("no-interpolation", "flag", "BUILDKITE_PIPELINE_NO_INTERPOLATION", "", "Leave $ alone."),
    UploadOption(
        "reject-secrets",
        "flag",
        "BUILDKITE_AGENT_PIPELINE_UPLOAD_REJECT_SECRETS",
        "",
        "Refuse a pipeline that holds the value of a secret variable.",
    ),
    UploadOption(
        "reject-parse-warnings",
        "flag",
        "BUILDKITE_AGENT_PIPELINE_UPLOAD_REJECT_PARSE_WARNINGS",
        "",
        "Refuse a pipeline that was understood only in part.",
    ),
    UploadOption(
        "apply-if-changed",
        "switch",
        "BUILDKITE_AGENT_APPLY_IF_CHANGED",
        "",
        "Skip steps whose if_changed matches nothing.",
    ),
    UploadOption("git-diff-base", "text", "BUILDKITE_GIT_DIFF_BASE", "REF", "What if_changed compares with."),
    UploadOption("fetch-diff-base", "flag", "BUILDKITE_FETCH_DIFF_BASE", "", "Fetch that first."),
    UploadOption(
        "changed-files-path",
        "text",
        "BUILDKITE_CHANGED_FILES_PATH",
        "FILE",
        "List of what changed, in place of git's.",
    ),
    UploadOption("jwks-file", "text", "BUILDKITE_AGENT_JWKS_FILE", "FILE|URI", "Private key to sign with."),
    UploadOption("jwks-key-id", "text", "BUILDKITE_AGENT_JWKS_KEY_ID", "ID", "Which key of that file."),
    UploadOption("signing-aws-kms-key", "text", "BUILDKITE_AGENT_AWS_KMS_KEY", "ID", "Sign with a key in AWS KMS."),
    UploadOption("signing-gcp-kms-key", "text", "BUILDKITE_AGENT_GCP_KMS_KEY", "NAME", "Or in Google Cloud KMS."),
    UploadOption(
        "no-bindings", "flag", "", "", "Sign what the stock agent signs: no bindings to this build, no seals."
    ),
    UploadOption("no-seal", "flag", "", "", "Sign the steps, and do not seal them."),
    UploadOption("seal-valid-for", "text", "", "TIME", "How long seals are good for: 90m, 12h, 7d.  [7d]"),
    UploadOption(
        "plugins-lock",
        "text",
        "PIPESEAL_PLUGINS_LOCK",
        "FILE",
        "Hold plugins against this lock.  [.buildkite/plugins.lock]",
    ),
    UploadOption(
        "resolve-plugins",
        "flag",
        "PIPESEAL_RESOLVE_PLUGINS",
        "",
        "Seal plugins at their commits of now, without a lock too.",
    ),
    UploadOption(
        "git-config-file", "text", "PIPESEAL_GIT_CONFIG_FILE", "FILE", "What git reads when it asks for plugins."
    ),
    UploadOption(
        "redacted-vars",
        "text",
        "BUILDKITE_REDACTED_VARS",
        "A,B",
        "Names of secret variables, with * and ?; empty to look for none.",
    ),
    UploadOption("agent-access-token", "text", "BUILDKITE_AGENT_ACCESS_TOKEN", "TOKEN", ""),
    UploadOption("endpoint", "text", "BUILDKITE_AGENT_ENDPOINT", "URL", ""),
    UploadOption("no-http2", "flag", "", "", ""),
    UploadOption("debug", "flag", "", "", ""),
    UploadOption("no-color", "flag", "", "", ""),
    UploadOption("log-level", "text", "", "LEVEL", ""),
)
_BY_FLAG = {f"--{row.name}": row for row in UPLOAD_OPTIONS}

_TRUE = {"1", "true", "t", "yes", "y", "on"}
_FALSE = {"0", "false", "f", "no", "n", "off"}


class UploadCall(NamedTuple):
    """A call of the command: what to do, and with which server.

    Parameters:
        endpoint: URL of the Agent API; empty when not given.
        token: the job's; empty when not given.
    """

    options: UploadOptions
    endpoint: str
    token: str


def read_plain_call(arguments: Sequence[str], environment: Mapping[str, str]) -> UploadCall | None:
    """What the words after `pipeline upload` mean; None when there is anything but plain flags, values and files.

    Parameters:
        arguments: the words.
        environment: the process's variables.
    """
    given: dict[str, Any] = {}
    files: list[str] = []
    words = list(arguments)
    while words:
        word = words.pop(0)
        if word == "--":
            files += words
            break
        if not word.startswith("-") or word == "-":
            files.append(word)
            continue
        name, equals, value = word.partition("=")
        row = _BY_FLAG.get(name)
        if row is None or (row.kind != "text" and equals):
            return None
        if row.kind != "text":
            given[row.attribute] = True
        elif equals or words:
            given[row.attribute] = value if equals else words.pop(0)
        else:
            return None
    for row in UPLOAD_OPTIONS:
        text = environment.get(row.variable, "") if row.variable else ""
        if row.attribute in given or (not text and row.name != "redacted-vars"):
            continue
        if row.kind == "text":
            if row.variable in environment:
                given[row.attribute] = text
        elif text.lower() in _TRUE | _FALSE:
            given[row.attribute] = text.lower() in _TRUE
        else:
            return None
    if any(row.choices and given.get(row.attribute, row.choices[0]) not in row.choices for row in UPLOAD_OPTIONS):
        return None
    return make_call(tuple(files), given)


def make_call(files: tuple[str, ...], given: Mapping[str, Any]) -> UploadCall:
    """The call that these values make.

    Parameters:
        files: pipeline files.
        given: attribute to value, None or missing for what was not said.
    """
    names = UploadOptions.__dataclass_fields__.keys() - {"files", "redacted_vars"}
    chosen = {name: value for name, value in given.items() if name in names and value is not None}
    patterns = given.get("redacted_vars")
    if chosen.get("jwks_file") or given.get("signing_aws_kms_key") or given.get("signing_gcp_kms_key"):
        from pipeseal.signing.keys.uri import signing_key_uri

        chosen["jwks_file"] = signing_key_uri(
            chosen.get("jwks_file", ""),
            aws_kms_key=given.get("signing_aws_kms_key") or "",
            gcp_kms_key=given.get("signing_gcp_kms_key") or "",
        )
    redacted = DEFAULT_PATTERNS if patterns is None else tuple(filter(None, patterns.split(",")))
    return UploadCall(
        UploadOptions(files=files, redacted_vars=redacted, **chosen),
        given.get("endpoint") or "",
        given.get("agent_access_token") or "",
    )

"""What commands inside a job and the server say to each other: one type for each message body.

These are `TypedDict`s, not structs like those of `messages`: a command that runs for a few milliseconds writes and
reads them with `json` alone, and the server reads the same types with `msgspec`, which checks every member. Members
that are not required may be absent on the wire; unknown members are ignored on reading.
"""

from __future__ import annotations

from typing import NotRequired, TypedDict

# The stock agent creates no more artifacts at once.
MAX_ARTIFACTS_IN_BATCH = 30
# In values of `UploadInstructions.data`: stands for the artifact's path.
PATH_VARIABLE = "${artifact:path}"


class MetaDataItem(TypedDict):
    """One key and its value."""

    key: str
    value: str


class Annotation(TypedDict):
    """A note on the build's page, in Markdown, at most 1 MiB.

    `style` is one of success, info, warning and error; `context` tells annotations apart; `priority` is from 1 to 10,
    10 shown first; `scope` is build or job.
    """

    body: NotRequired[str]
    style: NotRequired[str]
    context: NotRequired[str]
    append: NotRequired[bool]
    priority: NotRequired[int]
    scope: NotRequired[str]


class StepExport(TypedDict):
    """What of a step is asked for; everything, when there is no attribute. `format` is empty or json."""

    attribute: NotRequired[str]
    build_id: NotRequired[str]
    format: NotRequired[str]


class StepUpdate(TypedDict):
    """A new value of one attribute. `idempotency_uuid` stays the same across retries: the change happens once.

    The stock client leaves out what is empty or false.
    """

    idempotency_uuid: str
    build_id: NotRequired[str]
    attribute: str
    value: NotRequired[str]
    append: NotRequired[bool]


class StepCancel(TypedDict):
    """End the unfinished jobs of a step. `force_grace_period` is in seconds."""

    build_id: str
    force: bool
    force_grace_period: int


class Cancelled(TypedDict):
    """What was cancelled."""

    uuid: str


class PromisedFailure(TypedDict):
    """The job will end with at least this exit status, which is above zero."""

    exit_status: int
    reason: NotRequired[str]


class AgentStop(TypedDict):
    """End the agent after its job, or with `force` at once."""

    force: NotRequired[bool]


class AgentPause(TypedDict):
    """Let the agent take no jobs for a while."""

    note: NotRequired[str]
    timeout_in_minutes: NotRequired[int]


class Secret(TypedDict):
    """A secret of the cluster or organisation."""

    key: str
    value: str
    uuid: NotRequired[str]


class OidcTokenRequest(TypedDict):
    """The token that is wanted. `lifetime` is in seconds."""

    audience: NotRequired[str]
    lifetime: NotRequired[int]
    claims: NotRequired[list[str]]
    aws_session_tags: NotRequired[list[str]]
    subject_claim: NotRequired[str]


class Artifact(TypedDict):
    """A file that a job produced.

    Sizes are in bytes; checksums are lower-case hexadecimal, empty when unknown; `created_at` is RFC 3339. The agent
    sends no `id`, `job_id` and `url`, the server fills them.
    """

    id: str
    path: str
    absolute_path: str
    glob_path: str
    file_size: int
    sha1sum: str
    sha256sum: str
    job_id: str
    created_at: str
    content_type: NotRequired[str]
    url: NotRequired[str]
    upload_destination: NotRequired[str]


class ArtifactBatch(TypedDict):
    """Up to 30 artifacts. `id` stays the same across retries: they are created once."""

    id: str
    artifacts: list[Artifact]
    upload_destination: str
    multipart_supported: NotRequired[bool]


class UploadAction(TypedDict):
    """One request that sends a file, or with `part_number` a part of one, to the store.

    A form goes to `url` with its path replaced by `path`, the file in the field `file_input`; a part goes to `url`.
    """

    url: str
    method: str
    path: NotRequired[str]
    file_input: NotRequired[str]
    part_number: NotRequired[int]


class UploadInstructions(TypedDict):
    """How to send a file: as one form with the fields of `data` before it, or in parts when there are `actions`."""

    action: NotRequired[UploadAction | None]
    actions: NotRequired[list[UploadAction] | None]
    data: NotRequired[dict[str, str] | None]


class ArtifactsCreated(TypedDict):
    """The artifacts' ids, in the order of the request, and how to send them; per artifact where that differs."""

    id: str
    artifact_ids: list[str]
    upload_instructions: NotRequired[UploadInstructions | None]
    per_artifact_instructions: NotRequired[dict[str, UploadInstructions] | None]


class PartTag(TypedDict):
    """What the store said about one part; needed to put the parts together."""

    part_number: int
    etag: str


class ArtifactState(TypedDict):
    """`finished` or `error`."""

    id: str
    state: str
    multipart: NotRequired[bool]
    multipart_etags: NotRequired[list[PartTag]]


class ArtifactStates(TypedDict):
    """What became of artifacts."""

    artifacts: list[ArtifactState]

"""What agent and server say to each other: one type for each message body of the Agent API.

The wire is Buildkite's public Agent REST API as `buildkite-agent` v3.137.0 speaks it. Times are RFC 3339 text,
intervals whole seconds above zero, exit statuses text. Unknown members are ignored on reading.
A `Job` is what a server claims; nothing in it is trusted. It has its own strict reader, `job.parse_job`.
"""

from __future__ import annotations

from typing import Any

import msgspec

# A server that answers `register` with this among its `pipeseal_extensions` is told what its agents' policies made of
# jobs. It asks; what agents do with jobs is not the server's to say.
DECISIONS = "decisions"


class Message(msgspec.Struct, omit_defaults=False, kw_only=True):
    """Base of all messages."""


class RegisterRequest(Message):
    """An agent introduces itself. `meta_data` holds tags as `key=value`."""

    name: str = ""
    hostname: str = ""
    os: str = ""
    arch: str = ""
    script_eval_enabled: bool = True
    ignore_in_dispatches: bool = False
    priority: str | None = None
    version: str = ""
    build: str = ""
    meta_data: list[str] | None = None
    pid: int = 0
    machine_id: str = ""
    features: list[str] | None = None


class RegisterResponse(Message):
    """The agent's identity and session. Intervals in seconds, each above zero (zero makes the stock agent panic).

    `endpoint` would move the agent to another server; ours never sends it, and our agent says so and stays.
    `pipeseal_extensions` is ours: what else the server wants to be told, such as `DECISIONS`.
    """

    id: str
    name: str
    access_token: str
    ping_interval: int
    job_status_interval: int
    heartbeat_interval: int
    meta_data: list[str] = []
    endpoint: Any = msgspec.UNSET
    pipeseal_extensions: list[str] = []


class PingJob(Message):
    """The job a ping hands out; only its id is read."""

    id: str
    state: str = ""


class PingResponse(Message):
    """What to do next: nothing, a job, `pause` or `disconnect` (any other action means idle). For `endpoint` see
    `RegisterResponse`."""

    action: str = ""
    message: str = ""
    job: PingJob | None = None
    endpoint: Any = msgspec.UNSET


class Heartbeat(Message):
    """Sign of life, and its echo. An empty 200 answer kills the stock agent, so both members are always sent."""

    sent_at: str = ""
    received_at: str = ""


class StartRequest(Message):
    """The job's bootstrap is about to begin."""

    started_at: str = ""


class FinishRequest(Message):
    """How a job ended.

    `exit_status` is text; `-1` means there is no status (lost, refused, killed). `refusal` is ours: code, message
    and compared values of a refused job, for the job's page; servers that do not know it ignore it. `decision` is
    ours and is sent only to servers that ask for it.
    """

    exit_status: str = ""
    finished_at: str = ""
    chunks_failed_count: int = 0
    signal: str = ""
    signal_reason: str = ""
    ignore_agent_in_dispatches: bool = False
    refusal: Refusal | None = None
    decision: Decision | msgspec.UnsetType | None = msgspec.UNSET


class Refusal(Message):
    """Why an agent refused a job: stable code, sentence, differing signed fields, compared values (never secrets)."""

    code: str
    message: str = ""
    fields: list[str] = []
    evidence: dict[str, str] = {}


class ObservedFinding(Message):
    """Why a job would have been refused: stable code, and names of the fields or variables it is about."""

    code: str
    fields: list[str] = []


class Decision(Message):
    """What an agent's policy made of a job. Names and digests; values and sentences with values in them stay there.

    `mode` is what the agent's policy says of such jobs: `enforce`, `warn`, `observe`, or `off` for an agent without
    verification keys. `proof` is `seal`, `signature` or `none`; `key` and `thumbprint` (RFC 7638) name who made it,
    `seal` is the seal's digest (SHA-256, lower-case hex). `findings` did not stop the job: the mode does not enforce.
    """

    mode: str
    proof: str
    key: str = ""
    thumbprint: str = ""
    seal: str = ""
    findings: list[ObservedFinding] = []


class JobState(Message):
    """Answer to polling a job. The agent acts on `canceling`, `canceled`, `timing_out` and `timed_out`."""

    state: str
    id: str = ""


class PipelineUpload(Message):
    """A pipeline uploaded from inside a job. `uuid` stays the same across retries: the upload happens once."""

    uuid: str
    pipeline: Any
    replace: bool = False


class UploadState(Message):
    """State of an asynchronous upload: pending, processing, applied, rejected, failed."""

    state: str
    message: str = ""


class MetaDataItem(Message):
    """One key and its value."""

    key: str
    value: str = ""


class MetaDataExists(Message):
    """Whether a key is set."""

    exists: bool


class ErrorMessage(Message):
    """Body of every non-2xx answer. `code` is ours; the stock agent shows `message`."""

    message: str
    code: str = ""


class JobAssignment(Message):
    """The job as the server sends it in answer to accept (the server's side of `job.Job`).

    `chunks_max_size_bytes` must be above zero. `env` values are text. `step` is the stored command step, generic.
    `traceparent` says which trace the job belongs to, where the server sends traces.
    """

    id: str
    state: str
    token: str
    env: dict[str, str]
    step: Any
    chunks_max_size_bytes: int = 102_400
    chunks_interval_seconds: int = 1
    log_max_size_bytes: int = 1_073_741_824
    matrix_permutation: dict[str, str] | None = None
    runnable_at: str = ""
    priority: int = 0
    traceparent: str | msgspec.UnsetType = msgspec.UNSET

"""What the REST API answers: one type for each JSON body, from which the OpenAPI description is made.

Members that stand only in some answers are `NotRequired`. Times are RFC 3339 text, addresses absolute URLs.
"""

from __future__ import annotations

from typing import Any, NotRequired, TypeAlias, TypedDict

Time: TypeAlias = str | None


class Organization(TypedDict):
    """The organisation that the server serves."""

    id: str
    url: str
    web_url: str
    name: str
    slug: str
    pipelines_url: str
    agents_url: str
    public_pipelines: bool


class AccessToken(TypedDict):
    """What the API token may do; `uuid` stands for it without opening anything."""

    uuid: str
    scopes: list[str]


class Provider(TypedDict):
    """Where the pipeline's source lies, and which pushes make builds."""

    id: str
    settings: dict[str, Any]


class Pipeline(TypedDict):
    """A pipeline. `configuration` holds its steps as YAML text."""

    id: str
    url: str
    web_url: str
    name: str
    slug: str
    description: str | None
    repository: str
    default_branch: str
    configuration: str
    builds_url: str
    created_at: Time
    visibility: str
    public_since: Time
    branch_configuration: str | None
    skip_queued_branch_builds: bool
    skip_queued_branch_builds_filter: str | None
    cancel_running_branch_builds: bool
    cancel_running_branch_builds_filter: str | None
    provider: Provider


class Person(TypedDict):
    """Who a build is by."""

    name: str


class PullRequest(TypedDict):
    """The pull request that a build is of."""

    id: str
    base: str | None
    repository: str | None


class TriggeredFrom(TypedDict):
    """The build whose trigger step made a build."""

    build_id: str
    build_number: int
    build_pipeline_slug: str


class RebuiltFrom(TypedDict):
    """The build that a build repeats."""

    id: str


class StepId(TypedDict):
    """The step of a job; `type` is `command`, `wait`, `block`, `input` or `trigger`."""

    id: str
    type: str


class TriggeredBuild(TypedDict):
    """The build that a trigger step made."""

    id: str
    number: int
    url: str
    web_url: str


class JobAgent(TypedDict):
    """The agent that has a job."""

    id: str
    name: str | None
    version: str | None


class JobPriority(TypedDict):
    """Jobs with higher numbers go first."""

    number: int


class JobRefusal(TypedDict):
    """Why an agent refused a job, as it said itself."""

    code: str
    message: NotRequired[str]
    fields: NotRequired[list[str]]
    evidence: NotRequired[dict[str, str]]


class JobFinding(TypedDict):
    """Why a job would have been refused, and which fields or variables that is about."""

    code: str
    fields: list[str]


class JobDecision(TypedDict):
    """What the policy of a job's agent made of it, as the agent said itself: names and digests, no values.

    `mode` is `enforce`, `warn`, `observe`, or `off` for an agent that verifies nothing; `proof` is `seal`,
    `signature` or `none`; `unknown` stands for what this server does not know. `findings` would have refused the job
    under `enforce`.
    """

    mode: str
    proof: str
    key: str | None
    thumbprint: str | None
    seal: str | None
    findings: list[JobFinding]


class Unblocker(TypedDict):
    """Who let a block or input step pass, as far as they are known."""

    id: str | None
    name: str | None
    email: str | None


class Job(TypedDict):
    """A job. What stands behind `finished_at` is there for some types only: `script`, `manual`, `trigger`."""

    id: str
    type: str
    name: str | None
    label: str | None
    step_key: str | None
    step: StepId
    group_key: str | None
    depends_on: list[str] | None
    state: str
    reason: str | None
    build_url: str
    web_url: str
    created_at: Time
    runnable_at: Time
    scheduled_at: Time
    started_at: Time
    finished_at: Time
    unblock_url: NotRequired[str]
    unblockable: NotRequired[bool]
    unblocked_by: NotRequired[Unblocker | None]
    unblocked_at: NotRequired[Time]
    prompt: NotRequired[Any]
    fields: NotRequired[Any]
    blocked_state: NotRequired[Any]
    triggered_build: NotRequired[TriggeredBuild | None]
    soft_failed: NotRequired[bool]
    command: NotRequired[Any]
    artifact_paths: NotRequired[Any]
    agent_query_rules: NotRequired[list[str]]
    log_url: NotRequired[str]
    raw_log_url: NotRequired[str]
    log_bytes: NotRequired[int]
    log_missing_bytes: NotRequired[int]
    log_deleted_at: NotRequired[Time]
    log_deleted_by: NotRequired[str | None]
    chunks_failed: NotRequired[int]
    exit_status: NotRequired[int | None]
    signal: NotRequired[str | None]
    signal_reason: NotRequired[str | None]
    refusal: NotRequired[JobRefusal | None]
    decision: NotRequired[JobDecision | None]
    agent: NotRequired[JobAgent | None]
    priority: NotRequired[JobPriority]
    matrix: NotRequired[dict[str, str] | None]
    parallel_group_index: NotRequired[int | None]
    parallel_group_total: NotRequired[int | None]
    concurrency_group: NotRequired[str | None]
    timeout_in_minutes: NotRequired[int | None]
    retried: NotRequired[bool]
    retried_in_job_id: NotRequired[str | None]
    retries_count: NotRequired[int]
    retry_type: NotRequired[str | None]


class Build(TypedDict):
    """A build. `jobs` are in the order of its steps; retried ones, if asked for, before what retries them."""

    id: str
    url: str
    web_url: str
    number: int
    state: str
    blocked: bool
    message: str
    commit: str
    branch: str
    tag: str | None
    pull_request: PullRequest | None
    source: str
    author: Person | None
    creator: Person | None
    env: dict[str, str]
    triggered_from: TriggeredFrom | None
    rebuilt_from: RebuiltFrom | None
    created_at: Time
    scheduled_at: Time
    started_at: Time
    finished_at: Time
    cancel_asked_at: Time
    pipeline: Pipeline
    meta_data: dict[str, str]
    warnings: NotRequired[list[str]]
    jobs: NotRequired[list[Job]]


class PageLinks(TypedDict):
    """Addresses of other pages of a list; `next` is null on the last."""

    next: str | None
    first: NotRequired[str]
    prev: NotRequired[str]
    last: NotRequired[str]


class JobPage(TypedDict):
    """A page of the jobs of a build."""

    items: list[Job]
    links: PageLinks


class RetriedJobs(TypedDict):
    """How many jobs run again."""

    retried_jobs_count: int


class JobEnvironment(TypedDict):
    """The variables that a job is sent with, and who set each."""

    env: dict[str, str]
    set_by: dict[str, str]


class JobLog(TypedDict):
    """A log; `size` is in bytes, and what is no UTF-8 in it stands as U+FFFD in `content`."""

    url: str
    content: str
    size: int
    header_times: list[int]


class AgentJob(TypedDict):
    """The job that an agent has."""

    id: str


class Agent(TypedDict):
    """An agent. `policy_mode` is what it told of its policy with its latest job (see `JobDecision`), null before."""

    id: str
    url: str
    name: str
    connection_state: str
    hostname: str
    version: str
    os: str
    arch: str
    priority: int
    meta_data: list[str]
    policy_mode: str | None
    paused: bool
    paused_note: str | None
    job: AgentJob | None
    last_seen_at: Time
    created_at: Time


class BuildArtifact(TypedDict):
    """A file that a job left behind. `download_url` leads to its bytes."""

    id: str
    job_id: str
    url: str
    download_url: str
    state: str
    path: str
    dirname: str
    filename: str
    mime_type: str
    file_size: int
    glob_path: str
    original_path: str
    sha1sum: str
    sha256sum: str
    created_at: Time
    deleted_at: Time
    deleted_by: str | None


class AnnotationFrame(TypedDict):
    """Where an annotation is a document of its own, for an hour; about how many rows it has at so many characters."""

    url: str
    rows: dict[str, int]


class BuildAnnotation(TypedDict):
    """A note on a build's page. `body_html` is its Markdown as sanitised HTML; `writer_job_id` wrote it last."""

    id: str
    context: str
    style: str | None
    scope: str
    job_id: str | None
    writer_job_id: str | None
    priority: int
    body: str
    body_html: str
    frame: AnnotationFrame
    created_at: Time
    updated_at: Time


class SecretInfo(TypedDict):
    """A secret, without its value."""

    id: str
    key: str
    description: str
    pipelines: list[str] | None
    created_at: Time
    updated_at: Time


class Schedule(TypedDict):
    """When a pipeline makes builds by itself."""

    id: str
    url: str
    label: str
    cronline: str
    message: str
    commit: str
    branch: str | None
    env: dict[str, str]
    enabled: bool
    next_build_at: Time
    failed_at: Time
    failed_message: str | None
    created_at: Time


class Webhook(TypedDict):
    """Where a provider tells of pushes; its URL is shown once, when it is made."""

    id: str
    provider: str
    created_at: Time


class MadeWebhook(TypedDict):
    """A webhook that was just made: what to enter at the provider."""

    id: str
    provider: str
    webhook_url: str
    secret: str


class ReplacedSecret(TypedDict):
    """The new secret of a webhook."""

    id: str
    secret: str


class Notification(TypedDict):
    """Something that was told, or is to be told, to a URL of a pipeline's `notify`."""

    id: str
    event: str
    url: str
    attempts: int
    status: Any
    next_attempt_at: Time
    created_at: Time


class NotificationSecret(TypedDict):
    """With which notifications are signed."""

    secret: str


class MadeBuild(TypedDict):
    """A build that a delivery made."""

    id: str
    number: int
    web_url: str


class DeliveryOutcome(TypedDict):
    """What one branch, tag or pull request of a delivery led to: a build, or why there is none."""

    build: NotRequired[MadeBuild]
    ignored: NotRequired[str]


class DeliveryAnswer(TypedDict):
    """What a delivery led to; `repeated`, when it came before."""

    outcomes: list[DeliveryOutcome]
    repeated: bool


class Health(TypedDict):
    """The server answers, and so does its database."""

    status: str
    version: str

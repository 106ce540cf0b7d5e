"""Descriptions of the REST API, by method and path below `/v2`."""

from __future__ import annotations

from typing import Any

from pipeseal.controlplane.http import answers as shown
from pipeseal.controlplane.http import rest_bodies as sent
from pipeseal.controlplane.http import rest_members as members
from pipeseal.controlplane.http import rest_own as own
from pipeseal.controlplane.http import rest_trust as trust
from pipeseal.controlplane.http.openapi.operation import FLAG, TEXT, Answer, Operation, Parameter, Proof, whole
from pipeseal.controlplane.http.paging import MAX_PAGE
from pipeseal.controlplane.http.rest import ORGANIZATION
from pipeseal.controlplane.http.rest_builds import MAX_WAIT
from pipeseal.controlplane.http.rest_stream import CONTENT_TYPE, MAX_STREAM_SECONDS
from pipeseal.controlplane.services import changes, signed_steps, signing_report
from pipeseal.controlplane.services.schedules import ScheduleFields

_BODY = (413, 422)
_PAGES = (
    Parameter("page", "Which page, from 1; 0 is the first one too.", whole(10**9)),
    Parameter("per_page", f"Entries on a page, 30 unless said; more than {MAX_PAGE} are {MAX_PAGE}.", whole(2**53)),
)
_WAIT = Parameter("wait", "Seconds to wait for a change.", whole(MAX_WAIT))
_RETRIED = Parameter("include_retried_jobs", "`true`: jobs that were retried as well.", FLAG)
_TIME = {"type": "string", "format": "date-time"}
_BUILDS = (
    Parameter("state", "Their state; `finished`: any that has ended or is blocked. `state[]` for several.", TEXT),
    Parameter("branch", "Their branch; `*` stands for any characters. `branch[]` for several.", TEXT),
    Parameter("commit", "Their commit. `commit[]` for several.", TEXT),
    Parameter("creator", "Who made them.", TEXT),
    Parameter("created_from", "Made then or later.", _TIME),
    Parameter("created_to", "Made before.", _TIME),
    Parameter("finished_from", "Ended then or later.", _TIME),
    Parameter("exclude_jobs", "`true` leaves out their jobs.", FLAG),
    _RETRIED,
)
_JOBS = (
    Parameter("state", "Their state. `state[]` for several.", TEXT),
    Parameter("step_key", "The key of their step. `step_key[]` for several.", TEXT),
    Parameter("group_key", "The key of their group. `group_key[]` for several.", TEXT),
)
_LINK = "To the first, previous, next and last page (RFC 8288)."
_STATE = (Parameter("state", "Which ones: new, finished, error or deleted.", TEXT),)
_STREAM = Parameter("wait", "Seconds for which the stream goes on; 0: what is there.", whole(MAX_STREAM_SECONDS))
_RANGE = Parameter("Range", "Which bytes.", TEXT, header=True)
_GONE = Answer("Done.")


def _get(name: str, summary: str, type_: Any, refusals: tuple[int, ...] = (), **more: Any) -> Operation:
    answers = more.pop("answers", None) or {200: Answer("As it is now.", type_)}
    return Operation(name, summary, Proof.API, answers, (401, 403, *refusals, 404, 503), **more)


def _list(
    name: str, summary: str, type_: Any, refusals: tuple[int, ...] = (), parameters: tuple[Parameter, ...] = ()
) -> Operation:
    answer = Answer("A page.", list[type_], headers={"Link": _LINK})
    refused = (401, 403, *refusals, 422, 503)
    return Operation(name, summary, Proof.API, {200: answer}, refused, parameters=(*_PAGES, *parameters), pages=True)


def _change(
    name: str, summary: str, type_: Any = None, refusals: tuple[int, ...] = (), *, status: int = 200, **more: Any
) -> Operation:
    answer = Answer("Done.", type_) if type_ is not None else _GONE
    return Operation(
        name, summary, Proof.API, {status if type_ else 204: answer}, (401, 403, 404, *refusals, 503), **more
    )


_BUILD = "/pipelines/{slug}/builds/{number}"
_JOB = _BUILD + "/jobs/{job_id}"
_SCHEDULE = "/pipelines/{slug}/schedules/{schedule_id}"
_WEBHOOK = "/pipelines/{slug}/webhooks/{webhook_id}"

_BELOW_ORGANIZATION: dict[str, Operation] = {
    "GET ": Operation(
        "show_organization",
        "The organisation.",
        Proof.API,
        {200: Answer("As it is now.", shown.Organization)},
        (401, 403, 404, 503),
    ),
    "PATCH ": _change(
        "update_organization",
        "Whether pipelines may be public.",
        shown.Organization,
        _BODY,
        body=sent.OrganizationChanges,
    ),
    "GET /builds": _list("list_all_builds", "Builds of all pipelines, newest first.", shown.Build, (404,), _BUILDS),
    "GET /pipelines": _list(
        "list_pipelines",
        "Pipelines.",
        shown.Pipeline,
        (404,),
        (Parameter("repository", "Only those of this repository.", TEXT),),
    ),
    "POST /pipelines": _change(
        "create_pipeline", "Make a pipeline.", shown.Pipeline, _BODY, status=201, body=sent.NewPipeline
    ),
    "GET /members": _list("list_members", "People who can sign in.", members.Member, (404,)),
    "POST /members": _change(
        "invite_member",
        "Make a link for a new person, or for one who needs another password.",
        members.Invitation,
        _BODY,
        status=201,
        body=members.NewMember,
    ),
    "PATCH /members/{member_id}": _change(
        "update_member",
        "Another role, or whether the person may sign in.",
        members.Member,
        _BODY,
        body=members.MemberChanges,
    ),
    "GET /tokens": _list("list_tokens", "API tokens, without what opens anything.", members.ApiToken, (404,)),
    "POST /tokens": _change(
        "create_token",
        "Make an API token; it is shown this once.",
        members.MadeToken,
        _BODY,
        status=201,
        body=members.NewToken,
    ),
    "DELETE /tokens/{token_id}": _change("delete_token", "Make an API token worthless."),
    "GET /pipelines/{slug}": _get("show_pipeline", "One pipeline.", shown.Pipeline),
    "PATCH /pipelines/{slug}": _change(
        "update_pipeline", "Change a pipeline.", shown.Pipeline, _BODY, body=sent.PipelineChanges
    ),
    "GET /pipelines/{slug}/builds": _list(
        "list_builds", "Builds of a pipeline, newest first.", shown.Build, (404,), _BUILDS
    ),
    "POST /pipelines/{slug}/builds": _change(
        "create_build", "Make a build.", shown.Build, _BODY, status=201, body=sent.NewBuildBody
    ),
    f"GET {_BUILD}": _get(
        "show_build",
        "A build with its jobs, at once or when it changes.",
        shown.Build,
        (422,),
        answers={
            200: Answer("As it is now.", shown.Build, headers={"ETag": "Of this state of it."}),
            304: Answer("It is still as `If-None-Match` says.", headers={"ETag": "Of this state of it."}),
        },
        parameters=(_WAIT, _RETRIED, Parameter("If-None-Match", "The `ETag` that is known.", TEXT, header=True)),
    ),
    f"GET {_BUILD}/events": _get(
        "stream_build",
        "A build with its jobs, then what changes, as server-sent events.",
        None,
        (422,),
        answers={200: Answer("Events `build` and `end`.", media_type=CONTENT_TYPE)},
        parameters=(_STREAM,),
    ),
    f"PUT {_BUILD}/cancel": _change("cancel_build_by_number", "Cancel a build.", shown.Build),
    f"PUT {_BUILD}/rebuild": _change("rebuild", "Make a build of the same commit.", shown.Build, status=201),
    f"GET {_BUILD}/jobs": Operation(
        "list_jobs",
        "Jobs of a build, in the order of its steps.",
        Proof.API,
        {200: Answer("A page.", shown.JobPage, headers={"Link": _LINK})},
        (401, 403, 404, 422, 503),
        parameters=(*_PAGES, *_JOBS, _RETRIED),
        pages=True,
    ),
    f"POST {_BUILD}/retry_failed_jobs": _change(
        "retry_failed_jobs",
        "Run all jobs of a build again that went wrong.",
        shown.RetriedJobs,
        _BODY,
        body=sent.RetryFailedBody,
        optional_body=True,
    ),
    f"GET {_JOB}": _get("show_job", "One job.", shown.Job),
    f"GET {_JOB}/env": _get("show_job_environment", "A job's variables.", shown.JobEnvironment),
    f"GET {_JOB}/log": _get(
        "show_log", "A job's log; with `Accept: text/plain` or `text/html` as text.", shown.JobLog, (), parameters=()
    ),
    f"DELETE {_JOB}/log": _change("delete_log", "Delete a job's log.", None, (409,)),
    f"GET {_JOB}/log.txt": _get(
        "show_log_text",
        "A job's log as text: all of it, a range of it, or what is there from `offset` on.",
        None,
        (416, 422),
        answers={
            200: Answer(
                "The log.",
                media_type="text/plain",
                headers={
                    "ETag": "Of what there is of it; not with `offset`.",
                    "X-Log-Ended": "With `offset`: whether nothing follows.",
                    "X-Log-Bytes": "With `offset`: how long the log is.",
                },
            ),
            206: Answer("The range.", media_type="text/plain", headers={"Content-Range": "Which bytes it is."}),
            304: Answer("It is still as `If-None-Match` says.", headers={"ETag": "Of what there is of it."}),
        },
        parameters=(
            _RANGE,
            Parameter("If-Range", "All of it, unless this is its `ETag`.", TEXT, header=True),
            Parameter("If-None-Match", "The `ETag` that is known.", TEXT, header=True),
            Parameter("offset", "First byte of interest.", whole(2**53)),
            Parameter("wait", "With `offset`: seconds to wait for more.", whole(MAX_WAIT)),
        ),
    ),
    f"GET {_JOB}/log/stream": _get(
        "stream_log",
        "A job's log as server-sent events: what is there, then what is added.",
        None,
        (422,),
        answers={200: Answer("Events `log` and `end`; ids are offsets in bytes.", media_type=CONTENT_TYPE)},
        parameters=(
            _STREAM,
            Parameter("offset", "First byte of interest.", whole(2**53)),
            Parameter("Last-Event-ID", "The id of the last event that came.", TEXT, header=True),
        ),
    ),
    f"PUT {_JOB}/unblock": _change(
        "unblock", "Let a block or input step pass.", shown.Job, _BODY, body=sent.UnblockBody, optional_body=True
    ),
    f"PUT {_JOB}/retry": _change("retry_job", "Run a job again.", shown.Job, (422,)),
    f"GET {_BUILD}/artifacts": _list(
        "list_artifacts",
        "Artifacts of a build.",
        shown.BuildArtifact,
        (404,),
        _STATE,
    ),
    f"GET {_JOB}/artifacts": _list(
        "list_job_artifacts",
        "Artifacts of a job.",
        shown.BuildArtifact,
        (404,),
        _STATE,
    ),
    f"GET {_JOB}/artifacts/{{artifact_id}}": _get("show_artifact", "One artifact.", shown.BuildArtifact),
    f"DELETE {_JOB}/artifacts/{{artifact_id}}": _change("delete_artifact", "Delete an artifact.", None, (409,)),
    f"GET {_JOB}/artifacts/{{artifact_id}}/download": _get(
        "find_download",
        "Where an artifact's bytes are.",
        None,
        answers={302: Answer("There.", headers={"Location": "An address that works for some minutes."})},
    ),
    f"GET {_BUILD}/annotations": _list("list_annotations", "Notes on a build.", shown.BuildAnnotation, (404,)),
    f"GET {_JOB}/annotations": _list("list_job_annotations", "Notes on a job.", shown.BuildAnnotation, (404,)),
    f"POST {_BUILD}/annotations": _change(
        "create_annotation",
        "Write a note on a build, or change one.",
        shown.BuildAnnotation,
        _BODY,
        status=201,
        body=sent.NewAnnotation,
    ),
    f"DELETE {_BUILD}/annotations/{{annotation_id}}": _change("delete_build_annotation", "Remove a note."),
    f"GET {_BUILD}/meta-data": _get("show_build_meta_data", "The meta-data of a build.", dict[str, str]),
    f"PATCH {_BUILD}/meta-data": _change(
        "update_build_meta_data", "Set meta-data of a build.", dict[str, str], _BODY, body=dict[str, str]
    ),
    "GET /cc.xml": _get(
        "show_feed",
        "The last build of each pipeline's default branch, for build monitors (CCTray).",
        None,
        answers={200: Answer("The feed.", media_type="application/xml")},
    ),
    f"GET {_BUILD}/signed-steps": _list(
        "list_signed_steps",
        "What readers check the signatures of a build's steps with.",
        signed_steps.SignedStep,
        (404,),
    ),
    f"GET {_JOB}/signed-step": _get(
        "show_signed_step", "What readers check the signature of a job's step with.", signed_steps.SignedStep
    ),
    "GET /signing": _list(
        "list_signing", "How signing stands in each pipeline, in short.", signing_report.PipelineSigning, (404,)
    ),
    "GET /pipelines/{slug}/signing": _get(
        "show_signing",
        "How signing stands in a pipeline, as steps carry it and as agents told.",
        signing_report.SigningReport,
        (422,),
        parameters=(
            Parameter(
                "days", f"How far back, {signing_report.REPORT_DAYS} unless said.", whole(signing_report.MOST_DAYS)
            ),
        ),
    ),
    "GET /keys": _list("list_keys", "Public keys that steps are signed with.", signed_steps.SigningKey, (404,)),
    "POST /keys": _change(
        "add_keys", "Make public keys known.", list[signed_steps.SigningKey], _BODY, status=201, body=trust.NewKeys
    ),
    "PATCH /keys/{key_id}": _change(
        "update_key", "Whether a key counts as revoked.", signed_steps.SigningKey, _BODY, body=trust.KeyChanges
    ),
    "DELETE /keys/{key_id}": _change("delete_key", "Forget a key."),
    "GET /keys/{key_id}/steps": _list(
        "list_key_uses", "Steps of recent builds whose signatures name a key.", signed_steps.KeyUse, (404,)
    ),
    "GET /changes": _list("list_changes", "Who changed what, the newest first.", changes.Change, (404,)),
    "GET /secrets": _list("list_secrets", "Secrets, without their values.", shown.SecretInfo, (404,)),
    "PUT /secrets/{key}": _change("set_secret", "Set a secret.", shown.SecretInfo, _BODY, body=sent.SecretValue),
    "DELETE /secrets/{key}": _change("delete_secret", "Remove a secret."),
    "GET /pipelines/{slug}/schedules": _list("list_schedules", "Schedules of a pipeline.", shown.Schedule, (404,)),
    "POST /pipelines/{slug}/schedules": _change(
        "create_schedule", "Make a schedule.", shown.Schedule, _BODY, status=201, body=ScheduleFields
    ),
    f"GET {_SCHEDULE}": _get("show_schedule", "One schedule.", shown.Schedule),
    f"PATCH {_SCHEDULE}": _change(
        "update_schedule", "Change a schedule.", shown.Schedule, _BODY, body=ScheduleFields
    ),
    f"DELETE {_SCHEDULE}": _change("delete_schedule", "Remove a schedule."),
    "GET /pipelines/{slug}/webhooks": _list("list_webhooks", "Webhooks of a pipeline.", shown.Webhook, (404,)),
    "POST /pipelines/{slug}/webhooks": _change(
        "create_webhook", "Make a webhook.", shown.MadeWebhook, _BODY, status=201, body=sent.NewWebhook
    ),
    f"PUT {_WEBHOOK}/secret": _change(
        "replace_webhook_secret",
        "Give a webhook another secret.",
        shown.ReplacedSecret,
        _BODY,
        body=sent.WebhookSecret,
        optional_body=True,
    ),
    f"DELETE {_WEBHOOK}": _change("delete_webhook", "Remove a webhook."),
    f"GET {_BUILD}/notifications": _list(
        "list_notifications", "What was told about a build.", shown.Notification, (404,)
    ),
    "GET /notification-secret": _get(
        "show_notification_secret", "With which notifications are signed.", shown.NotificationSecret
    ),
    "GET /agents": _list(
        "list_agents",
        "Connected agents, newest first.",
        shown.Agent,
        (404,),
        tuple(Parameter(name, "Only those with exactly this one.", TEXT) for name in ("name", "hostname", "version")),
    ),
    "GET /agents/{agent_id}": _get("show_agent", "One agent.", shown.Agent),
    "PUT /agents/{agent_id}/pause": _change(
        "pause_agent_by_id", "Give an agent no further jobs.", None, _BODY, body=sent.PauseBody, optional_body=True
    ),
    "PUT /agents/{agent_id}/resume": _change("resume_agent_by_id", "Let an agent go on."),
    "PUT /agents/{agent_id}/stop": _change(
        "stop_agent_by_id",
        "Let an agent disconnect after its job, or with `force` stop the job too.",
        None,
        _BODY,
        body=sent.StopBody,
        optional_body=True,
    ),
}
REST_OPERATIONS: dict[str, Operation] = {
    "GET /organizations": Operation(
        "list_organizations",
        "The organisations: there is one.",
        Proof.API,
        {200: Answer("A page.", list[shown.Organization])},
        (401, 403, 422, 503),
        parameters=_PAGES,
        pages=True,
    ),
    "GET /builds": _list("list_every_build", "Builds of all organisations, newest first.", shown.Build, (), _BUILDS),
    "GET /access-token": Operation(
        "show_access_token",
        "What the token may do.",
        Proof.API,
        {200: Answer("It.", shown.AccessToken)},
        (401, 503),
    ),
    "DELETE /access-token": Operation(
        "delete_access_token", "Make the token worthless.", Proof.API, {204: Answer()}, (401, 503)
    ),
    "GET /user": Operation(
        "show_user",
        "Whose the token is.",
        Proof.API,
        {200: Answer("The person.", own.User)},
        (401, 404, 503),
    ),
    "PUT /user/password": Operation(
        "change_password",
        "Choose another password; for the server's own pages.",
        Proof.API,
        {204: Answer()},
        (401, 413, 422, 503),
        body=own.PasswordChange,
    ),
    "GET /user/sessions": Operation(
        "list_sessions",
        "The browsers in which one is signed in; for the server's own pages.",
        Proof.API,
        {200: Answer("A page.", list[own.BrowserSession])},
        (401, 422, 503),
        parameters=_PAGES,
        pages=True,
    ),
    "DELETE /user/sessions/{session_id}": Operation(
        "end_session",
        "Sign one of one's own browsers out; for the server's own pages.",
        Proof.API,
        {204: Answer()},
        (401, 503),
    ),
} | {
    f"{key.partition(' ')[0]} {ORGANIZATION}{key.partition(' ')[2]}": operation
    for key, operation in _BELOW_ORGANIZATION.items()
}

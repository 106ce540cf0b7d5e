"""Descriptions of the Agent API, by the names of `agentapi.routes.ROUTES`."""

from __future__ import annotations

from typing import Any

import msgspec

from pipeseal.agentapi import job_messages as inside
from pipeseal.agentapi import messages
from pipeseal.controlplane.http.agent_api import HeaderTimes, MetaDataBatch, UploadResult
from pipeseal.controlplane.http.openapi.operation import TEXT, Answer, Operation, Parameter, Proof, whole
from pipeseal.controlplane.services.describe_token import TokenDescription


class Empty(msgspec.Struct):
    """Nothing to say; agents do not look at it."""


class OidcToken(msgspec.Struct):
    """An OpenID Connect token, a signed JWT."""

    token: str


class StepOutput(msgspec.Struct):
    """What was asked of a step."""

    output: str


class UpdatedJob(msgspec.Struct):
    """The job that was changed."""

    id: str


_DONE = Answer(type=Empty)
_HUGE = 2**53
_BODY = (413, 422)


def _answer(type_: Any, description: str = "Done.") -> dict[int, Answer]:
    return {200: Answer(description, type_)}


def _session(name: str, summary: str, type_: Any = Empty, refusals: tuple[int, ...] = (), **more: Any) -> Operation:
    return Operation(name, summary, Proof.SESSION, _answer(type_), (401, *refusals, 503), **more)


def _job(name: str, summary: str, type_: Any = Empty, refusals: tuple[int, ...] = (), **more: Any) -> Operation:
    answers = more.pop("answers", None) or _answer(type_)
    return Operation(name, summary, Proof.JOB, answers, (401, *refusals, 503), **more)


_KEY = messages.MetaDataItem
_OPERATIONS = (
    Operation(
        "register",
        "An agent introduces itself and gets a session.",
        Proof.REGISTRATION,
        _answer(messages.RegisterResponse, "The agent's identity, session token and intervals in seconds."),
        (401, *_BODY, 503),
        body=messages.RegisterRequest,
    ),
    _session("connect", "The agent is ready for jobs."),
    _session("disconnect", "The agent goes; its session ends."),
    _session("ping", "What to do next; held open until there is something.", messages.PingResponse),
    _session("heartbeat", "A sign of life.", messages.Heartbeat, _BODY, body=messages.Heartbeat, optional_body=True),
    _session("accept_job", "Take the job that a ping told of.", messages.JobAssignment, (404, 409)),
    _session("acquire_job", "Take this very job, as soon as it can be had.", messages.JobAssignment, (404, 422, 423)),
    _job("start_job", "The job begins.", Empty, (403, *_BODY), body=messages.StartRequest, optional_body=True),
    _job("job_state", "How the job stands; agents stop it when they are told so.", messages.JobState, (403,)),
    _job("finish_job", "The job has ended.", Empty, (403, *_BODY), body=messages.FinishRequest),
    _job(
        "append_log",
        "A piece of the job's log, whose bytes are kept when this is answered.",
        Empty,
        (403, *_BODY),
        form=("text/plain", {"type": "string", "format": "binary"}),
        parameters=(
            Parameter("sequence", "Number of the piece, for repeats.", whole(_HUGE), required=True),
            Parameter("offset", "Where it begins, in bytes before compression.", whole(_HUGE), required=True),
            Parameter("size", "How long it is, in bytes before compression.", whole(_HUGE), required=True),
            Parameter("Content-Encoding", "How it is compressed.", {"enum": ["gzip", "identity"]}, header=True),
        ),
    ),
    _job("header_times", "When the groups of the log began.", Empty, (403, *_BODY), body=HeaderTimes),
    _job(
        "upload_pipeline",
        "Add steps to the job's build.",
        UploadResult,
        (403, *_BODY),
        body=messages.PipelineUpload,
        parameters=(Parameter("async", "Whether the caller would wait; uploads are done when answered.", TEXT),),
    ),
    _job("upload_state", "How an upload stands.", messages.UploadState, (403, 404)),
    _job("set_meta_data", "Set one key of the build's meta-data.", Empty, (403, *_BODY), body=_KEY),
    _job("get_meta_data", "The value of a key.", _KEY, (403, 404, *_BODY), body=_KEY),
    _job("has_meta_data", "Whether a key is set.", messages.MetaDataExists, (403, *_BODY), body=_KEY),
    _job("list_meta_data", "The keys that are set.", list[str], (403, 422)),
    _job("stop_agent", "End the agent of this job.", Empty, _BODY, body=inside.AgentStop, optional_body=True),
    _job("pause_agent", "Pause the agent of this job.", Empty, _BODY, body=inside.AgentPause, optional_body=True),
    _job("resume_agent", "Let the agent of this job go on.", Empty, (422,)),
    _job("update_job", "Change its `timeout_in_minutes`.", UpdatedJob, (403, *_BODY), body=dict[str, str | int]),
    _job(
        "promise_failure",
        "The job will end with at least this exit status.",
        refusals=(403, 409, *_BODY),
        answers={204: Answer("Noted.")},
        body=inside.PromisedFailure,
    ),
    _job("set_meta_data_batch", "Set several keys, all or none.", Empty, (403, *_BODY), body=MetaDataBatch),
    _job("get_build_meta_data", "The value of a key of a build.", _KEY, (403, 404, *_BODY), body=_KEY),
    _job("has_build_meta_data", "Whether a build has a key.", messages.MetaDataExists, (403, 404, *_BODY), body=_KEY),
    _job("list_build_meta_data", "The keys of a build.", list[str], (403, 404, 422)),
    _job("annotate", "Put a note on the build's page.", Empty, (403, *_BODY), body=inside.Annotation),
    _job(
        "remove_annotation",
        "Take a note off.",
        Empty,
        (403, 404, 422),
        parameters=(Parameter("scope", "Of the build, or of this job.", {"enum": ["build", "job"]}),),
    ),
    _job(
        "get_secret",
        "A secret that the job's pipeline may have.",
        inside.Secret,
        (403, 404, 422),
        parameters=(Parameter("key", "Which one.", TEXT, required=True),),
    ),
    _job(
        "request_oidc_token",
        "An OpenID Connect token that says what the job is.",
        OidcToken,
        (403, *_BODY),
        body=inside.OidcTokenRequest,
        optional_body=True,
    ),
    _job(
        "export_step",
        "What is known of it.",
        StepOutput,
        (404, *_BODY),
        body=inside.StepExport,
        optional_body=True,
    ),
    _job("update_step", "Change an attribute of a step.", Empty, (404, *_BODY), body=inside.StepUpdate),
    _job("cancel_step", "End the jobs of a step.", inside.Cancelled, (404, *_BODY), body=inside.StepCancel),
    _job("cancel_build", "Cancel the job's build.", inside.Cancelled, (403, 404, 422)),
    _job(
        "create_artifacts",
        "Announce artifacts, and learn how to send their bytes.",
        refusals=(403, 409, *_BODY),
        answers={201: Answer("They are expected.", inside.ArtifactsCreated)},
        body=inside.ArtifactBatch,
    ),
    _job(
        "update_artifacts",
        "Their bytes are sent, or cannot be.",
        Empty,
        (403, 404, *_BODY),
        body=inside.ArtifactStates,
    ),
    _job(
        "search_artifacts",
        "Artifacts of a build.",
        list[inside.Artifact],
        (403, 404, 422),
        parameters=(
            Parameter("query", "Paths, with wildcards.", TEXT),
            Parameter("scope", "Key, label or id of the step or job they are of.", TEXT),
            Parameter("state", "Which ones.", {"enum": ["new", "finished", "error"]}),
            Parameter("include_retried_jobs", "Those of jobs that were retried, too: true.", TEXT),
            Parameter("include_duplicates", "Those of a path that several jobs have made, too: true.", TEXT),
        ),
    ),
    Operation(
        "describe_token",
        "What the token is.",
        Proof.ANY_AGENT,
        _answer(TokenDescription),
        (401, 503),
    ),
)
AGENT_OPERATIONS: dict[str, Operation] = {operation.name: operation for operation in _OPERATIONS}

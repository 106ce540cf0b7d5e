"""Descriptions of what is neither Agent API nor REST API, by method and path."""

from __future__ import annotations

from typing import Any

import msgspec

from pipeseal.agentapi.ping_stream import CONTENT_TYPES, STREAM_PATH
from pipeseal.controlplane.http import answers as shown
from pipeseal.controlplane.http import badges, graphql, sessions
from pipeseal.controlplane.http.openapi.operation import TEXT, Answer, Operation, Parameter, Proof
from pipeseal.controlplane.http.sign_in import BEGIN_PATH
from pipeseal.controlplane.services import oidc
from pipeseal.controlplane.services.artifact_links import ANNOTATION, DOWNLOAD, PICTURE, UPLOAD
from pipeseal.controlplane.services.sign_in_oidc import CALLBACK_PATH

OPENAPI_PATH = "/openapi.json"


class GraphqlError(msgspec.Struct):
    """What went wrong."""

    message: str


class GraphqlAnswer(msgspec.Struct, omit_defaults=True):
    """Data, or why there is none."""

    data: dict[str, Any] | None
    errors: list[GraphqlError] = []


_FILE = {"type": "string", "format": "binary"}
_LINK = "/{artifact_id}/{part}/{expires}/{mac}"
_DOWNLOAD = {
    "ETag": "SHA-256 of the file.",
    "Content-Disposition": "Its name; it is never shown as a page.",
}
_TAG = {"ETag": "Of this state of it."}
_BADGE = (
    Parameter("branch", "Of which branch; the default branch, when left out.", TEXT),
    Parameter("step", "Key or label of a step, whose outcome is meant then.", TEXT),
    Parameter("show", "`signing`: how many steps of the last build carry signatures.", TEXT),
    Parameter("If-None-Match", "The `ETag` that is known.", TEXT, header=True),
)
OTHER_OPERATIONS: dict[str, Operation] = {
    "GET /session": Operation(
        "show_session",
        "Who is signed in in this browser.",
        Proof.ADDRESS,
        {200: Answer("What the pages need to know.", sessions.SessionFacts)},
        (503,),
    ),
    "POST /session": Operation(
        "sign_in",
        "Sign a browser in; for the server's own pages.",
        Proof.ADDRESS,
        {204: Answer("It has a cookie.")},
        (403, 413, 422, 429, 503),
        body=sessions.SignInBody,
    ),
    "DELETE /session": Operation(
        "sign_out", "Sign a browser out.", Proof.ADDRESS, {204: Answer("The cookie is gone.")}, (403, 503)
    ),
    "POST /session/link": Operation(
        "use_link",
        "Make the account of a link, or choose another password with it, and sign in.",
        Proof.ADDRESS,
        {204: Answer("It has a cookie.")},
        (403, 410, 413, 422, 503),
        body=sessions.LinkBody,
    ),
    f"GET {BEGIN_PATH}": Operation(
        "begin_sign_in",
        "Send a browser to the provider that people sign in at.",
        Proof.ADDRESS,
        {303: Answer("There, or to the page that says what went wrong.", headers={"Location": "Where to."})},
        (404,),
    ),
    f"GET {CALLBACK_PATH}": Operation(
        "finish_sign_in",
        "Where the provider sends a browser back to.",
        Proof.ADDRESS,
        {303: Answer("Signed in, or to the page that says why not.", headers={"Location": "Where to."})},
        (404,),
        parameters=(Parameter("state", "Of the sign-in.", TEXT), Parameter("code", "Of the provider.", TEXT)),
    ),
    f"POST {STREAM_PATH}": Operation(
        "stream_pings",
        "What to do next, told as it happens: gRPC messages on a stream that stays open.",
        Proof.SESSION,
        {200: Answer("The stream.", media_type=CONTENT_TYPES[0])},
        (401, 403, 404, 413, 422),
        form=(CONTENT_TYPES[0], _FILE),
    ),
    f"POST /artifacts/{UPLOAD}{_LINK.replace('{part}', '0')}": Operation(
        "upload_artifact",
        "Send an artifact as a form, to an address that `create_artifacts` gave.",
        Proof.ADDRESS,
        {204: Answer("It is kept.")},
        (403, 404, 409, 413, 422, 503),
        form=("multipart/form-data", {"type": "object", "properties": {"file": _FILE}, "required": ["file"]}),
    ),
    f"PUT /artifacts/{UPLOAD}{_LINK}": Operation(
        "upload_artifact_part",
        "Send a part of an artifact, to an address that `create_artifacts` gave.",
        Proof.ADDRESS,
        {200: Answer("It is kept.", headers={"ETag": "For `update_artifacts`."})},
        (403, 404, 409, 413, 503),
        form=("application/octet-stream", _FILE),
    ),
    f"GET /artifacts/{DOWNLOAD}{_LINK.replace('{part}', '0')}": Operation(
        "download_artifact",
        "An artifact's bytes, from an address that a search or `find_download` gave.",
        Proof.ADDRESS,
        {
            200: Answer("The file.", media_type="*/*", headers=_DOWNLOAD),
            206: Answer("The range.", media_type="*/*", headers={**_DOWNLOAD, "Content-Range": "Which bytes it is."}),
        },
        (403, 404, 416, 503),
        parameters=(
            Parameter("Range", "Which bytes.", TEXT, header=True),
            Parameter("If-Range", "All of it, unless this is its `ETag`.", TEXT, header=True),
        ),
    ),
    f"GET /artifacts/{ANNOTATION}{_LINK.replace('{part}', '0')}": Operation(
        "show_annotation",
        "An annotation as a document for a frame, from the address that a list of annotations gave.",
        Proof.ADDRESS,
        {200: Answer("A page that runs nothing.", media_type="text/html")},
        (403, 404, 503),
        parameters=(
            Parameter("pictures", "`1` to load pictures from elsewhere.", TEXT),
            Parameter("theme", "`light` or `dark`; otherwise as the system has it.", TEXT),
        ),
    ),
    f"GET /artifacts/{PICTURE}{_LINK.replace('{part}', '0')}": Operation(
        "show_picture",
        "A picture among the artifacts, from an address that an annotation's document has.",
        Proof.ADDRESS,
        {200: Answer("A PNG, JPEG, GIF or WebP.", media_type="*/*")},
        (403, 404, 503),
    ),
    "GET /.well-known/openid-configuration": Operation(
        "show_openid_configuration",
        "For services that check OpenID Connect tokens of jobs.",
        Proof.ADDRESS,
        {200: Answer("The configuration.", dict[str, Any])},
    ),
    f"GET {oidc.JWKS_PATH}": Operation(
        "list_openid_keys",
        "The keys that OpenID Connect tokens of jobs are signed with.",
        Proof.ADDRESS,
        {200: Answer("A key set.", dict[str, Any])},
        (503,),
    ),
    f"POST {graphql.PATH}": Operation(
        "execute_graphql",
        "The two operations that signing tools need, `GetPipeline` and `UpdatePipeline`.",
        Proof.API,
        {200: Answer("Data or errors.", GraphqlAnswer)},
        (401, 403, 413, 422, 503),
        body=graphql.GraphqlRequest,
    ),
    "POST /webhooks/{provider}/{token}": Operation(
        "deliver_webhook",
        "A provider tells of pushes and pull requests; its signature says that it is the provider.",
        Proof.ADDRESS,
        {200: Answer("What came of it.", shown.DeliveryAnswer)},
        (401, 404, 413, 422, 503),
        form=("application/json", {}),
    ),
    f"GET {badges.PATH}.svg": Operation(
        "show_badge",
        "A picture of how a public pipeline stands; `unknown` for any other.",
        Proof.ADDRESS,
        {
            200: Answer("The picture.", media_type="image/svg+xml", headers=_TAG),
            304: Answer("It is known.", headers=_TAG),
        },
        (503,),
        parameters=(
            *_BADGE,
            Parameter("style", "`flat`, or `flat-square` without round corners.", TEXT),
            Parameter("theme", "`light` or `dark`.", TEXT),
        ),
    ),
    f"GET {badges.PATH}.json": Operation(
        "show_badge_facts",
        "The same as JSON.",
        Proof.ADDRESS,
        {200: Answer("The facts.", badges.Badge, headers=_TAG), 304: Answer("They are known.", headers=_TAG)},
        (503,),
        parameters=_BADGE,
    ),
    "GET /metrics": Operation(
        "show_metrics",
        "Measures for Prometheus; without a token where the server is set so.",
        Proof.API,
        {200: Answer("The measures.", media_type="text/plain")},
        (401, 403, 503),
    ),
    "GET /healthz": Operation(
        "show_health",
        "Whether the server and its database answer.",
        Proof.ADDRESS,
        {200: Answer("They do.", shown.Health)},
        (503,),
    ),
    f"GET {OPENAPI_PATH}": Operation(
        "show_description", "This description.", Proof.ADDRESS, {200: Answer("It.", dict[str, Any])}
    ),
}

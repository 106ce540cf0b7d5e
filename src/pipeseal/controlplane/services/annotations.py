"""Annotations: notes that jobs put on the page of their build."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

from pipeseal.agentapi.job_messages import Annotation
from pipeseal.controlplane.services.authenticate import not_found
from pipeseal.controlplane.services.events import build_topic
from pipeseal.controlplane.services.job_access import held_job
from pipeseal.controlplane.services.plane import ControlPlane
from pipeseal.controlplane.store import annotations as annotation_store
from pipeseal.controlplane.store.database import Transaction
from pipeseal.errors import MalformedInput

STYLES = ("success", "info", "warning", "error")
SCOPES = ("build", "job")
DEFAULT_CONTEXT = "default"
DEFAULT_PRIORITY = 3
_MAX_CONTEXT = 1_000
# Which build is meant, once the transaction is there.
FindBuild: TypeAlias = Callable[[Transaction], str]


async def annotate(plane: ControlPlane, job_id: str, token: str, annotation: Annotation) -> None:
    """Set an annotation, add to it, or change only its style.

    Parameters:
        job_id, token: the job.
        annotation: without a body, only style and priority of what is there change.

    Raises:
        VerificationError: `access.unknown_token`, `access.other_job`.
        MalformedInput: `state.not_running`; `request.malformed`; `request.too_large`: the text would be longer than
            its limit; `annotation.limit`: too many in one build.
    """
    scope = annotation.get("scope") or "build"
    owner = job_id if scope == "job" else ""
    await set_annotation(
        plane, lambda tx: str(held_job(tx, job_id, token)["build_id"]), annotation, owner=owner, writer=job_id
    )


async def set_annotation(
    plane: ControlPlane, find: FindBuild, annotation: Annotation, *, owner: str = "", writer: str = ""
) -> str:
    """Set an annotation of a build, add to it, or change only its style.

    Parameters:
        find: which build; may refuse.
        annotation: without a body, only style and priority of what is there change.
        owner: the job that it is about; empty when it is about the whole build.
        writer: the job that writes it; empty when it is no job. Whoever wrote to it last is its writer.

    Returns:
        Its id.

    Raises:
        MalformedInput: `request.malformed`; `request.too_large`: the text would be longer than its limit;
            `annotation.limit`: too many in one build; what `find` raises.
    """
    body = annotation.get("body", "")
    style = annotation.get("style", "")
    context = annotation.get("context") or DEFAULT_CONTEXT
    scope = annotation.get("scope") or "build"
    priority = annotation.get("priority", DEFAULT_PRIORITY)
    if style and style not in STYLES:
        raise MalformedInput("request.malformed", f"{style[:80]!r} is no style; these are: {', '.join(STYLES)}")
    _check_place(context, scope)
    if not 1 <= priority <= 10:
        raise MalformedInput("request.malformed", f"an annotation's priority is from 1 to 10, not {priority}")
    limits = plane.settings.limits
    now = plane.now()

    def change(tx: Transaction) -> str:
        build_id = find(tx)
        known = annotation_store.find_annotation(tx, build_id, owner, context)
        if known is None and not body:
            raise MalformedInput("request.malformed", "a new annotation needs a body")
        text = body
        if known is not None and (not body or annotation.get("append", False)):
            text = known["body"] + body
        if len(text.encode("utf-8", "surrogatepass")) > limits.max_annotation_bytes:
            raise MalformedInput(
                "request.too_large",
                f"an annotation has at most {limits.max_annotation_bytes} bytes (max_annotation_bytes)",
                help="upload it as an artifact, and link to that",
            )
        if known is not None:
            new_style = style or known["style"]
            new_priority = annotation.get("priority", known["priority"])
            annotation_store.update_annotation(
                tx, known["id"], writer=writer, style=new_style, priority=new_priority, body=text, now=now
            )
            annotation_id = str(known["id"])
        else:
            most = limits.max_annotations_per_build
            if annotation_store.count_annotations(tx, build_id) >= most:
                raise MalformedInput(
                    "annotation.limit", f"a build has at most {most} annotations (max_annotations_per_build)"
                )
            annotation_id = plane.new_id()
            annotation_store.insert_annotation(
                tx,
                id=annotation_id,
                build_id=build_id,
                owner=owner,
                writer=writer,
                context=context,
                style=style,
                priority=priority,
                body=text,
                now=now,
            )
        tx.after_commit(lambda: plane.events.publish(build_topic(build_id)))
        return annotation_id

    return await plane.database.write(change)


async def delete_annotation(plane: ControlPlane, find: FindBuild, annotation_id: str) -> None:
    """Remove an annotation of a build by its id.

    Raises:
        MalformedInput: `request.not_found`; what `find` raises.
    """

    def change(tx: Transaction) -> None:
        build_id = find(tx)
        if not annotation_store.delete_annotation_by_id(tx, build_id, annotation_id):
            raise not_found("such annotation")
        tx.after_commit(lambda: plane.events.publish(build_topic(build_id)))

    await plane.database.write(change)


async def remove_annotation(plane: ControlPlane, job_id: str, token: str, context: str, scope: str) -> None:
    """Remove an annotation.

    Raises:
        VerificationError: `access.unknown_token`, `access.other_job`.
        MalformedInput: `state.not_running`, `request.malformed`; `request.not_found`: there is none.
    """
    scope = scope or "build"
    _check_place(context, scope)

    def change(tx: Transaction) -> None:
        job = held_job(tx, job_id, token)
        build_id = job["build_id"]
        if not annotation_store.delete_annotation(tx, build_id, job_id if scope == "job" else "", context):
            raise not_found("annotation of that context")
        tx.after_commit(lambda: plane.events.publish(build_topic(build_id)))

    await plane.database.write(change)


def _check_place(context: str, scope: str) -> None:
    if len(context) > _MAX_CONTEXT:
        raise MalformedInput("request.malformed", f"an annotation's context has at most {_MAX_CONTEXT} characters")
    if scope not in SCOPES:
        raise MalformedInput("request.malformed", f"{scope[:80]!r} is no scope; these are: {', '.join(SCOPES)}")

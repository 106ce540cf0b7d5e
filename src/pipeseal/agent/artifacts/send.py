"""Sending one artifact, or one part of it, to the store: bodies that are streamed and always as long as announced."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import NamedTuple

from pipeseal.agent.artifacts.find import ArtifactFile, file_version
from pipeseal.agent.artifacts.instructions import FormUpload, Instructions, PartUpload
from pipeseal.agent.artifacts.stores import BLOCK_BYTES, Stored, StoreSession, answer_error
from pipeseal.errors import Unavailable, VerificationError, escape_control

_MAX_TAG = 1_024


class Unit(NamedTuple):
    """One request to the store: a whole file as a form, or bytes `offset` to `offset + size` of it as a part."""

    artifact_id: str
    file: ArtifactFile
    how: FormUpload | PartUpload
    offset: int
    size: int
    units: int

    def describe(self) -> str:
        """For people."""
        path = escape_control(self.file.path)
        return f"{path}, part {self.how.number} of {self.units}" if isinstance(self.how, PartUpload) else path


def split_into_units(file: ArtifactFile, instructions: Instructions) -> list[Unit]:
    """The requests that one artifact takes: its bytes evenly over the parts, the first ones one byte longer."""
    if instructions.form is not None:
        return [Unit(instructions.artifact_id, file, instructions.form, 0, file.size, 1)]
    count = len(instructions.parts)
    size, longer = divmod(file.size, count)
    units, offset = [], 0
    for index, part in enumerate(instructions.parts):
        length = size + (index < longer)
        units.append(Unit(instructions.artifact_id, file, part, offset, length, count))
        offset += length
    return units


def send_unit(session: StoreSession, unit: Unit) -> str:
    """Send one unit.

    Returns:
        The store's tag for a part; empty for a form.

    Raises:
        VerificationError: the file is not what it was when its checksums were made (code `artifact.changed`), or the
            address may not be used (code `artifact.store`).
        Unavailable: the file cannot be read (code `artifact.file`); the store did not take it (code
            `artifact.transfer`).
    """
    if isinstance(unit.how, FormUpload):
        headers, head, tail = _form(unit.how, unit.file)
        length = len(head) + unit.size + len(tail)
        answer = session.send(unit.how.method, unit.how.url, headers, length, _form_blocks(head, unit, tail))
        _check(unit, answer)
        return ""
    headers = {"Content-Type": unit.file.content_type}
    answer = session.send(unit.how.method, unit.how.url, headers, unit.size, _file_blocks(unit))
    _check(unit, answer)
    tag = answer.headers.get("etag", "")
    if not tag or len(tag) > _MAX_TAG:
        raise Unavailable("artifact.transfer", f"the store took {unit.describe()} and gave no usable ETag for it")
    return tag


def _check(unit: Unit, answer: Stored) -> None:
    if not 200 <= answer.status < 300:
        raise answer_error(unit.how.method, unit.how.url, answer)


def _form(form: FormUpload, file: ArtifactFile) -> tuple[dict[str, str], bytes, bytes]:
    """Headers, and what goes before and after the file (RFC 7578)."""
    boundary = os.urandom(30).hex()
    pieces = []
    for name, value in form.fields:
        pieces.append(f'--{boundary}\r\nContent-Disposition: form-data; name="{_quoted(name)}"\r\n\r\n{value}\r\n')
    # Last, as the forms of S3 demand.
    pieces.append(
        f'--{boundary}\r\nContent-Disposition: form-data; name="{_quoted(form.file_field)}"; '
        f'filename="{_quoted(file.path)}"\r\nContent-Type: application/octet-stream\r\n\r\n'
    )
    head = "".join(pieces).encode("utf-8", "replace")
    return {"Content-Type": f"multipart/form-data; boundary={boundary}"}, head, f"\r\n--{boundary}--\r\n".encode()


def _quoted(text: str) -> str:
    # RFC 7578 section 2, as browsers write it: a line break cannot end the header.
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\r", "%0D").replace("\n", "%0A")


def _form_blocks(head: bytes, unit: Unit, tail: bytes) -> Iterator[bytes]:
    yield head
    yield from _file_blocks(unit)
    yield tail


def _file_blocks(unit: Unit) -> Iterator[bytes]:
    """The unit's bytes of the file: all of them, of the file that was there when its checksums were made."""
    left = unit.size
    try:
        with open(unit.file.source, "rb", buffering=0) as file:  # noqa: PTH123  (text: names need not be UTF-8)
            _check_version(file.fileno(), unit.file)
            file.seek(unit.offset)
            while left and (block := file.read(min(left, BLOCK_BYTES))):
                left -= len(block)
                yield block
            if left:
                raise _changed(unit.file)
            _check_version(file.fileno(), unit.file)
    except OSError as error:
        # Raised here, it would look like the connection's.
        raise Unavailable(
            "artifact.file", f"cannot read {escape_control(unit.file.path)}: {error.strerror}"
        ) from error


def _check_version(descriptor: int, file: ArtifactFile) -> None:
    if file_version(descriptor) != file.version:
        raise _changed(file)


def _changed(file: ArtifactFile) -> VerificationError:
    return VerificationError(
        "artifact.changed",
        f"{escape_control(file.path)} changed while it was being uploaded",
        help="upload files after the commands that write them have ended",
    )

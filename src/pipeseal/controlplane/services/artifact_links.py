"""Addresses that carry their own permission: where the bytes of one artifact are sent to, and fetched from.

Annotations and the pictures in them have such addresses too: they are shown in frames that no session reaches.

Agents send no token to stores, so the address says for how long it works, and a MAC of the server's own secret makes
sure that nobody else wrote it.
"""

from __future__ import annotations

import hmac
from base64 import urlsafe_b64encode
from urllib.parse import urlsplit

from pipeseal.controlplane.services.plane import ControlPlane
from pipeseal.errors import VerificationError

UPLOAD = "uploads"
DOWNLOAD = "files"
ANNOTATION = "annotations"
PICTURE = "pictures"
UPLOAD_SECONDS = 6 * 3600
DOWNLOAD_SECONDS = 3600
WHOLE = 0  # in place of a part's number


def make_link(plane: ControlPlane, purpose: str, artifact_id: str, part: int, *, seconds: int) -> str:
    """A path on this server for one artifact, or one annotation.

    Parameters:
        purpose: `UPLOAD`, `DOWNLOAD` or `PICTURE`; `ANNOTATION`, and then the id is an annotation's.
        part: number of the part from 1, or `WHOLE`.
        seconds: how long it works.
    """
    expires = int(plane.clock.now()) + seconds
    prefix = urlsplit(plane.url).path.rstrip("/")
    mac = _mac(plane, purpose, artifact_id, part, expires)
    return f"{prefix}/artifacts/{purpose}/{artifact_id}/{part}/{expires}/{mac}"


def download_url(plane: ControlPlane, artifact_id: str) -> str:
    """Where an artifact can be fetched for a while, by anybody who has the address."""
    return make_url(plane, DOWNLOAD, artifact_id, seconds=DOWNLOAD_SECONDS)


def make_url(plane: ControlPlane, purpose: str, artifact_id: str, *, seconds: int) -> str:
    """`make_link` for all of an artifact, as a whole address."""
    parts = urlsplit(plane.url)
    return f"{parts.scheme}://{parts.netloc}{make_link(plane, purpose, artifact_id, WHOLE, seconds=seconds)}"


def verify_link(plane: ControlPlane, purpose: str, artifact_id: str, part: int, expires: int, mac: str) -> str:
    """The artifact's id that an address stands for.

    Plan:
        1. The MAC is this server's over purpose, artifact, part and time.
        2. The time has not come.

    Does not check: whether the artifact is there, and in which state.

    Raises:
        VerificationError: `access.link`.
    """
    wanted = _mac(plane, purpose, artifact_id, part, expires)
    if not hmac.compare_digest(wanted.encode(), mac.encode("utf-8", "replace")):  # 1
        raise VerificationError("access.link", "this address was not made by this server")
    if plane.clock.now() >= expires:  # 2
        raise VerificationError(
            "access.link", "this address works no longer", help="search for the artifact again to get a new one"
        )
    return artifact_id


def _mac(plane: ControlPlane, purpose: str, artifact_id: str, part: int, expires: int) -> str:
    # RFC 2104; none of the fields can hold a slash: ids are UUIDs, the rest numbers and constants.
    text = f"artifact-link/{purpose}/{artifact_id}/{part}/{expires}"
    return urlsafe_b64encode(hmac.digest(plane.job_secret, text.encode(), "sha256")).rstrip(b"=").decode("ascii")

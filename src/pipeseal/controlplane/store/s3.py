"""Objects in an S3 bucket, or in anything that speaks its protocol.

Credentials come from where AWS's own tools take them: `AWS_ACCESS_KEY_ID` and `AWS_SECRET_ACCESS_KEY`, a web
identity, or the role of the machine. Large objects go up in parts while they are written; S3 shows an object when its
last part is confirmed. Of a writer that is given up only unconfirmed parts stay, which a life-cycle rule removes.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from types import TracebackType
from typing import TYPE_CHECKING
from urllib.parse import parse_qsl, unquote, urlsplit

import obstore
from obstore.exceptions import BaseError
from obstore.store import S3Store

from pipeseal.controlplane.store.objects import check_key, store_failed
from pipeseal.errors import ConfigurationError

if TYPE_CHECKING:
    from obstore.store import S3Config

_PART_BYTES = 8 * 1024 * 1024  # S3 takes 10,000 parts: objects up to 80 GB
_PARTS_AT_ONCE = 4
_MAX_RETRIES = 4
_RETRY_SECONDS = 20
_TIMEOUT_SECONDS = 60
_CONNECT_SECONDS = 5
_OPTIONS = frozenset({"endpoint", "region", "virtual_hosted_style"})
# obstore raises Python's own FileNotFoundError and PermissionError beside its family.
_FAILURES = (BaseError, OSError)


class BucketStore:
    """Objects in a bucket.

    Parameters:
        bucket: its name.
        prefix: before every key; may be empty.
        options: `endpoint` (a URL; plain HTTP is taken when it says so), `region`, `virtual_hosted_style`.
    """

    def __init__(self, bucket: str, prefix: str, options: Mapping[str, str]) -> None:
        endpoint = options.get("endpoint")
        config: S3Config = {"virtual_hosted_style_request": options.get("virtual_hosted_style") == "true"}
        if endpoint is not None:
            config["endpoint"] = endpoint
        if "region" in options:
            config["region"] = options["region"]
        self._store = S3Store(
            bucket,
            prefix=prefix or None,
            config=config,
            client_options={
                "allow_http": endpoint is not None and endpoint.startswith("http://"),
                "timeout": timedelta(seconds=_TIMEOUT_SECONDS),
                "connect_timeout": timedelta(seconds=_CONNECT_SECONDS),
            },
            retry_config={"max_retries": _MAX_RETRIES, "retry_timeout": timedelta(seconds=_RETRY_SECONDS)},
        )

    def open_writer(self, key: str) -> BucketWriter:
        """Begin an object."""
        return BucketWriter(self._store, check_key(key))

    def put(self, key: str, data: bytes) -> None:
        """Write a small object in one go."""
        try:
            obstore.put(self._store, check_key(key), data, use_multipart=False)
        except _FAILURES as error:
            raise store_failed("write", _reason(error)) from error

    def get_range(self, key: str, start: int, end: int) -> bytes:
        """Bytes of an object."""
        if end <= start:
            return b""
        try:
            return bytes(obstore.get_range(self._store, check_key(key), start=start, end=end))
        except _FAILURES as error:
            # S3 refuses a range that begins behind the end. # RFC 9110 15.5.17
            size = None if isinstance(error, OSError) else self.size(key)
            if size is not None and start >= size:
                return b""
            raise store_failed("read", _reason(error)) from error

    def size(self, key: str) -> int | None:
        """The size of an object."""
        try:
            return int(obstore.head(self._store, check_key(key))["size"])
        except FileNotFoundError:
            return None
        except _FAILURES as error:
            raise store_failed("read", _reason(error)) from error

    def delete(self, key: str) -> None:
        """Remove an object."""
        try:
            obstore.delete(self._store, check_key(key))
        except FileNotFoundError:
            return
        except _FAILURES as error:
            raise store_failed("delete", _reason(error)) from error

    def close(self) -> None:
        """The client's connections end with it."""


class BucketWriter:
    """An object that goes up in parts, and is there when `commit` has returned."""

    def __init__(self, store: S3Store, key: str) -> None:
        self._size = 0
        self._writer: obstore.WritableFile | None = obstore.open_writer(
            store, key, buffer_size=_PART_BYTES, max_concurrency=_PARTS_AT_ONCE
        )

    def write(self, data: bytes) -> None:
        """Append bytes."""
        assert self._writer is not None, "the writer is finished"
        try:
            self._writer.write(data)
        except _FAILURES as error:
            raise store_failed("write", _reason(error)) from error
        self._size += len(data)

    def commit(self) -> int:
        """Confirm the object."""
        assert self._writer is not None, "the writer is finished"
        writer, self._writer = self._writer, None
        try:
            writer.close()
        except _FAILURES as error:
            raise store_failed("write", _reason(error)) from error
        return self._size

    def abort(self) -> None:
        """Forget what was written: without its end, S3 never shows an object."""
        self._writer = None

    def __enter__(self) -> BucketWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.abort()


def open_bucket(location: str) -> BucketStore:
    """The bucket at `s3://BUCKET/PREFIX?endpoint=URL&region=NAME`.

    Raises:
        ConfigurationError: `server.objects`.
    """
    parts = urlsplit(location)
    options = dict(parse_qsl(parts.query, keep_blank_values=True))
    prefix = unquote(parts.path).strip("/")
    unknown = set(options) - _OPTIONS
    if not parts.netloc or "@" in parts.netloc or unknown or parts.fragment:
        raise ConfigurationError(
            "server.objects",
            f"unknown option {min(unknown)!r} of an S3 location" if unknown else "this S3 location names no bucket",
            help="write s3://BUCKET/PREFIX, with ?endpoint=URL&region=NAME where it is not AWS's own; credentials "
            "are taken from the environment",
        )
    try:
        return BucketStore(parts.netloc, prefix, options)
    except _FAILURES as error:
        raise ConfigurationError(
            "server.objects", f"cannot use the bucket {parts.netloc}: {_reason(error)}", help="check --object-store"
        ) from error


def _reason(error: BaseException) -> str:
    """The first line: what follows is the library's own view of itself."""
    text = str(error).strip().split("\n", 1)[0]
    return text[:300] or type(error).__name__

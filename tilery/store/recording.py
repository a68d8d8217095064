"""Which S3 permission each store operation needs, and a wrapper that writes down what a run really used.

The table is checked against the requests that a real S3 server saw (tests/unit/test_store_actions.py), so a run of the twin
on a directory tells which permissions the same run needs in the cloud.
"""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from typing import BinaryIO

from tilery.recorder import append
from tilery.store.port import Digest, Entry, Segment, Span, Store

READ = ("s3:GetObject",)
READ_VERSION = ("s3:GetObjectVersion",)
WRITE = ("s3:PutObject",)
WRITE_PARTS = ("s3:AbortMultipartUpload", "s3:PutObject")

OPERATION_ACTIONS: dict[str, tuple[str, ...]] = {
    "get": READ,
    "get version": READ_VERSION,
    "get_range": READ,
    "get_range version": READ_VERSION,
    "get_ranges": READ,
    "get_ranges version": READ_VERSION,
    "put": WRITE,
    "create": WRITE,
    "writer": WRITE_PARTS,
    "upload": WRITE_PARTS,
    "download": READ,
    "download version": READ_VERSION,
    "list": ("s3:ListBucket",),
    "list drop": ("s3:ListBucketVersions",),
    "head": READ,
    "compose": WRITE_PARTS,
    "compose from": READ,
    "compose from version": READ_VERSION,
    "digest": READ,
    "digest version": READ_VERSION,
    "delete": ("s3:DeleteObject",),
}
"""Operation -> IAM actions, on the object at the key; for the listings on the bucket, with the key as `s3:prefix`."""


class RecordingStore:
    """Passes all on to `inner` and appends one JSON line per operation and key to the file at `path`."""

    def __init__(self, inner: Store, path: str, function: str, tenant: str = "") -> None:
        self._inner = inner
        self._path = path
        self._function = function
        self._tenant = tenant

    def get(self, key: str, *, version: str = "") -> bytes:
        self._record("get", key, version)
        return self._inner.get(key, version=version)

    def get_range(self, key: str, start: int, stop: int, *, version: str = "") -> bytes:
        self._record("get_range", key, version)
        return self._inner.get_range(key, start, stop, version=version)

    def get_ranges(self, key: str, spans: Sequence[tuple[int, int]], *, version: str = "") -> "list[bytes]":
        self._record("get_ranges", key, version)
        return self._inner.get_ranges(key, spans, version=version)

    def put(self, key: str, data: bytes) -> None:
        self._record("put", key)
        self._inner.put(key, data)

    def create(self, key: str, data: bytes) -> bool:
        self._record("create", key)
        return self._inner.create(key, data)

    def writer(self, key: str, *, size_hint: int = 0) -> AbstractContextManager[BinaryIO]:
        self._record("writer", key)
        return self._inner.writer(key, size_hint=size_hint)

    def upload(self, path: str, key: str) -> None:
        self._record("upload", key)
        self._inner.upload(path, key)

    def download(self, key: str, path: str, *, version: str = "") -> None:
        self._record("download", key, version)
        self._inner.download(key, path, version=version)

    def list(self, prefix: str) -> Iterator[Entry]:
        self._record("list drop" if prefix.startswith("drop/") else "list", prefix)
        return self._inner.list(prefix)

    def head(self, key: str) -> Entry | None:
        self._record("head", key)
        return self._inner.head(key)

    def compose(self, key: str, segments: Iterable[Segment]) -> None:
        self._record("compose", key)
        self._inner.compose(key, self._seen(segments))

    def digest(self, key: str, *, version: str = "") -> Digest:
        self._record("digest", key, version)
        return self._inner.digest(key, version=version)

    def delete(self, keys: Iterable[str]) -> None:
        def seen() -> Iterator[str]:
            for key in keys:
                self._record("delete", key)
                yield key

        self._inner.delete(seen())

    def _seen(self, segments: Iterable[Segment]) -> Iterator[Segment]:
        last: tuple[str, str] | None = None
        for segment in segments:
            if isinstance(segment, Span) and last != (segment.key, segment.version):
                last = (segment.key, segment.version)
                self._record("compose from", *last)
            yield segment

    def _record(self, operation: str, key: str, version: str = "") -> None:
        operation += " version" if version else ""
        line = {
            "function": self._function,
            "tenant": self._tenant,
            "operation": operation,
            "actions": OPERATION_ACTIONS[operation],
            "area": key.partition("/")[0],
            "key": key,
        }
        append(self._path, line)

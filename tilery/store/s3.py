"""The store port on Amazon S3: obstore moves the bytes, boto3 does what obstore has no call for.

That is: part copies (`compose`), listing with versions, and reading the checksum that S3 keeps. Both take their credentials
from one session. S3 computes a CRC-64/NVME of each object that arrives without a checksum, so none is sent.
https://docs.aws.amazon.com/AmazonS3/latest/userguide/checking-object-integrity.html
"""

import base64
import hashlib
import os
import uuid
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from datetime import timedelta
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, cast

import boto3
import obstore
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError
from obstore.auth.boto3 import Boto3CredentialProvider
from obstore.exceptions import AlreadyExistsError, GenericError
from obstore.store import S3Store as Bucket

from tilery.store.disk import room_on
from tilery.store.parts import MIB, Part, copied, length, plan
from tilery.store.port import Changed, Digest, Entry, NotFound, Segment, Span, area, area_of_prefix
from tilery.store.s3_errors import past_the_end, plain_errors
from tilery.store.sequential import Sequential

if TYPE_CHECKING:
    from obstore import GetOptions

AT_ONCE = 8
"""Requests side by side for one call."""
NEIGHBOURS = MIB
"""Ranges nearer than this (bytes) are read in one request: the bytes between cost less than a round trip."""
LONGEST_READ = 64 * MIB
LARGEST_HASHED = 4096 * MIB
"""Bytes of an object that is read for its digest; half a minute."""
CREDENTIALS_AGE = timedelta(minutes=5)
"""How long obstore may keep what the session gave it; botocore refreshes at least 10 minutes before the end."""


class S3Store:
    """`buckets` maps each area to its bucket; `endpoint` replaces Amazon's address (tests, other S3 services)."""

    def __init__(
        self, buckets: Mapping[str, str], session: boto3.Session | None = None, *, endpoint: str = "", retries: int = 8
    ) -> None:
        self._buckets = dict(buckets)
        self._session = session or boto3.Session()
        self._endpoint = endpoint or None
        self._retries = retries
        self._opened: dict[str, Bucket] = {}

    def get(self, key: str, *, version: str = "") -> bytes:
        with plain_errors(key, reading=True):
            return obstore.get(self._bucket(key), key, options=_options(version)).bytes().to_bytes()

    def get_range(self, key: str, start: int, stop: int, *, version: str = "") -> bytes:
        if stop <= start:
            return b""
        options: GetOptions = {**_options(version), "range": (start, stop)}
        with plain_errors(key, reading=True):
            try:
                return obstore.get(self._bucket(key), key, options=options).bytes().to_bytes()
            except GenericError as error:
                if past_the_end(error):
                    return b""
                raise

    def get_ranges(self, key: str, spans: Sequence[tuple[int, int]], *, version: str = "") -> "list[bytes]":
        reads = coalesce(spans)
        with ThreadPoolExecutor(AT_ONCE) as pool:
            blocks = list(pool.map(lambda read: self.get_range(key, *read, version=version), reads))
        return [_within(reads, blocks, start, stop) for start, stop in spans]

    def put(self, key: str, data: bytes) -> None:
        with plain_errors(key):
            obstore.put(self._bucket(key), key, data, use_multipart=False)

    def create(self, key: str, data: bytes) -> bool:
        with plain_errors(key):
            try:
                obstore.put(self._bucket(key), key, data, mode="create", use_multipart=False)
            except AlreadyExistsError:
                return False
        return True

    @contextmanager
    def writer(self, key: str, *, size_hint: int = 0) -> Iterator[BinaryIO]:
        part = part_size(size_hint)
        file = obstore.open_writer(self._bucket(key), key, buffer_size=part, max_concurrency=_at_once(part))

        def send(data: memoryview) -> None:
            with plain_errors(key):
                file.write(data)

        try:
            yield cast(BinaryIO, Sequential(send))
        except BaseException as error:
            file.__exit__(type(error), error, error.__traceback__)  # aborts the upload
            raise
        with plain_errors(key):
            file.close()

    def upload(self, path: str, key: str) -> None:
        part = part_size(os.stat(path).st_size)
        with plain_errors(key):
            obstore.put(self._bucket(key), key, Path(path), chunk_size=part, max_concurrency=_at_once(part))

    def download(self, key: str, path: str, *, version: str = "") -> None:
        partial = Path(f"{path}.{uuid.uuid4().hex}.part")
        try:
            with room_on(path), open(partial, "xb") as file, plain_errors(key, reading=True):
                found = obstore.get(self._bucket(key), key, options=_options(version))
                file.writelines(found.stream(min_chunk_size=4 * MIB))
            os.replace(partial, path)
        finally:
            partial.unlink(missing_ok=True)

    def list(self, prefix: str) -> Iterator[Entry]:
        """In S3's own order, by key. The console's folder markers (keys that end with `/`) are no objects of ours."""
        name = self._buckets[area_of_prefix(prefix)]
        return self._current_versions(name, prefix) if prefix.startswith("drop/") else self._listed(prefix)

    def head(self, key: str) -> Entry | None:
        try:
            with plain_errors(key, reading=True):
                found = obstore.head(self._bucket(key), key)
        except NotFound:
            return None
        return Entry(key, found["size"], _bare(found["e_tag"]), found["version"] or "")

    def compose(self, key: str, segments: Iterable[Segment]) -> None:
        parts = plan(segments)
        if not parts or (len(parts) == 1 and not copied(parts[0])):
            return self.put(key, self._joined(parts[0]) if parts else b"")
        target = {"Bucket": self._buckets[area(key)], "Key": key}
        with plain_errors(key):
            target["UploadId"] = self._client.create_multipart_upload(**target)["UploadId"]
            try:
                with ThreadPoolExecutor(AT_ONCE) as pool:
                    tags = list(
                        pool.map(lambda number: self._send(target, number, parts[number - 1]), range(1, len(parts) + 1))
                    )
                done = [{"PartNumber": number, "ETag": tag} for number, tag in enumerate(tags, 1)]
                self._client.complete_multipart_upload(**target, MultipartUpload={"Parts": done})
            except BaseException:
                with suppress(ClientError, BotoCoreError):  # the bucket's lifecycle rule removes what stays behind
                    self._client.abort_multipart_upload(**target)
                raise

    def digest(self, key: str, *, version: str = "") -> Digest:
        pinned = {"VersionId": version} if version else {}
        with plain_errors(key, reading=True):
            head = self._client.head_object(Bucket=self._buckets[area(key)], Key=key, ChecksumMode="ENABLED", **pinned)
            if kept := kept_digest(head):
                return kept
            sha256 = hashlib.sha256()
            for chunk in obstore.get(self._bucket(key), key, options=_options(version)).stream(min_chunk_size=4 * MIB):
                sha256.update(chunk)
        return Digest("sha256", sha256.hexdigest())

    def delete(self, keys: Iterable[str]) -> None:
        by_area: dict[str, list[str]] = {}
        for key in keys:
            by_area.setdefault(area(key), []).append(key)
        for batch in by_area.values():
            with plain_errors(batch[0]), suppress(FileNotFoundError):
                obstore.delete(self._bucket(batch[0]), batch)

    def _current_versions(self, bucket: str, prefix: str) -> Iterator[Entry]:
        with plain_errors(prefix):
            for page in self._client.get_paginator("list_object_versions").paginate(Bucket=bucket, Prefix=prefix):
                for item in page.get("Versions", ()):
                    if item["IsLatest"] and not item["Key"].endswith("/"):
                        yield _version_entry(item)

    def _listed(self, prefix: str) -> Iterator[Entry]:
        with plain_errors(prefix):
            for batch in obstore.list(self._bucket(prefix + "x"), prefix, chunk_size=1000):
                for item in batch:
                    yield Entry(item["path"], item["size"], _bare(item["e_tag"]), item["version"] or "")

    @cached_property
    def _client(self) -> Any:
        settings = Config(
            retries={"mode": "standard", "max_attempts": self._retries + 1},
            request_checksum_calculation="when_required",
            response_checksum_validation="when_required",
            max_pool_connections=AT_ONCE,
        )
        return self._session.client("s3", endpoint_url=self._endpoint, config=settings)

    def _bucket(self, key: str) -> Bucket:
        name = self._buckets[area(key)]
        if name not in self._opened:
            self._opened[name] = Bucket(
                name,
                credential_provider=Boto3CredentialProvider(self._session, ttl=CREDENTIALS_AGE),
                retry_config={"max_retries": self._retries, "retry_timeout": timedelta(minutes=3)},
                client_options={"allow_http": bool(self._endpoint), "timeout": timedelta(minutes=5)},
                config={"endpoint": self._endpoint} if self._endpoint else None,
            )
        return self._opened[name]

    def _send(self, target: dict[str, str], number: int, part: Part) -> str:
        """Upload or copy one part; its entity tag."""
        if span := copied(part):
            with plain_errors(span.key, reading=True):
                source = {"Bucket": self._buckets[area(span.key)], "Key": span.key} | (
                    {"VersionId": span.version} if span.version else {}
                )
                window = f"bytes={span.start}-{span.stop - 1}"
                answer = self._client.upload_part_copy(**target, PartNumber=number, CopySource=source, CopySourceRange=window)
                return str(answer["CopyPartResult"]["ETag"])
        return str(self._client.upload_part(**target, PartNumber=number, Body=self._joined(part))["ETag"])

    def _joined(self, part: Part) -> bytes:
        return b"".join(segment if isinstance(segment, bytes) else self._whole(segment) for segment in part)

    def _whole(self, span: Span) -> bytes:
        data = self.get_range(span.key, span.start, span.stop, version=span.version)
        if len(data) < length(span):
            raise Changed(f"{span.key} ends before byte {span.stop}; it was cut short after the run planned with it")
        return data


def kept_digest(head: Mapping[str, Any]) -> Digest | None:
    """What the answer of a HEAD request tells of the content; None for a small object that is better read.

    A SHA-256 of an upload in parts is one of the parts' (`VALUE-COUNT`); it tells contents apart as well. A large object with
    none of these (a CRC-32 is too short to tell a content by) is known by its upload: nobody reads 100 GB to name them.
    """
    if head.get("ChecksumCRC64NVME") and head.get("ChecksumType") == "FULL_OBJECT":
        return Digest("crc64nvme", head["ChecksumCRC64NVME"])
    if stored := str(head.get("ChecksumSHA256", "")):
        whole = "-" not in stored
        return Digest("sha256", base64.b64decode(stored).hex()) if whole else Digest("sha256-of-parts", stored)
    if head["ContentLength"] > LARGEST_HASHED:
        return Digest("upload", str(head.get("VersionId") or head["ETag"]))
    return None


def part_size(size: int) -> int:
    """Bytes per part so that about 9,000 parts hold `size` bytes; 16 MiB when the size is unknown (0).

    >>> part_size(1 << 40) // MIB
    117
    """
    return max(8 * MIB if size else 16 * MIB, -(-size // 9_000 // MIB) * MIB)


def coalesce(spans: Sequence[tuple[int, int]]) -> list[tuple[int, int]]:
    """The reads [start, stop) that cover all spans: neighbours joined, while a read stays below `LONGEST_READ`."""
    reads: list[tuple[int, int]] = []
    for start, stop in sorted(span for span in spans if span[0] < span[1]):
        if reads and start - reads[-1][1] <= NEIGHBOURS and (stop <= reads[-1][1] or stop - reads[-1][0] <= LONGEST_READ):
            reads[-1] = (reads[-1][0], max(stop, reads[-1][1]))
        else:
            reads.append((start, stop))
    return reads


def _within(reads: Sequence[tuple[int, int]], blocks: Sequence[bytes], start: int, stop: int) -> bytes:
    if stop <= start:
        return b""
    index = next(i for i, read in enumerate(reads) if read[0] <= start and stop <= read[1])
    return blocks[index][start - reads[index][0] : stop - reads[index][0]]


def _at_once(part: int) -> int:
    """Parts in flight, so that about 128 MiB of them are in memory."""
    return max(1, min(AT_ONCE, 128 * MIB // part))


def _options(version: str) -> "GetOptions":
    return {"version": version} if version else {}


def _bare(tag: str | None) -> str:
    return (tag or "").strip('"')


def _version_entry(item: Mapping[str, Any]) -> Entry:
    """`null` is S3's version of an object in a bucket without versioning: nothing to pin."""
    version = "" if item["VersionId"] == "null" else item["VersionId"]
    return Entry(item["Key"], item["Size"], _bare(item["ETag"]), version)

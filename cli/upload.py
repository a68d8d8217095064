"""Uploads that survive a broken line: S3 multipart with checksums, and a resumable copy into the twin's folder.

An upload that breaks leaves its id in a small note on this machine. The next try asks S3 which parts it has, checks each
against the file by its SHA-256, and sends only the others.
"""

from __future__ import annotations

import base64
import filecmp
import hashlib
import json
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypedDict

from tilery.outcomes import BadInput

MIB = 1024 * 1024
SMALL = 16 * MIB
"""Bytes; smaller files go up in one request."""
_MOST_PARTS = 9000
_COPY_BLOCK = 8 * MIB


class SentPart(TypedDict):
    """A part as S3 wants it named when the upload is completed."""

    PartNumber: int
    ETag: str
    ChecksumSHA256: str


Sent = Callable[[int], None]
"""Told how many more bytes are there (sent now or found)."""


def state_folder() -> Path:
    """Where the notes of unfinished uploads lie."""
    base = os.environ.get("XDG_STATE_HOME") or "~/.local/state"
    return Path(base).expanduser() / "tilery" / "uploads"


def part_size(size: int) -> int:
    """Bytes of a part: at least 16 MiB, whole MiB, so that a file of any legal size fits in the parts S3 allows."""
    return max(SMALL, -(-size // _MOST_PARTS // MIB) * MIB)


@dataclass(frozen=True)
class Upload:
    """One file on its way to one key of a bucket."""

    s3: Any
    path: Path
    bucket: str
    key: str
    sent: Sent
    part_bytes: int = 0
    """Bytes of a part; 0 chooses by the file's size."""
    threads: int = 4

    def run(self) -> None:
        """Upload, or go on with an upload that broke. `BadInput` if the file changed meanwhile."""
        before = self.path.stat()
        part = self.part_bytes or part_size(before.st_size)
        if before.st_size <= part:
            self._put()
        else:
            self._multipart(before, part)

    def already_there(self) -> bool:
        """Whether the key already holds exactly this file, by size and checksum."""
        from botocore.exceptions import ClientError

        size = self.path.stat().st_size
        try:
            head = self.s3.head_object(Bucket=self.bucket, Key=self.key, ChecksumMode="ENABLED")
        except ClientError as error:
            if error.response["Error"]["Code"] in ("404", "403", "NoSuchKey"):
                return False
            raise
        stored = str(head.get("ChecksumSHA256", ""))
        if head["ContentLength"] != size or not stored:
            return False
        part = self.part_bytes or part_size(size)
        sums = [_sha256(self._read(number, part)) for number in range(1, _parts(size, part) + 1)]
        if size <= part:
            return stored == sums[0]
        whole = hashlib.sha256(b"".join(base64.b64decode(value) for value in sums)).digest()
        return stored == f"{base64.b64encode(whole).decode()}-{len(sums)}"

    def _put(self) -> None:
        with self.path.open("rb") as file:
            data = file.read()
        self.s3.put_object(
            Bucket=self.bucket, Key=self.key, Body=data, ChecksumAlgorithm="SHA256", ChecksumSHA256=_sha256(data)
        )
        self.sent(len(data))

    def _multipart(self, before: os.stat_result, part: int) -> None:
        note = state_folder() / (hashlib.sha256(f"{self.path}\n{self.bucket}\n{self.key}".encode()).hexdigest() + ".json")
        upload_id, there = self._begin(note, before, part)
        numbers = range(1, _parts(before.st_size, part) + 1)
        with ThreadPoolExecutor(self.threads) as pool:
            parts = list(pool.map(lambda number: self._part(note, upload_id, number, part, there.get(number)), numbers))
        after = self.path.stat()
        if (after.st_size, after.st_mtime_ns) != (before.st_size, before.st_mtime_ns):
            self._forget(note, upload_id)
            raise BadInput(f"{self.path} changed while it was uploaded; run the command again when it is complete")
        self.s3.complete_multipart_upload(
            Bucket=self.bucket,
            Key=self.key,
            UploadId=upload_id,
            MultipartUpload={"Parts": parts},
        )
        note.unlink(missing_ok=True)

    def _begin(self, note: Path, file: os.stat_result, part: int) -> tuple[str, dict[int, SentPart]]:
        """The upload's id and each part that S3 already has; a new upload if there is none for this very file.

        A part counts when S3 lists it under the ETag that it answered when we sent it, together with its checksum.
        """
        facts = {"size": file.st_size, "mtime_ns": file.st_mtime_ns, "part": part}
        begun, sent = _read_note(note)
        if begun is not None:
            listed = self._listed(begun["upload_id"])
            if listed is not None and begun["file"] == facts:
                return begun["upload_id"], {n: sent[n] for n, tag in listed.items() if n in sent and sent[n]["ETag"] == tag}
            if listed is not None:
                self._forget(note, begun["upload_id"])
        created = self.s3.create_multipart_upload(Bucket=self.bucket, Key=self.key, ChecksumAlgorithm="SHA256")
        note.parent.mkdir(parents=True, exist_ok=True)
        note.write_text(
            json.dumps({"upload_id": created["UploadId"], "bucket": self.bucket, "key": self.key, "file": facts}) + "\n"
        )
        return created["UploadId"], {}

    def _listed(self, upload_id: str) -> dict[int, str] | None:
        """Part number -> ETag of the parts that S3 has; None if the upload no longer exists."""
        try:
            pages = self.s3.get_paginator("list_parts").paginate(Bucket=self.bucket, Key=self.key, UploadId=upload_id)
            return {part["PartNumber"]: part["ETag"] for page in pages for part in page.get("Parts", [])}
        except self.s3.exceptions.NoSuchUpload:
            return None

    def _part(self, note: Path, upload_id: str, number: int, part: int, there: SentPart | None) -> SentPart:
        """Send one part, unless S3 has exactly these bytes already."""
        data = self._read(number, part)
        checksum = _sha256(data)
        if there is None or there["ChecksumSHA256"] != checksum:
            answer = self.s3.upload_part(
                Bucket=self.bucket, Key=self.key, UploadId=upload_id, PartNumber=number, Body=data, ChecksumSHA256=checksum
            )
            there = {"PartNumber": number, "ETag": answer["ETag"], "ChecksumSHA256": checksum}
            with note.open("a") as lines:
                lines.write(json.dumps(there) + "\n")
        self.sent(len(data))
        return there

    def _read(self, number: int, part: int) -> bytes:
        with self.path.open("rb") as file:
            file.seek((number - 1) * part)
            return file.read(part)

    def _forget(self, note: Path, upload_id: str) -> None:
        self.s3.abort_multipart_upload(Bucket=self.bucket, Key=self.key, UploadId=upload_id)
        note.unlink(missing_ok=True)


def copy(source: Path, target: Path, incoming: Path, sent: Sent) -> None:
    """Copy a file so that `target` appears whole or not at all, going on with an earlier copy that broke.

    What an earlier try left is compared with the source, block by block, and kept as far as it is equal. `incoming` is a
    folder on the file system of `target` that nobody watches.
    """
    before = source.stat()
    incoming.mkdir(parents=True, exist_ok=True)
    partial = incoming / hashlib.sha256(f"{source}\n{target}".encode()).hexdigest()
    partial.touch()
    with source.open("rb") as reader, partial.open("r+b") as writer:
        while block := reader.read(_COPY_BLOCK):
            where = writer.tell()
            if writer.read(len(block)) != block:
                writer.seek(where)
                writer.write(block)
            sent(len(block))
        writer.truncate()
        writer.flush()
        os.fsync(writer.fileno())
    after = source.stat()
    if (after.st_size, after.st_mtime_ns) != (before.st_size, before.st_mtime_ns):
        raise BadInput(f"{source} changed while it was copied; run the command again when it is complete")
    target.parent.mkdir(parents=True, exist_ok=True)
    os.replace(partial, target)


def same_file(source: Path, target: Path) -> bool:
    """Whether `target` already holds exactly what `source` holds."""
    return target.is_file() and target.stat().st_size == source.stat().st_size and filecmp.cmp(source, target, shallow=False)


def _read_note(note: Path) -> tuple[dict[str, Any] | None, dict[int, SentPart]]:
    """What the note of an unfinished upload says: how it began, and the parts that arrived. A torn last line is left out."""
    try:
        lines = note.read_text().splitlines()
        begun = json.loads(lines[0])
    except (FileNotFoundError, IndexError, json.JSONDecodeError):
        return None, {}
    parts: dict[int, SentPart] = {}
    for line in lines[1:]:
        try:
            part = json.loads(line)
        except json.JSONDecodeError:
            continue
        parts[part["PartNumber"]] = part
    return begun, parts


def _parts(size: int, part: int) -> int:
    return max(1, -(-size // part))


def _sha256(data: bytes) -> str:
    return base64.b64encode(hashlib.sha256(data).digest()).decode()

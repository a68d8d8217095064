"""Uploads survive a broken line: only what is missing is sent again, and what arrives is what was sent."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest
from moto import mock_aws

from cli.upload import MIB, Upload, copy, part_size, same_file, state_folder
from tilery.outcomes import BadInput

PART = 5 * MIB


class Broken(Exception):
    """The line broke."""


@pytest.fixture
def s3(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Any]:
    for name, value in {"AWS_ACCESS_KEY_ID": "x", "AWS_SECRET_ACCESS_KEY": "x", "AWS_DEFAULT_REGION": "us-east-1"}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    with mock_aws():
        client = boto3.client("s3")
        client.create_bucket(Bucket="drop")
        yield client


@pytest.fixture
def big(tmp_path: Path) -> Path:
    """Five parts, the last one short."""
    path = tmp_path / "big.laz"
    path.write_bytes(os.urandom(4 * PART + 12345))
    return path


class Line:
    """Notes the parts that go over the line; breaks it when a given part is sent."""

    def __init__(self, client: Any, break_at: int = 0) -> None:
        self.parts: list[int] = []
        self.break_at = break_at
        client.meta.events.register("before-call.s3.UploadPart", self._note)

    def _note(self, params: dict[str, Any], **_: Any) -> None:
        number = int(params["query_string"]["partNumber"])
        if number == self.break_at:
            raise Broken
        self.parts.append(number)


def upload(client: Any, path: Path) -> tuple[Upload, list[int]]:
    counts: list[int] = []
    return Upload(client, path, "drop", "drop/acme/pointcloud/big.laz", counts.append, part_bytes=PART, threads=1), counts


def stored(client: Any) -> bytes:
    body: bytes = client.get_object(Bucket="drop", Key="drop/acme/pointcloud/big.laz")["Body"].read()
    return body


def test_a_broken_upload_goes_on_with_the_parts_that_are_missing(s3: Any, big: Path) -> None:
    with pytest.raises(Broken):
        _broken(big)
    line = Line(s3)
    again, counts = upload(s3, big)
    again.run()

    assert 4 in line.parts
    assert not {1, 2, 3} & set(line.parts)
    assert sum(counts) == big.stat().st_size
    assert stored(s3) == big.read_bytes()
    assert list(state_folder().iterdir()) == []


def _broken(path: Path) -> None:
    client = boto3.client("s3")
    Line(client, break_at=4)
    upload(client, path)[0].run()


def test_a_part_that_s3_does_not_have_as_we_sent_it_is_sent_again(s3: Any, big: Path) -> None:
    with pytest.raises(Broken):
        _broken(big)
    (left,) = s3.list_multipart_uploads(Bucket="drop")["Uploads"]
    s3.upload_part(Bucket="drop", Key=left["Key"], UploadId=left["UploadId"], PartNumber=2, Body=b"other" * MIB)
    line = Line(s3)
    upload(s3, big)[0].run()

    assert 2 in line.parts
    assert stored(s3) == big.read_bytes()


def test_a_file_that_changed_since_the_break_is_sent_whole(s3: Any, big: Path) -> None:
    with pytest.raises(Broken):
        _broken(big)
    big.write_bytes(os.urandom(3 * PART))
    line = Line(s3)
    upload(s3, big)[0].run()

    assert line.parts == [1, 2, 3]
    assert stored(s3) == big.read_bytes()
    assert s3.list_multipart_uploads(Bucket="drop").get("Uploads", []) == []


def test_an_upload_that_s3_has_forgotten_begins_anew(s3: Any, big: Path) -> None:
    with pytest.raises(Broken):
        _broken(big)
    (left,) = s3.list_multipart_uploads(Bucket="drop")["Uploads"]
    s3.abort_multipart_upload(Bucket="drop", Key=left["Key"], UploadId=left["UploadId"])
    upload(s3, big)[0].run()

    assert stored(s3) == big.read_bytes()


def test_a_file_that_grows_during_its_upload_is_refused(s3: Any, big: Path) -> None:
    def grow(**_: Any) -> None:
        with big.open("ab") as file:
            file.write(b"more")

    s3.meta.events.register("before-call.s3.UploadPart", grow)
    with pytest.raises(BadInput, match="changed while it was uploaded"):
        upload(s3, big)[0].run()

    assert "Contents" not in s3.list_objects_v2(Bucket="drop")
    assert s3.list_multipart_uploads(Bucket="drop").get("Uploads", []) == []


def test_a_small_file_goes_in_one_request(s3: Any, tmp_path: Path) -> None:
    path = tmp_path / "small.laz"
    path.write_bytes(b"LASF")
    line = Line(s3)
    upload(s3, path)[0].run()

    assert line.parts == []
    assert stored(s3) == b"LASF"


def test_a_file_that_is_there_already_is_recognised_by_its_checksum(s3: Any, tmp_path: Path) -> None:
    path = tmp_path / "small.laz"
    path.write_bytes(b"LASF")
    one, _ = upload(s3, path)

    assert not one.already_there()
    one.run()
    assert one.already_there()
    path.write_bytes(b"FSAL")
    assert not one.already_there()


@pytest.mark.parametrize(("size", "part"), [(1, 16 * MIB), (100 * 10**9, 16 * MIB), (5 * 10**12, 530 * MIB)])
def test_parts_are_few_enough_for_s3(size: int, part: int) -> None:
    assert part_size(size) == part
    assert -(-size // part_size(size)) <= 10_000


def test_a_broken_copy_keeps_what_is_there(big: Path, tmp_path: Path) -> None:
    target, incoming = tmp_path / "drop" / "big.laz", tmp_path / "incoming"

    def break_off(count: int) -> None:
        raise Broken

    with pytest.raises(Broken):
        copy(big, target, incoming, break_off)
    assert not target.exists()
    (partial,) = incoming.iterdir()
    node = partial.stat().st_ino
    assert partial.stat().st_size > 0
    copy(big, target, incoming, lambda count: None)

    assert target.stat().st_ino == node
    assert same_file(big, target)
    assert list(incoming.iterdir()) == []


def test_a_copy_mends_a_damaged_beginning_and_cuts_a_long_end(tmp_path: Path) -> None:
    source, target, incoming = tmp_path / "a.laz", tmp_path / "drop" / "a.laz", tmp_path / "incoming"
    source.write_bytes(b"right" * 1000)
    target.mkdir(parents=True)
    with pytest.raises(IsADirectoryError):
        copy(source, target, incoming, lambda count: None)
    (partial,) = incoming.iterdir()
    partial.write_bytes(b"wrong" * 2000)
    target.rmdir()
    copy(source, target, incoming, lambda count: None)

    assert target.read_bytes() == source.read_bytes()

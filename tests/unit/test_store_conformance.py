"""The same promises on a directory and on a real S3 server."""

import base64
import errno
import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.s3_server import BUCKETS, Server, running
from tilery.keys import BadKey
from tilery.outcomes import BadInput, Transient
from tilery.store import open_store
from tilery.store.directory import DirectoryStore
from tilery.store.parts import LONGEST_COPY, MIB, SMALLEST, copied, length, plan
from tilery.store.port import Changed, Digest, NotFound, Segment, Span, Store
from tilery.store.s3 import S3Store, coalesce, kept_digest, part_size

REFUSED = ["work/a//b", "work/../b", "work/a/", "/work/a", "work/a\nb", "elsewhere/a", "work", "", "work/" + "x" * 1025]


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with running() as found:
        yield found


@pytest.fixture(params=["directory", "s3"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Store:
    if request.param == "directory":
        return DirectoryStore(tmp_path / "root", fsync=True)
    found: Server = request.getfixturevalue("server")
    return found.store()


@pytest.fixture
def at() -> str:
    """A prefix of this test's own."""
    return f"work/acme/{uuid4().hex}/"


def listed(store: Store, prefix: str) -> list[str]:
    return [entry.key for entry in store.list(prefix)]


def some_bytes(size: int, seed: int = 1) -> bytes:
    return (hashlib.sha256(bytes([seed])).digest() * (size // 32 + 1))[:size]


def test_what_is_put_is_got(store: Store, at: str) -> None:
    store.put(at + "a", b"first")
    store.put(at + "a", b"second, longer")
    assert store.get(at + "a") == b"second, longer"
    assert type(store.get(at + "a")) is bytes


def test_an_empty_object_is_an_object(store: Store, at: str) -> None:
    store.put(at + "a", b"")
    entry = store.head(at + "a")
    assert entry is not None
    assert (store.get(at + "a"), entry.size) == (b"", 0)


@pytest.mark.parametrize("name", ["sp ace", "é/ü ß.laz", "塔.laz", "a#1", "p%41", "a+b&c=d", "q?x", "[~]*"])
def test_names_that_people_use(store: Store, at: str, name: str) -> None:
    store.put(at + name, b"x")
    store.compose(at + "composed", [Span(at + name, 0, 1), b"y"])
    assert store.get(at + name) == b"x"
    assert store.get(at + "composed") == b"xy"
    assert at + name in listed(store, at)


@pytest.mark.parametrize("key", REFUSED)
def test_unsafe_keys_are_refused_by_every_operation(store: Store, tmp_path: Path, key: str) -> None:
    local = tmp_path / "local"
    local.write_bytes(b"x")
    for operation in (
        lambda: store.get(key),
        lambda: store.get_range(key, 0, 1),
        lambda: store.get_ranges(key, [(0, 1)]),
        lambda: store.put(key, b""),
        lambda: store.create(key, b""),
        lambda: store.writer(key).__enter__(),
        lambda: store.upload(str(local), key),
        lambda: store.download(key, str(local)),
        lambda: store.head(key),
        lambda: store.compose(key, [b"x"]),
        lambda: store.compose("work/acme/x", [Span(key, 0, 1)]),
        lambda: store.digest(key),
        lambda: store.delete([key]),
    ):
        with pytest.raises(BadKey):
            operation()


@pytest.mark.parametrize("prefix", ["work/acme", "", "/", "elsewhere/", "work//"])
def test_only_whole_folders_of_an_area_are_listed(store: Store, prefix: str) -> None:
    with pytest.raises(BadKey):
        store.list(prefix)


def test_a_missing_object_is_not_found(store: Store, at: str, tmp_path: Path) -> None:
    missing = at + "missing"
    store.put(at + "folder/file", b"x")
    for operation in (
        lambda: store.get(missing),
        lambda: store.get(at + "folder"),
        lambda: store.get(at + "folder/file/below"),
        lambda: store.get_range(missing, 0, 1),
        lambda: store.get_ranges(missing, [(0, 1)]),
        lambda: store.download(missing, str(tmp_path / "x")),
        lambda: store.digest(missing),
        lambda: store.compose(at + "new", [b"x", Span(missing, 0, SMALLEST)]),
    ):
        with pytest.raises(NotFound, match="no object at"):
            operation()
    assert store.head(missing) is None
    assert store.head(at + "folder") is None
    assert listed(store, at) == [at + "folder/file"]
    assert os.listdir(tmp_path) in ([], ["root"])


def test_ranges_end_with_the_object(store: Store, at: str) -> None:
    store.put(at + "a", b"0123456789")
    assert store.get_range(at + "a", 2, 5) == b"234"
    assert store.get_range(at + "a", 8, 1 << 50) == b"89"
    assert store.get_range(at + "a", 10, 12) == b""
    assert store.get_range(at + "a", 4, 4) == b""


def test_many_ranges_come_back_in_the_order_asked(store: Store, at: str) -> None:
    data = some_bytes(3 * MIB)
    store.put(at + "a", data)
    spans = [(2 * MIB, 2 * MIB + 9), (5, 7), (0, 6), (7, 7), (3 * MIB - 2, 3 * MIB + 100), (0, 3 * MIB)]
    assert store.get_ranges(at + "a", spans) == [data[start:stop] for start, stop in spans]
    assert store.get_ranges(at + "a", []) == []


def test_create_writes_only_once(store: Store, at: str) -> None:
    assert store.create(at + "a", b"mine")
    assert not store.create(at + "a", b"yours")
    assert store.get(at + "a") == b"mine"


def test_of_many_creators_at_once_exactly_one_wins(store: Store, at: str) -> None:
    with ThreadPoolExecutor(8) as pool:
        wins = list(pool.map(lambda number: store.create(at + "claim", b"%d" % number), range(24)))
    assert wins.count(True) == 1
    assert store.get(at + "claim") == b"%d" % wins.index(True)


def test_a_listing_is_sorted_by_key_and_stays_in_its_folder(store: Store, at: str) -> None:
    names = ["a/z", "a-b", "a.b", "a0", "b/c/d", "ab", "Z", "é"]
    for name in names:
        store.put(at + "x/" + name, b"12")
    store.put(at + "xy", b"")
    assert listed(store, at + "x/") == sorted(f"{at}x/{name}" for name in names)
    assert {entry.size for entry in store.list(at + "x/")} == {2}
    assert listed(store, at + "none/") == []


def test_a_writer_publishes_only_what_is_complete(store: Store, at: str) -> None:
    data = some_bytes(20 * MIB + 3)
    with store.writer(at + "a", size_hint=len(data)) as file:
        for start in range(0, len(data), 3 * MIB):
            file.write(memoryview(data)[start : start + 3 * MIB])
        assert file.tell() == len(data)
        assert not file.seekable()
        assert listed(store, at) == []
    assert store.get(at + "a") == data


def test_a_failed_writer_leaves_nothing(store: Store, at: str) -> None:
    def write_and_fail() -> None:
        with store.writer(at + "a", size_hint=1) as file:
            file.write(some_bytes(20 * MIB))
            Path(at, "no such local file").read_bytes()

    with pytest.raises(FileNotFoundError):
        write_and_fail()
    assert listed(store, at) == []
    if isinstance(store, DirectoryStore):
        assert [path for path in store.root.rglob("*") if path.is_file()] == []


def test_a_file_goes_up_and_comes_back(store: Store, at: str, tmp_path: Path) -> None:
    source, back = tmp_path / "source é", tmp_path / "back"
    data = some_bytes(9 * MIB)
    source.write_bytes(data)
    store.upload(str(source), at + "a")
    with open(source, "r+b") as file:
        file.write(b"changed later")
    back.write_bytes(b"replaced")
    store.download(at + "a", str(back))
    assert back.read_bytes() == store.get(at + "a") == data


def test_a_pinned_version_never_gives_other_bytes(store: Store, tmp_path: Path) -> None:
    key = f"drop/acme/pointcloud/{uuid4().hex}"
    store.put(key, b"as it was")
    pinned = store.head(key)
    assert pinned is not None
    assert pinned.version
    store.put(key, b"as it is now")
    (entry,) = [entry for entry in store.list("drop/acme/pointcloud/") if entry.key == key]
    assert entry == store.head(key)
    assert entry.version != pinned.version
    old = {"version": pinned.version}

    def composed() -> bytes:
        store.compose("work/acme/pinned", [Span(key, 0, 9, pinned.version)])
        return store.get("work/acme/pinned")

    def downloaded() -> bytes:
        store.download(key, str(tmp_path / "old"), **old)
        return (tmp_path / "old").read_bytes()

    def digested() -> bytes:
        assert store.digest(key, **old).value in (hashlib.sha256(b"as it was").hexdigest(), "crc64nvme")
        return b"as it was"

    reads = (
        lambda: store.get(key, **old),
        lambda: store.get_range(key, 0, 99, **old),
        lambda: store.get_ranges(key, [(0, 9)], **old)[0],
        composed,
        downloaded,
        digested,
    )
    for read in reads:
        if isinstance(store, DirectoryStore):
            with pytest.raises(Changed, match="not the version"):
                read()
        else:
            assert read() == b"as it was"
    assert store.get(key, version=entry.version) == b"as it is now"


def test_a_version_that_is_gone_has_changed(server: Server) -> None:
    store = server.store()
    store.put("drop/acme/pointcloud/gone", b"x")
    version = store.head("drop/acme/pointcloud/gone").version  # type: ignore[union-attr]
    server.client.delete_object(Bucket="the-drop", Key="drop/acme/pointcloud/gone", VersionId=version)
    store.put("drop/acme/pointcloud/gone", b"y")
    with pytest.raises(Changed, match="is gone"):
        store.get("drop/acme/pointcloud/gone", version=version)


def test_deleted_drops_and_folder_markers_are_not_listed(server: Server) -> None:
    store = server.store()
    server.client.put_object(Bucket="the-drop", Key="drop/acme/markers/", Body=b"")
    store.put("drop/acme/markers/a", b"x")
    store.put("drop/acme/markers/b", b"x")
    store.delete(["drop/acme/markers/a"])
    assert listed(store, "drop/acme/markers/") == ["drop/acme/markers/b"]


def test_delete_forgives_what_is_missing(store: Store, at: str) -> None:
    for name in ("a", "b", "c/d"):
        store.put(at + name, b"x")
    store.delete(iter([at + "a", at + "none", at + "none/none", at + "c/d"]))
    assert listed(store, at) == [at + "b"]
    store.delete([])


SMALL, BIG = some_bytes(1000, 2), some_bytes(SMALLEST + 77, 3)
HUGE = some_bytes(3 * SMALLEST + 5, 4)
COMPOSITIONS = {
    "nothing": [],
    "one literal": [b"header"],
    "one small span": [("small", 10, 20)],
    "one big span": [("big", 0, len(BIG))],
    "one range of a big span": [("huge", 7, SMALLEST + 9)],
    "header, big spans, tail": [b"header", ("big", 0, len(BIG)), ("huge", 3, len(HUGE) - 1), b"tail"],
    "last part below 5 MiB": [("huge", 0, len(HUGE)), ("small", 0, 10)],
    "small spans between big ones": [("big", 0, len(BIG)), ("small", 1, 9), ("small", 20, 30), ("huge", 0, len(HUGE)), b"."],
    "spans that continue each other": [("huge", i * MIB, (i + 1) * MIB) for i in range(15)],
    "empty segments": [b"", ("big", 5, 5), b"x", ("small", 0, 0)],
    "many small spans": [("small", i % 900, i % 900 + 100) for i in range(300)],
    "a literal of several parts": [BIG * 2, ("big", 1, len(BIG)), BIG],
}


@pytest.mark.parametrize("case", COMPOSITIONS)
def test_compose_joins_literals_and_spans(store: Store, at: str, case: str) -> None:
    objects = {"small": SMALL, "big": BIG, "huge": HUGE}
    for name, data in objects.items():
        store.put(at + name, data)
    segments: list[Segment] = [
        part if isinstance(part, bytes) else Span(at + part[0], *part[1:]) for part in COMPOSITIONS[case]
    ]
    expected = b"".join(part if isinstance(part, bytes) else objects[part[0]][part[1] : part[2]] for part in COMPOSITIONS[case])
    store.compose(at + "composed", iter(segments))
    assert store.get(at + "composed") == expected


def test_a_span_beyond_its_object_is_not_cut_silently(store: Store, at: str) -> None:
    store.put(at + "a", b"0123456789")
    with pytest.raises(Changed, match="before byte 11"):
        store.compose(at + "composed", [b"x", Span(at + "a", 5, 11)])
    assert store.head(at + "composed") is None


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.binary(max_size=300), min_size=1, max_size=4),
    st.lists(
        st.one_of(st.binary(max_size=50), st.tuples(st.integers(0, 3), st.integers(0, 300), st.integers(0, 300))), max_size=12
    ),
)
def test_compose_is_concatenation(objects: list[bytes], recipe: list[bytes | tuple[int, int, int]]) -> None:
    with tempfile.TemporaryDirectory() as root:
        store = DirectoryStore(root)
        for number, data in enumerate(objects):
            store.put(f"work/t/{number}", data)
        segments, expected = [], b""
        for step in recipe:
            if isinstance(step, bytes):
                segments.append(step)
                expected += step
                continue
            number = step[0] % len(objects)
            start, stop = sorted(min(edge, len(objects[number])) for edge in step[1:])
            segments.append(Span(f"work/t/{number}", start, stop))
            expected += objects[number][start:stop]
        store.compose("work/t/all", segments)
        assert store.get("work/t/all") == expected


SIZES = st.lists(st.tuples(st.booleans(), st.integers(0, 40)), max_size=40)


@settings(max_examples=200, deadline=None)
@given(SIZES, st.integers(1, 12), st.integers(2, 10))
def test_a_plan_keeps_every_byte_in_legal_parts(sizes: list[tuple[bool, int]], smallest: int, most: int) -> None:
    segments: list[Segment] = [
        bytes([i]) * size if literal else Span(f"work/{i}", 100, 100 + size) for i, (literal, size) in enumerate(sizes)
    ]

    def letters(found: list[Segment]) -> list[object]:
        return [
            letter
            for part in found
            for letter in (part if isinstance(part, bytes) else ((part.key, at) for at in range(part.start, part.stop)))
        ]

    parts = plan(segments, smallest=smallest, most=most)
    assert letters([segment for part in parts for segment in part]) == letters(segments)
    assert len(parts) <= most
    assert all(sum(map(length, part)) >= smallest for part in parts[:-1])


def test_a_plan_for_terabytes_is_legal() -> None:
    parts = plan(
        [b"header", *(Span(f"work/{i}", 0, 6 * MIB) for i in range(30_000)), Span("work/long", 0, 20 << 40)], most=30_000
    )
    sizes = [sum(map(length, part)) for part in parts]
    assert sum(sizes) == 6 + 30_000 * 6 * MIB + (20 << 40)
    assert max(sizes) <= LONGEST_COPY
    many = plan(Span(f"work/{i}", 0, 6 * MIB) for i in range(30_000))
    assert len(many) <= 10_000
    assert sum(sum(map(length, part)) for part in many) == 30_000 * 6 * MIB


def test_long_spans_are_copied_inside_s3(server: Server, at: str) -> None:
    store = server.store()
    store.put(at + "huge", HUGE)
    server.calls.clear()
    store.compose(at + "composed", [b"header", Span(at + "huge", 0, len(HUGE))])
    assert sum(call.api == "UploadPartCopy" for call in server.calls) == 1
    assert copied([Span(at + "huge", 0, SMALLEST)])
    assert not copied([Span(at + "huge", 0, SMALLEST - 1)])


def test_parts_are_as_big_as_the_size_asks(server: Server, at: str) -> None:
    assert [part_size(size) // MIB for size in (0, 1, 50 << 30, 5 << 40)] == [16, 8, 8, 583]
    assert all(part_size(size) * 10_000 > size for size in (1, 79 << 30, 1 << 40, 5 << 40))
    store = server.store()
    server.calls.clear()
    with store.writer(at + "a", size_hint=100) as file:
        file.write(some_bytes(20 * MIB))
    assert sum(call.api == "UploadPart" for call in server.calls) == 3


@pytest.mark.parametrize("api", ["UploadPart", "UploadPartCopy", "CompleteMultipartUpload"])
@pytest.mark.parametrize("status", [400, 503])
def test_a_failed_upload_is_aborted(server: Server, at: str, tmp_path: Path, api: str, status: int) -> None:
    store = server.store()
    store.put(at + "huge", HUGE)
    (tmp_path / "local").write_bytes(some_bytes(20 * MIB))

    def write() -> None:
        with store.writer(at + "written") as file:
            file.write(some_bytes(40 * MIB))

    ways = {
        "compose": lambda: store.compose(at + "composed", [BIG, Span(at + "huge", 0, len(HUGE)), b"tail"]),
        "upload": lambda: store.upload(str(tmp_path / "local"), at + "uploaded"),
        "writer": write,
    }
    for name, way in ways.items():
        if api == "UploadPartCopy" and name != "compose":
            continue
        server.calls.clear()
        server.refuse = {api: status}
        try:
            with pytest.raises(Transient if status == 503 else Exception):
                way()
        finally:
            server.refuse = {}
        assert any(call.api == "AbortMultipartUpload" for call in server.calls), name
    assert listed(store, at) == [at + "huge"]
    assert not server.client.list_multipart_uploads(Bucket="the-work").get("Uploads")


@pytest.mark.parametrize("status", [429, 500, 503])
def test_a_busy_store_is_transient(server: Server, at: str, status: int) -> None:
    store = server.store()
    server.refuse = dict.fromkeys(["GetObject", "PutObject", "HeadObject", "ListObjectsV2", "ListObjectVersions"], status)
    try:
        for operation in (
            lambda: store.get(at + "a"),
            lambda: store.put(at + "a", b""),
            lambda: store.head(at + "a"),
            lambda: store.digest(at + "a"),
            lambda: listed(store, at),
            lambda: listed(store, "drop/acme/"),
        ):
            with pytest.raises(Transient, match="did not answer"):
                operation()
    finally:
        server.refuse = {}


def test_no_connection_is_transient(server: Server) -> None:
    store = S3Store({"work": "w"}, server.session, endpoint="http://127.0.0.1:9", retries=0)
    with pytest.raises(Transient):
        store.get("work/a")
    with pytest.raises(Transient):
        store.digest("work/a")


def test_a_denied_read_is_not_found_and_a_denied_write_is_not(server: Server, at: str) -> None:
    store = server.store()
    server.refuse = dict.fromkeys(["GetObject", "HeadObject", "PutObject"], 403)
    try:
        for read in (lambda: store.get(at + "a"), lambda: store.digest(at + "a"), lambda: store.get_range(at + "a", 0, 1)):
            with pytest.raises(NotFound):
                read()
        assert store.head(at + "a") is None
        with pytest.raises(PermissionError):
            store.put(at + "a", b"")
    finally:
        server.refuse = {}


def test_an_object_in_an_archive_is_said_to_be_there(server: Server, at: str) -> None:
    server.client.put_object(Bucket=BUCKETS["work"], Key=at + "a", Body=b"x", StorageClass="GLACIER")
    with pytest.raises(BadInput, match="restore it"):
        server.store().get(at + "a")


def test_the_digest_is_of_the_content(store: Store, at: str) -> None:
    store.put(at + "a", b"content")
    assert store.digest(at + "a").value == hashlib.sha256(b"content").hexdigest()
    assert store.digest(at + "a").algorithm == "sha256"


def test_a_checksum_that_s3_keeps_is_the_digest(server: Server, at: str) -> None:
    value = base64.b64encode(bytes(8)).decode()
    server.client.put_object(Bucket="the-work", Key=at + "a", Body=b"x", ChecksumCRC64NVME=value)
    found = server.client.head_object(Bucket="the-work", Key=at + "a", ChecksumMode="ENABLED")
    if found.get("ChecksumType") != "FULL_OBJECT":
        pytest.skip("this moto does not report the type of a checksum")
    assert server.store().digest(at + "a").algorithm == "crc64nvme"


def test_a_folder_without_hard_links_holds_what_is_created_once_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def link(source: Path, target: Path) -> None:
        raise PermissionError(errno.EPERM, "Operation not permitted", str(source), None, str(target))

    monkeypatch.setattr(os, "link", link)
    store = DirectoryStore(tmp_path)
    assert [store.create("work/a", data) for data in (b"first", b"second")] == [True, False]
    assert store.get("work/a") == b"first"
    assert not list((tmp_path / ".staging").iterdir())


def test_no_large_object_is_read_to_be_named() -> None:
    """However it came: with a CRC-64 or nothing, from `tilery drop` whole or in parts, from a program that adds a CRC-32."""
    sha256 = hashlib.sha256(b"content")
    sums = base64.b64encode(sha256.digest()).decode()
    large: dict[str, Any] = {"ContentLength": 100 << 30, "ETag": '"e"', "VersionId": "v"}
    assert kept_digest({**large, "ChecksumCRC64NVME": "c=", "ChecksumType": "FULL_OBJECT"}) == Digest("crc64nvme", "c=")
    assert kept_digest({**large, "ChecksumSHA256": sums}) == Digest("sha256", sha256.hexdigest())
    assert kept_digest({**large, "ChecksumSHA256": f"{sums}-7"}) == Digest("sha256-of-parts", f"{sums}-7")
    assert kept_digest({**large, "ChecksumCRC32": "AAAAAA=="}) == Digest("upload", "v")
    assert kept_digest({**large, "ContentLength": 5}) is None


@given(st.lists(st.tuples(st.integers(0, 1 << 28), st.integers(0, 1 << 20)), max_size=30))
def test_coalesced_reads_cover_every_span(spans: list[tuple[int, int]]) -> None:
    wanted = [(start, start + size) for start, size in spans if size]
    reads = coalesce(wanted)
    assert all(any(low <= start and stop <= high for low, high in reads) for start, stop in wanted)


def test_a_file_and_a_folder_cannot_share_a_name_on_disk(tmp_path: Path) -> None:
    store = DirectoryStore(tmp_path)
    store.put("work/a/b", b"x")
    with pytest.raises(BadInput, match="is a folder"):
        store.put("work/a", b"x")
    with pytest.raises(BadInput, match="is a file"):
        store.put("work/a/b/c", b"x")


def test_staged_files_of_killed_processes_are_swept_after_a_day(tmp_path: Path) -> None:
    DirectoryStore(tmp_path)
    old, new = tmp_path / ".staging" / "old", tmp_path / ".staging" / "new"
    old.touch()
    new.touch()
    os.utime(old, (0, 0))
    DirectoryStore(tmp_path)
    assert (old.exists(), new.exists()) == (False, True)


FILL = """
import sys
from tilery.store.directory import DirectoryStore
from tilery.store.disk import DiskFull
store = DirectoryStore(sys.argv[1])
store.put("work/a", b"x")
def write():
    with store.writer("work/c") as file:
        for _ in range(40):
            file.write(bytes(1 << 16))
for attempt in (lambda: store.put("work/b", bytes(1 << 21)), lambda: store.upload(sys.argv[2], "work/d"), write):
    try:
        attempt()
    except DiskFull as error:
        print(error)
print([entry.key for entry in store.list("work/")], list((store.root / ".staging").iterdir()))
"""


def test_a_full_disk_is_said_plainly_and_leaves_nothing_half_written(tmp_path: Path) -> None:
    unshare = shutil.which("unshare")
    small, large = tmp_path / "small", tmp_path / "large"
    small.mkdir()
    large.write_bytes(bytes(2 * MIB))
    script = 'mount -t tmpfs -o size=1m tmpfs "$1" && exec "$2" -c "$3" "$1" "$4"'
    command = [unshare or "", "--user", "--map-root-user", "--mount"]
    if not unshare or subprocess.run([*command, "mount", "-t", "tmpfs", "tmpfs", small], capture_output=True).returncode:
        pytest.skip("needs a user namespace in which a small disk can be mounted")
    command += ["sh", "-c", script, "sh", str(small), sys.executable, FILL, str(large)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    sentence = f"the disk that holds {small} is full; make room, then redrive the run"
    assert done.stdout.splitlines() == [sentence] * 3 + ["['work/a'] []"]


def test_the_environment_names_the_store(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, server: Server) -> None:
    monkeypatch.setenv("TILERY_STORE", (tmp_path / "my root").as_uri())
    open_store("acme").put("work/acme/a", b"x")
    assert (tmp_path / "my root/work/acme/a").read_bytes() == b"x"
    for wrong in ("", "folder", "file:relative", "gs://bucket"):
        monkeypatch.setenv("TILERY_STORE", wrong)
        with pytest.raises(ValueError, match="set it to"):
            open_store()


def test_a_data_role_is_assumed_with_the_tenant_as_tag(monkeypatch: pytest.MonkeyPatch, server: Server) -> None:
    for name, value in {
        "TILERY_STORE": "s3",
        "TILERY_DROP_BUCKET": "the-drop",
        "TILERY_WORK_BUCKET": "the-work",
        "TILERY_RESULTS_BUCKET": "the-results",
        "TILERY_DATA_ROLE": "arn:aws:iam::123456789012:role/data",
        "AWS_ENDPOINT_URL_S3": server.url,
        "AWS_ENDPOINT_URL_STS": server.url,
        "AWS_ACCESS_KEY_ID": "testing",
        "AWS_SECRET_ACCESS_KEY": "testing",
        "AWS_DEFAULT_REGION": "us-east-1",
    }.items():
        monkeypatch.setenv(name, value)
    seen: list[bytes] = []
    monkeypatch.setattr(server, "on_body", seen.append)
    store = open_store("acme")
    store.put("ledger/acme/a", b"x")
    assert server.client.get_object(Bucket="the-results", Key="ledger/acme/a")["Body"].read() == b"x"
    assert any(b"Tags.member.1.Key=tenant" in body and b"Tags.member.1.Value=acme" in body for body in seen)
    assert open_store("acme") is store
    assert open_store("other") is not store

"""The table of permissions, checked against the requests that a real S3 server saw for each operation."""

import json
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from tests.s3_server import BUCKETS, Server, running
from tilery.store import open_store
from tilery.store.parts import MIB, SMALLEST
from tilery.store.port import Span, Store
from tilery.store.recording import OPERATION_ACTIONS, RecordingStore

PERMISSION = {
    "GetObject": "s3:GetObject",
    "HeadObject": "s3:GetObject",
    "PutObject": "s3:PutObject",
    "CreateMultipartUpload": "s3:PutObject",
    "UploadPart": "s3:PutObject",
    "UploadPartCopy": "s3:PutObject",
    "CompleteMultipartUpload": "s3:PutObject",
    "AbortMultipartUpload": "s3:AbortMultipartUpload",
    "ListObjectsV2": "s3:ListBucket",
    "ListObjectVersions": "s3:ListBucketVersions",
    "DeleteObjects": "s3:DeleteObject",
    "DeleteObject": "s3:DeleteObject",
}
"""API call -> permission on the object or bucket in its address.
https://docs.aws.amazon.com/AmazonS3/latest/userguide/using-with-s3-policy-actions.html"""

OLD, BIG = "drop/acme/video/old", "work/acme/big"
DATA = bytes(2 * SMALLEST)


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with running() as found:
        yield found


@pytest.fixture(scope="module")
def pinned(server: Server) -> str:
    store = server.store()
    store.put(BIG, DATA)
    store.put(OLD, DATA)
    entry = store.head(OLD)
    assert entry is not None
    store.put(OLD, b"newer")
    return entry.version


def refusing(server: Server, api: str, operation: Callable[[], object]) -> None:
    """Run the operation once well, and once with one of its calls refused, so that it cleans up."""
    operation()
    server.refuse = {api: 400}
    try:
        with suppress(Exception):
            operation()
    finally:
        server.refuse = {}


def written(store: Store) -> None:
    with store.writer("work/acme/new") as file:
        file.write(bytes(40 * MIB))


def operations(store: Store, server: Server, folder: Path, version: str) -> dict[str, Callable[[], object]]:
    local = folder / "local"
    local.write_bytes(bytes(20 * MIB))
    down = str(folder / "down")

    def composed(span: Span) -> None:
        refusing(server, "CompleteMultipartUpload", lambda: store.compose("work/acme/new", [b"header", span, b"tail"]))

    return {
        "get": lambda: store.get(BIG),
        "get version": lambda: store.get(OLD, version=version),
        "get_range": lambda: store.get_range(BIG, 0, 9),
        "get_range version": lambda: store.get_range(OLD, 0, 9, version=version),
        "get_ranges": lambda: store.get_ranges(BIG, [(0, 9), (SMALLEST, SMALLEST + 9)]),
        "get_ranges version": lambda: store.get_ranges(OLD, [(0, 9)], version=version),
        "put": lambda: store.put("work/acme/new", DATA),
        "create": lambda: (store.create("work/acme/created", b""), store.create("work/acme/created", b"")),
        "writer": lambda: refusing(server, "UploadPart", lambda: written(store)),
        "upload": lambda: refusing(server, "UploadPart", lambda: store.upload(str(local), "work/acme/new")),
        "download": lambda: store.download(BIG, down),
        "download version": lambda: store.download(OLD, down, version=version),
        "list": lambda: list(store.list("work/acme/")),
        "list drop": lambda: list(store.list("drop/acme/")),
        "head": lambda: (store.head(BIG), store.head("work/acme/none")),
        "compose": lambda: composed(Span(BIG, 0, len(DATA))),
        "compose from": lambda: composed(Span(BIG, 0, len(DATA))),
        "compose from version": lambda: composed(Span(OLD, 0, len(DATA), version)),
        "digest": lambda: store.digest(BIG),
        "digest version": lambda: store.digest(OLD, version=version),
        "delete": lambda: store.delete(["work/acme/new", "work/acme/none"]),
    }


def permissions_used(server: Server) -> set[tuple[str, str]]:
    """(permission, key) of every request in the log; a part copy also reads its source."""
    used = set()
    for call in server.calls:
        versioned = {"s3:GetObject": "s3:GetObjectVersion"} if call.versioned else {}
        permission = PERMISSION[call.api]
        if call.source_key:
            used.add((versioned.get("s3:GetObject", "s3:GetObject"), call.source_key))
        else:
            permission = versioned.get(permission, permission)
        used.add((permission, call.key))
    return used


@pytest.mark.parametrize("operation", OPERATION_ACTIONS)
def test_an_operation_needs_exactly_the_permissions_of_the_table(
    server: Server, tmp_path: Path, pinned: str, operation: str
) -> None:
    run = operations(server.store(), server, tmp_path, pinned)[operation]
    server.calls.clear()
    run()
    used = permissions_used(server)
    if operation.startswith("compose"):
        source = operation.startswith("compose from")
        used = {(action, key) for action, key in used if (key in (BIG, OLD)) == source}
    assert {action for action, _ in used} == set(OPERATION_ACTIONS[operation])


def test_what_is_recorded_covers_every_request_and_no_more(server: Server, tmp_path: Path, pinned: str) -> None:
    record = tmp_path / "record.jsonl"
    store = RecordingStore(server.store(), str(record), "plan")
    for name, run in operations(store, server, tmp_path, pinned).items():
        server.calls.clear()
        record.write_bytes(b"")
        run()
        lines = [json.loads(line) for line in record.read_text().splitlines()]
        recorded = {(action, line["key"]) for line in lines for action in line["actions"]}
        used = permissions_used(server)
        if name == "delete":  # one request names many keys, in its body
            used = {(action, line["key"]) for action, _ in used for line in lines}
        assert recorded == used, name
        assert all((line["function"], line["area"]) == ("plan", line["key"].split("/")[0]) for line in lines)
        assert all(BUCKETS[line["area"]] for line in lines)


def test_the_environment_turns_recording_on(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("TILERY_STORE", (tmp_path / "root").as_uri())
    monkeypatch.setenv("TILERY_RECORD", str(tmp_path / "record"))
    monkeypatch.setenv("POWERTOOLS_SERVICE_NAME", "intake")
    store = open_store("acme")
    store.create("work/acme/a", b"x")
    assert [entry.key for entry in store.list("work/acme/")] == ["work/acme/a"]
    who = {"function": "intake", "tenant": "acme", "area": "work"}
    assert [json.loads(line) for line in (tmp_path / "record").read_text().splitlines()] == [
        who | {"operation": "create", "actions": ["s3:PutObject"], "key": "work/acme/a"},
        who | {"operation": "list", "actions": ["s3:ListBucket"], "key": "work/acme/"},
    ]

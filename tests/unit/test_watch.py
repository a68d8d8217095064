"""A watched drop folder on a real file system."""

import asyncio
import contextlib
import os
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from twin.watch import DropWatcher, is_temporary


def watch(root: Path, body: Callable[[list[str]], Awaitable[None]], unsure_s: float = 0.8) -> list[str]:
    """Run `body` beside a watcher; returns the keys it was told, in order."""
    told: list[str] = []

    async def uploaded(key: str) -> None:
        told.append(key)

    async def inside() -> None:
        watcher = asyncio.create_task(DropWatcher(root, uploaded, settle_s=0.15, unsure_s=unsure_s, rescan_s=1).run())
        try:
            await asyncio.sleep(0.3)
            await body(told)
        finally:
            watcher.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await watcher

    asyncio.run(inside())
    return told


def folder(root: Path) -> Path:
    path = root / "drop" / "acme" / "pointcloud"
    path.mkdir(parents=True)
    return path


async def until(told: list[str], count: int) -> None:
    for _ in range(100):
        if len(told) >= count:
            return
        await asyncio.sleep(0.05)


def test_a_file_that_is_written_at_once_is_told_once(tmp_path: Path) -> None:
    place = folder(tmp_path)

    async def body(told: list[str]) -> None:
        (place / "größe 1.laz").write_bytes(b"data")
        await until(told, 1)
        await asyncio.sleep(1.3)

    assert watch(tmp_path, body) == ["drop/acme/pointcloud/größe 1.laz"]


def test_a_file_that_stays_open_is_told_only_after_it_is_closed(tmp_path: Path) -> None:
    place = folder(tmp_path)

    async def body(told: list[str]) -> None:
        with (place / "slow.laz").open("wb") as file:
            file.write(b"first half")
            file.flush()
            await asyncio.sleep(1.2)
            assert told == []
            file.write(b"second half")
        await until(told, 1)

    assert watch(tmp_path, body, unsure_s=5) == ["drop/acme/pointcloud/slow.laz"]


def test_a_file_that_grows_by_appending_is_told_when_it_stands_still(tmp_path: Path) -> None:
    place = folder(tmp_path)

    async def body(told: list[str]) -> None:
        for _ in range(10):
            with (place / "grows.laz").open("ab") as file:
                file.write(b"piece")
            await asyncio.sleep(0.05)
        await until(told, 1)
        assert (place / "grows.laz").stat().st_size == 50

    assert watch(tmp_path, body) == ["drop/acme/pointcloud/grows.laz"]


def test_files_that_were_there_before_are_told(tmp_path: Path) -> None:
    (folder(tmp_path) / "early.laz").write_bytes(b"data")

    async def body(told: list[str]) -> None:
        await until(told, 1)

    assert watch(tmp_path, body) == ["drop/acme/pointcloud/early.laz"]


def test_a_folder_that_is_moved_in_brings_its_files(tmp_path: Path) -> None:
    place = folder(tmp_path)
    outside = tmp_path / "set"
    outside.mkdir()
    (outside / "a.laz").write_bytes(b"a")
    (outside / "_READY.json").write_bytes(b"{}")

    async def body(told: list[str]) -> None:
        os.rename(outside, place / "set")
        await until(told, 2)

    assert sorted(watch(tmp_path, body)) == ["drop/acme/pointcloud/set/_READY.json", "drop/acme/pointcloud/set/a.laz"]


def test_hidden_and_temporary_files_are_not_told_but_their_final_name_is(tmp_path: Path) -> None:
    place = folder(tmp_path)

    async def body(told: list[str]) -> None:
        for name in (".site.laz.Xy", "site.laz.part", "site.laz~", "README.md"):
            (place / name).write_bytes(b"data")
        await asyncio.sleep(0.6)
        assert told == []
        os.rename(place / "site.laz.part", place / "site.laz")
        await until(told, 1)

    assert watch(tmp_path, body) == ["drop/acme/pointcloud/site.laz"]


def test_a_file_that_is_replaced_is_a_new_upload(tmp_path: Path) -> None:
    place = folder(tmp_path)

    async def body(told: list[str]) -> None:
        (place / "a.laz").write_bytes(b"one")
        await until(told, 1)
        (place / "a.laz").write_bytes(b"three")
        await until(told, 2)

    assert watch(tmp_path, body) == ["drop/acme/pointcloud/a.laz"] * 2


def test_an_empty_file_is_told_after_a_longer_while(tmp_path: Path) -> None:
    place = folder(tmp_path)

    async def body(told: list[str]) -> None:
        (place / "empty.laz").touch()
        await asyncio.sleep(0.4)
        assert told == []
        await until(told, 1)

    assert watch(tmp_path, body) == ["drop/acme/pointcloud/empty.laz"]


def test_links_and_folders_are_not_files(tmp_path: Path) -> None:
    place = folder(tmp_path)

    async def body(told: list[str]) -> None:
        (place / "inside").mkdir()
        (place / "link.laz").symlink_to("/dev/null")
        await asyncio.sleep(1.2)

    assert watch(tmp_path, body) == []


@pytest.mark.parametrize(
    ("name", "expected"),
    [("a/b/c.laz", False), ("a/.git/c.laz", True), ("a/b/c.LAZ.PART", True), ("a/b/_READY.json", False), ("a/b/.c", True)],
)
def test_what_counts_as_temporary(name: str, expected: bool) -> None:
    assert is_temporary(Path(name)) is expected

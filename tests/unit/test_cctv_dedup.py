"""Frames stored once: exact or within an error, shared, verified, and collected when nothing needs them."""

from __future__ import annotations

import io
import json
import multiprocessing
import os
import random
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image

from tests.data import real
from tests.unit.cctv_video import scene
from tilery.outcomes import BadInput, Transient
from tilery.store.directory import DirectoryStore
from tilery.workloads.cctv.dedup.collect import collect
from tilery.workloads.cctv.dedup.kept import files_of, forget, frames_of, keep, keep_jpegs
from tilery.workloads.cctv.dedup.packs import Damaged, Packs, Writer, list_of, reindex
from tilery.workloads.cctv.dedup.tiles import Encoder, NotFrames, decoded

PREFIX = "results/acme/cctv/_frames"
HOUR = 3600.0
Frames = list[NDArray[np.uint8]]


class Clock:
    """Time that the test moves."""

    def __init__(self) -> None:
        self.now = 1e9

    def __call__(self) -> float:
        return self.now


def still_camera(count: int, seed: int = 0, height: int = 60, width: int = 90) -> Frames:
    """A wall with a door that opens now and then."""
    random_ = np.random.default_rng(seed)
    wall = random_.integers(0, 255, (height, width, 3)).astype(np.uint8)
    frames = []
    for number in range(count):
        frame = wall.copy()
        frame[20:40, 10 : 20 + number % 5] = (number * 7) % 256
        frames.append(frame)
    return frames


def opened(root: Path, clock: Callable[[], float] = time.time) -> Packs:
    return Packs(DirectoryStore(root), PREFIX, clock=clock)


@settings(max_examples=60, deadline=None)
@given(
    height=st.integers(1, 40),
    width=st.integers(1, 40),
    gray=st.booleans(),
    count=st.integers(1, 5),
    error=st.integers(0, 32),
    noise=st.integers(1, 255),
    seed=st.integers(0, 99),
)
def test_no_sample_is_off_by_more_than_the_error(
    height: int, width: int, gray: bool, count: int, error: int, noise: int, seed: int
) -> None:
    dice = np.random.default_rng(seed)
    shape = (height, width) if gray else (height, width, 3)
    first = dice.integers(0, 256, shape)
    frames = [((first + dice.integers(0, noise, shape)) % 256).astype(np.uint8) for _ in range(count)]
    encoder = Encoder(error)
    for frame in frames:
        encoder.add(frame)
    encoded = encoder.finish()
    back = list(decoded(encoded.base, encoded.changes))
    off = max(int(np.abs(one.astype(int) - other).max()) for one, other in zip(frames, back, strict=True))
    assert off == encoded.largest_error <= error
    assert all(one.shape == other.shape for one, other in zip(frames, back, strict=True))


def test_frames_come_back_as_they_were(tmp_path: Path) -> None:
    frames = still_camera(150)
    told = keep(opened(tmp_path), "gate/b0", frames, sum(frame.nbytes for frame in frames))
    assert (told.kept, told.frames, told.largest_error, told.psnr_db) == ("store", 150, 0, None)
    assert told.stored_bytes * 20 < told.source_bytes
    back = list(frames_of(opened(tmp_path), "gate/b0"))
    assert all(np.array_equal(one, other) for one, other in zip(frames, back, strict=True))


def test_the_largest_error_is_checked_and_reported(tmp_path: Path) -> None:
    dice = np.random.default_rng(1)
    frames = [(100 + dice.normal(0, 6, (64, 64, 3))).clip(0, 255).astype(np.uint8) for _ in range(20)]
    source = sum(frame.nbytes for frame in frames)
    exact, loose = keep(opened(tmp_path), "a", frames, source), keep(opened(tmp_path), "b", frames, source, error=4)
    assert loose.stored_bytes < 0.7 * exact.stored_bytes
    back = np.stack(list(frames_of(opened(tmp_path), "b"))).astype(int)
    off = np.abs(back - np.stack(frames))
    assert off.max() == loose.largest_error == 4
    assert loose.psnr_db == pytest.approx(10 * np.log10(255**2 / (off**2).mean()), abs=0.01)


def test_where_the_source_is_smaller_it_is_kept_and_nothing_is_stored(tmp_path: Path) -> None:
    frames = [np.random.default_rng(number).integers(0, 256, (64, 64, 3)).astype(np.uint8) for number in range(10)]
    told = keep(opened(tmp_path), "a", frames, 5_000)
    assert (told.kept, told.why, told.source_bytes) == ("source", "the source is smaller", 5_000)
    assert told.stored_bytes > 5_000
    assert list((tmp_path / PREFIX).rglob("*")) == [] if (tmp_path / PREFIX).exists() else True
    with pytest.raises(BadInput, match="nothing is stored under 'a'"):
        list(frames_of(opened(tmp_path), "a"))


def test_the_same_frames_of_two_cameras_are_stored_once(tmp_path: Path) -> None:
    frames = still_camera(100)
    source = sum(frame.nbytes for frame in frames)
    first, second = keep(opened(tmp_path), "gate/b0", frames, source), keep(opened(tmp_path), "yard/b7", frames, source)
    assert first.added_bytes == first.stored_bytes == second.stored_bytes
    assert second.added_bytes == 0
    assert len(list((tmp_path / PREFIX / "packs").iterdir())) == 1


def test_storing_twice_changes_nothing(tmp_path: Path) -> None:
    frames = still_camera(70)
    for _ in range(2):
        keep(opened(tmp_path), "a", frames, 10**9)
    before = {path.name: path.read_bytes() for path in (tmp_path / PREFIX).rglob("*") if path.is_file()}
    keep(opened(tmp_path), "a", frames, 10**9)
    assert {path.name: path.read_bytes() for path in (tmp_path / PREFIX).rglob("*") if path.is_file()} == before


def test_packs_are_closed_when_they_are_full(tmp_path: Path) -> None:
    dice = random.Random(1)
    blobs = [dice.randbytes(700_000) for _ in range(30)]
    found = opened(tmp_path)
    with Writer(found, pack_bytes=8 << 20) as writer:
        names = [writer.add(blob) for blob in blobs]
    sizes = sorted(path.stat().st_size for path in (tmp_path / PREFIX / "packs").iterdir())
    assert len(sizes) == 3
    assert all(8 << 20 <= size < 64 << 20 for size in sizes[1:])
    again = opened(tmp_path)
    assert [again.get(name) for name in names] == blobs


def test_a_damaged_pack_is_noticed(tmp_path: Path) -> None:
    keep(opened(tmp_path), "a", still_camera(40), 10**9)
    pack = next((tmp_path / PREFIX / "packs").iterdir())
    data = bytearray(pack.read_bytes())
    data[200] ^= 1
    pack.write_bytes(data)
    with pytest.raises(Damaged):
        list(frames_of(opened(tmp_path), "a"))


def test_bytes_that_are_no_run_are_refused() -> None:
    encoder = Encoder()
    for frame in still_camera(3):
        encoder.add(frame)
    encoded = encoder.finish()
    for base, changes in [
        (encoded.base, b""),
        (encoded.base[:50], encoded.changes),
        (encoded.base, encoded.changes[:-9]),
        (encoded.base, b"XXXX" + encoded.changes[4:]),
        (b"nonsense", encoded.changes),
    ]:
        with pytest.raises(NotFrames):
            list(decoded(base, changes))


def test_a_lost_index_is_made_again_from_its_pack(tmp_path: Path) -> None:
    frames = still_camera(30)
    keep(opened(tmp_path), "a", frames, 10**9)
    for path in (tmp_path / PREFIX / "index").iterdir():
        path.unlink()
    found = opened(tmp_path)
    assert reindex(found) == 1
    assert len(list(frames_of(opened(tmp_path), "a"))) == 30
    with pytest.raises(Damaged):
        list_of(b"TLRYPCK1")


def test_what_is_forgotten_is_deleted_after_the_grace_and_not_before(tmp_path: Path) -> None:
    clock = Clock()
    keep(opened(tmp_path, clock), "a", still_camera(30, 1), 10**9)
    keep(opened(tmp_path, clock), "b", still_camera(30, 2), 10**9)
    forget(opened(tmp_path, clock), "a")
    assert (collect(opened(tmp_path, clock), 24 * HOUR).condemned, collect(opened(tmp_path, clock), 24 * HOUR).deleted) == (
        1,
        0,
    )
    clock.now += 23 * HOUR
    assert collect(opened(tmp_path, clock), 24 * HOUR).deleted == 0
    clock.now += 2 * HOUR
    done = collect(opened(tmp_path, clock), 24 * HOUR)
    assert (done.deleted, done.packs) == (1, 2)
    assert len(list((tmp_path / PREFIX / "packs").iterdir())) == 1
    assert len(list(frames_of(opened(tmp_path, clock), "b"))) == 30


def test_a_condemned_pack_that_is_needed_again_is_spared(tmp_path: Path) -> None:
    clock = Clock()
    frames = still_camera(30)
    late = opened(tmp_path, clock)
    keep(late, "a", frames, 10**9)
    writer = Writer(late)
    digests = sorted(late.places)
    assert [writer.add(late.get(digest)) for digest in digests] == digests
    forget(late, "a")
    assert collect(opened(tmp_path, clock), 24 * HOUR).condemned == 1
    clock.now += 5 * HOUR
    writer.keep("b", {"schema": 1, "kind": "pixels", "error": 0, "runs": [], "blobs": digests})
    clock.now += 30 * HOUR
    assert collect(opened(tmp_path, clock), 24 * HOUR).spared == 1
    assert collect(opened(tmp_path, clock), 24 * HOUR).condemned == 0
    assert all(opened(tmp_path, clock).get(digest) for digest in digests)


def test_nothing_new_is_built_on_a_condemned_pack(tmp_path: Path) -> None:
    clock = Clock()
    frames = still_camera(30)
    keep(opened(tmp_path, clock), "a", frames, 10**9)
    forget(opened(tmp_path, clock), "a")
    collect(opened(tmp_path, clock), 24 * HOUR)
    clock.now += 25 * HOUR
    again = keep(opened(tmp_path, clock), "b", frames, 10**9)
    assert again.added_bytes == again.stored_bytes
    assert len(list((tmp_path / PREFIX / "packs").iterdir())) == 2
    assert collect(opened(tmp_path, clock), 24 * HOUR).deleted == 1
    assert len(list(frames_of(opened(tmp_path, clock), "b"))) == 30


def test_what_is_stored_while_its_old_pack_is_deleted_survives(tmp_path: Path) -> None:
    clock = Clock()
    frames = still_camera(30)
    keep(opened(tmp_path, clock), "a", frames, 10**9)
    forget(opened(tmp_path, clock), "a")
    collect(opened(tmp_path, clock), 24 * HOUR)
    clock.now += 25 * HOUR
    slow = DirectoryStore(tmp_path)
    deleted = slow.delete

    def delete(keys: list[str]) -> None:
        if "/packs/" in keys[0]:
            keep(opened(tmp_path, clock), "b", frames, 10**9)
        deleted(keys)

    slow.delete = delete  # type: ignore[method-assign,assignment]
    assert collect(Packs(slow, PREFIX, clock=clock), 24 * HOUR).deleted == 1
    assert len(list(frames_of(opened(tmp_path, clock), "b"))) == 30


def test_a_writer_that_took_too_long_writes_no_recipe(tmp_path: Path) -> None:
    clock = Clock()
    writer = Writer(opened(tmp_path, clock))
    writer.add(b"blob")
    clock.now += 8 * HOUR
    with pytest.raises(Transient, match="it is done again"):
        writer.keep("a", {"blobs": []})
    with pytest.raises(ValueError, match="shorter than a writer may take"):
        collect(opened(tmp_path, clock), HOUR)


def test_a_pack_that_is_mostly_dead_is_written_anew(tmp_path: Path) -> None:
    clock = Clock()
    dice = random.Random(2)
    found = opened(tmp_path, clock)
    with Writer(found) as writer:
        names = [writer.add(dice.randbytes(100_000)) for _ in range(20)]
        writer.keep("a", {"blobs": names[:2]})
    for _ in range(3):
        collect(opened(tmp_path, clock), 24 * HOUR)
        clock.now += 25 * HOUR
    sizes = [path.stat().st_size for path in (tmp_path / PREFIX / "packs").iterdir()]
    assert len(sizes) == 1
    assert sizes[0] < 210_000
    assert all(opened(tmp_path, clock).get(name) for name in names[:2])
    assert collect(opened(tmp_path, clock), 24 * HOUR).rewritten == 0


def _store(root: str, names: list[str], seed: int, kill_after: int | None) -> None:
    """Store some stretches; die at the n-th write, as a container does."""
    store = DirectoryStore(root)
    if kill_after is not None:
        left = [kill_after]

        def counted(wrapped: Callable[..., Any]) -> Callable[..., Any]:
            def call(*args: Any) -> Any:
                left[0] -= 1
                if left[0] < 0:
                    os.kill(os.getpid(), signal.SIGKILL)
                return wrapped(*args)

            return call

        for method in ("put", "create", "delete"):
            setattr(store, method, counted(getattr(store, method)))
    for number, name in enumerate(names):
        keep(Packs(store, PREFIX), name, still_camera(20, seed + number), 10**9)


def _collect(root: str, kill_after: int) -> None:
    store = DirectoryStore(root)
    left = [kill_after]
    for method in ("create", "delete", "put"):
        wrapped = getattr(store, method)

        def call(*args: Any, wrapped: Callable[..., Any] = wrapped) -> Any:
            left[0] -= 1
            if left[0] < 0:
                os.kill(os.getpid(), signal.SIGKILL)
            return wrapped(*args)

        setattr(store, method, call)
    collect(Packs(store, PREFIX, writer_s=0, clock=lambda: 2e9 + kill_after), 0)


def run(target: Callable[..., None], *arguments: Any) -> int | None:
    process = multiprocessing.get_context("fork").Process(target=target, args=arguments)
    process.start()
    process.join()
    return process.exitcode


@pytest.mark.parametrize("kill_after", range(7))
def test_a_writer_killed_at_any_write_leaves_nothing_broken(tmp_path: Path, kill_after: int) -> None:
    names = ["a", "b"]
    assert run(_store, str(tmp_path), names, 0, kill_after) == (-signal.SIGKILL if kill_after < 6 else 0)
    found = opened(tmp_path)
    for path in (tmp_path / PREFIX / "recipes").glob("*"):
        recipe = json.loads(path.read_bytes())
        assert all(found.get(digest) for digest in recipe["blobs"])
    assert run(_store, str(tmp_path), names, 0, None) == 0
    for number, name in enumerate(names):
        back = list(frames_of(opened(tmp_path), name))
        assert all(np.array_equal(*pair) for pair in zip(back, still_camera(20, number), strict=True))


@pytest.mark.parametrize("kill_after", range(10))
def test_a_collection_killed_at_any_write_loses_nothing_that_is_needed(tmp_path: Path, kill_after: int) -> None:
    _store(str(tmp_path), [f"n{number}" for number in range(6)], 0, None)
    for number in (0, 2, 3):
        forget(opened(tmp_path), f"n{number}")
    for turn in range(3):
        run(_collect, str(tmp_path), kill_after)
        for number in (1, 4, 5):
            assert len(list(frames_of(opened(tmp_path), f"n{number}"))) == 20, turn
    for _ in range(3):
        run(_collect, str(tmp_path), 10**6)
    found = opened(tmp_path)
    needed = {
        digest for name in found.names("recipes") for digest in json.loads(found.store.get(found.key("recipes", name)))["blobs"]
    }
    assert set(found.places) == needed
    assert list(found.names("condemned")) == []


def test_writers_at_once_and_a_collection_among_them(tmp_path: Path) -> None:
    """Six processes store stretches that overlap, one is killed, and packs are collected meanwhile."""
    fork = multiprocessing.get_context("fork")
    writers = [
        fork.Process(target=_store, args=(str(tmp_path), [f"w{number}-{part}" for part in range(6)], number % 3, None))
        for number in range(6)
    ]
    for writer in writers:
        writer.start()
    time.sleep(0.1)
    writers[0].kill()
    while any(writer.is_alive() for writer in writers):
        collect(opened(tmp_path), 9 * HOUR)
        time.sleep(0.05)
    for writer in writers[1:]:
        assert writer.exitcode == 0
    for number in range(1, 6):
        for part in range(6):
            back = list(frames_of(opened(tmp_path), f"w{number}-{part}"))
            assert all(np.array_equal(*pair) for pair in zip(back, still_camera(20, number % 3 + part), strict=True))


def jpegs(count: int, **options: Any) -> list[bytes]:
    found = []
    for number in range(count):
        file = io.BytesIO()
        Image.fromarray(scene(number // 3)).save(file, "JPEG", **options)
        found.append(file.getvalue())
    return found


def test_real_jpeg_files_come_back_bit_for_bit_in_little_more_than_half(tmp_path: Path) -> None:
    pytest.importorskip("jpeglib")
    files = [path.read_bytes() for path in sorted(real("cctv/highway/frames").iterdir())[:80]]
    told = keep_jpegs(opened(tmp_path), "highway", files, sum(map(len, files)))
    assert told.kept == "store"
    assert told.stored_bytes < 0.6 * told.source_bytes
    assert list(files_of(opened(tmp_path), "highway")) == files


@pytest.mark.parametrize(
    "options", [{}, {"quality": 30}, {"subsampling": 0}, {"optimize": True}, {"progressive": True}, {"comment": b"hello"}]
)
def test_any_jpeg_comes_back_bit_for_bit(tmp_path: Path, options: dict[str, Any]) -> None:
    pytest.importorskip("jpeglib")
    files = jpegs(8, **options)
    files[5] = files[5][: len(files[5]) // 2]
    files[6] += b"trailing"
    files[7] = jpegs(1, quality=20)[0]
    keep_jpegs(opened(tmp_path), "a", files, 10**9)
    assert list(files_of(opened(tmp_path), "a")) == files


def test_decoded_jpeg_frames_gain_nothing_and_it_says_so(tmp_path: Path) -> None:
    files = sorted(real("cctv/highway/frames").iterdir())[:20]
    frames = [np.asarray(Image.open(path)) for path in files]
    told = keep(opened(tmp_path), "a", frames, sum(path.stat().st_size for path in files))
    assert told.kept == "source"

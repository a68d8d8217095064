"""A shard that was not rewritten as it should be is never finished, and a file stitched wrongly never published."""

import io
import json
import struct
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests import machine
from tests.unit.las_files import las_of, laz_of, random_labels, rewritten, stored
from tilery import manifest, publishing, sizing, whole
from tilery.outcomes import Incomplete
from tilery.run import Source
from tilery.store import open_store
from tilery.store.directory import DirectoryStore
from tilery.store.port import NotFound
from tilery.workloads.pointcloud import class_layer, compiled, laz, rewrite
from tilery.workloads.pointcloud.las_header import read_las
from tilery.workloads.pointcloud.read_back import NotTheSame
from tilery.workloads.pointcloud.rewrite import rewrite_shard
from tilery.workloads.pointcloud.shards import shards_of
from tilery.workloads.pointcloud.verify import check_stitched

Spoil = Callable[..., Any]


def after(real: Callable[..., Any], change: Callable[[Any], Any]) -> Callable[..., Any]:
    return lambda *arguments: change(real(*arguments))


def flipped(coded: tuple[bytes, list[tuple[int, int]]]) -> tuple[bytes, list[tuple[int, int]]]:
    body = bytearray(coded[0])
    body[len(body) // 2] ^= 0x10
    return bytes(body), coded[1]


def other_class(records: np.ndarray) -> np.ndarray:
    records[15] ^= 1
    return records


def attempt(tmp_path: Path, data: bytes, point_format: int, *, streamed: bool = False) -> None:
    store, source = stored(tmp_path, data)
    file = read_las(store, source)
    if streamed:
        file = replace(file, slow="as a test wants it")
    (shard,) = shards_of(file)
    rewrite_shard(store, source, file, shard, random_labels(1_700, point_format), io.BytesIO())


@pytest.mark.parametrize("kernels", [True, False], ids=["kernels", "lazrs"])
def test_a_wrong_classification_layer_is_noticed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kernels: bool) -> None:
    compiled.prepare(10**9)
    monkeypatch.setattr(compiled, "at_hand", lambda: kernels)
    attempt(tmp_path / "right", laz_of(las_of(7)), 7)
    monkeypatch.setattr(class_layer, "encode", after(class_layer.encode, lambda layers: [layers[0], layers[0], *layers[2:]]))
    with pytest.raises(NotTheSame, match=r"some.laz was not rewritten as it should be: .*; nothing was published"):
        attempt(tmp_path / "wrong", laz_of(las_of(7)), 7)


def test_a_byte_of_another_layer_is_noticed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = class_layer.split

    def shifted(chunk: bytes, *arguments: Any) -> tuple[list[int], list[int]]:
        lengths, starts = real(chunk, *arguments)
        lengths[class_layer.CLASSIFICATION_LAYER] += 1  # so that the next layer loses its first byte
        return lengths, starts

    monkeypatch.setattr(rewrite.class_layer, "split", shifted)
    with pytest.raises(NotTheSame):
        attempt(tmp_path, laz_of(las_of(6)), 6)


def test_wrong_coding_of_old_formats_is_noticed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(laz, "encode", after(laz.encode, flipped))
    with pytest.raises(NotTheSame, match=r"some.laz was not rewritten"):
        attempt(tmp_path, laz_of(las_of(3)), 3)


@pytest.mark.parametrize("compressed", [True, False])
def test_a_label_that_was_written_wrongly_is_noticed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, compressed: bool) -> None:
    monkeypatch.setattr(rewrite, "relabelled", after(rewrite.relabelled, other_class))
    with pytest.raises(NotTheSame, match="its classes are not the labels"):
        attempt(tmp_path, laz_of(las_of(1)) if compressed else las_of(1), 1)


def test_a_stream_is_read_back_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    attempt(tmp_path / "right", laz_of(las_of(1)), 1, streamed=True)
    sums = iter([17, 18, 19])
    monkeypatch.setattr(rewrite.zlib, "crc32", lambda _: next(sums))
    with pytest.raises(NotTheSame):
        attempt(tmp_path / "wrong", laz_of(las_of(1)), 1, streamed=True)


def cut_off(data: bytearray) -> None:
    del data[-5:]


def another_date(data: bytearray) -> None:
    data[90] ^= 1


def another_record(data: bytearray) -> None:
    data[375 + 60] ^= 1


def another_tail(data: bytearray) -> None:
    data[-1] ^= 1


@pytest.mark.parametrize("spoil", [cut_off, another_date, another_record, another_tail])
def test_a_product_that_differs_around_its_points_is_refused(tmp_path: Path, spoil: Callable[[bytearray], None]) -> None:
    store, source = stored(tmp_path, laz_of(las_of(6, evlr=b"later" * 9)))
    output = rewritten(store, source, random_labels(1_700, 6))
    chunks = [(chunk.points, chunk.stop - chunk.start) for chunk in read_las(store, output).chunks]
    check_stitched(store, source, output, chunks)
    with pytest.raises(Incomplete, match="has another chunk table than its shards"):
        check_stitched(store, source, output, [(points, size + 1) for points, size in chunks])
    data = bytearray(store.get(output.key))
    spoil(data)
    key = "results/acme/pointcloud/spoilt.laz"
    store.put(key, bytes(data))
    with pytest.raises(Exception, match=r"redrive the run|is cut off|is broken"):
        check_stitched(store, source, Source(name="spoilt.laz", key=key, size=len(data), version=""), chunks)


def dropped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, lane: str) -> tuple[Any, str]:
    """A small file in a projected system has arrived; returns the store and the run's id, sized."""
    monkeypatch.setenv("TILERY_STORE", tmp_path.as_uri())
    store, folder = open_store("acme"), "drop/acme/pointcloud/d"
    store.put(f"{folder}/a.laz", laz_of(las_of(6)))
    ready = {"options": {"lane": lane, "products": ["classified"]}}
    store.put(f"{folder}/_READY.json", json.dumps(ready).encode())
    entry = store.head(f"{folder}/_READY.json")
    assert entry is not None
    run_id = manifest.receive(store, "drop", f"{folder}/_READY.json", entry.version).run_id
    sizing.size(store, "acme", run_id)
    return store, run_id


def test_a_run_that_breaks_a_shard_is_refused_and_publishes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store, run_id = dropped(tmp_path, monkeypatch, "lambda")
    with monkeypatch.context() as broken:
        broken.setattr(class_layer, "encode", after(class_layer.encode, lambda layers: [b"", *layers[1:]]))
        with pytest.raises(NotTheSame):
            whole.whole(store, "acme", run_id)
    with pytest.raises((Incomplete, NotFound)):
        publishing.publish(store, "acme", run_id)
    whole.whole(store, "acme", run_id)
    record = publishing.publish(store, "acme", run_id)
    assert record.counts["verified"] == record.counts["points"] == 1_700


def test_a_finished_shard_that_is_spoilt_in_the_store_is_not_published(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store, run_id = dropped(tmp_path, monkeypatch, "fargate")
    machine.every_stage(store, run_id)
    (shard,) = [key for key in keys_of(store, "work/acme/finish") if "/shards/" in key]
    data = store.get(shard)
    store.put(shard, data[:-1])
    with pytest.raises(Exception, match="it was cut short"):
        publishing.publish(store, "acme", run_id)
    store.put(shard, data)
    assert publishing.publish(store, "acme", run_id).counts["verified"] == 1_700


def keys_of(store: DirectoryStore, prefix: str) -> list[str]:
    return [entry.key for entry in store.list(prefix + "/")]


def test_the_first_class_of_a_chunk_is_part_of_the_proof(tmp_path: Path) -> None:
    store, source = stored(tmp_path, laz_of(las_of(6)))
    file = read_las(store, source)
    data = store.get_range(source.key, file.chunks[0].start, file.chunks[-1].stop)
    labels = random_labels(1_700, 6)
    body, sizes = rewrite.splice_chunks(file, list(file.chunks), data, labels)
    wrong = bytearray(body)
    wrong[class_layer.CLASS_BYTE] ^= 1
    olds = [memoryview(data)[c.start - file.chunks[0].start : c.stop - file.chunks[0].start] for c in file.chunks]
    contexts = rewrite.contexts_of_chunks(file, list(file.chunks), data)
    rewrite.read_back.check_spliced(file, olds, body, sizes, labels, contexts)
    with pytest.raises(NotTheSame):
        rewrite.read_back.check_spliced(file, olds, bytes(wrong), sizes, labels, contexts)
    struct.pack_into("<I", wrong, 30, 1)
    with pytest.raises(NotTheSame):
        rewrite.read_back.check_spliced(file, olds, bytes(wrong), sizes, labels, contexts)

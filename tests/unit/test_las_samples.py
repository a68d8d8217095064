"""Real files of eleven makers: relabelled in shards, everything else is as it was, for three readers."""

import io
from pathlib import Path

import laspy
import numpy as np
import pytest

from tests.data import DATA, autzen_trim
from tests.unit.las_files import random_labels, rewritten, stored
from tilery.workloads.pointcloud import laz
from tilery.workloads.pointcloud.las_header import read_las
from tilery.workloads.pointcloud.points import iter_records, read_records, returns_of
from tilery.workloads.pointcloud.shards import shards_of
from tilery.workloads.pointcloud.verify import verify

FOLDER = DATA / "pointcloud"
SAMPLES = sorted(str(path.relative_to(FOLDER)) for part in ("samples", "isprs") for path in (FOLDER / part).glob("*.la[sz]"))
NO_SAMPLES = pytest.mark.skipif(not SAMPLES, reason=f"no real point clouds below {DATA} (set TILERY_TEST_DATA)")


def check(tmp_path: Path, data: bytes) -> None:
    store, source = stored(tmp_path, data)
    file = read_las(store, source)
    labels = random_labels(file.count, file.point_format)
    output = rewritten(store, source, labels, shards=shards_of(file, 0, 150_000, 150_000))
    assert verify(store, source, output) == []
    written = store.get(output.key)
    assert store.get(rewritten(store, source, labels).key) == written, "sharded and whole differ"
    for backend in (laspy.LazBackend.Lazrs, laspy.LazBackend.Laszip):
        assert np.array_equal(laspy.read(io.BytesIO(written), laz_backend=backend).classification, labels)


@NO_SAMPLES
@pytest.mark.parametrize("name", SAMPLES)
def test_a_real_file_is_relabelled_and_nothing_else(tmp_path: Path, name: str) -> None:
    check(tmp_path, (FOLDER / name).read_bytes())


def test_the_public_sample_is_relabelled_and_nothing_else(tmp_path: Path) -> None:
    check(tmp_path, autzen_trim().read_bytes())


@NO_SAMPLES
@pytest.mark.parametrize("name", [name for name in SAMPLES if "IGN69" in name or "lone-star" in name or "wires" in name])
def test_only_the_asked_fields_are_decoded_and_they_are_right(tmp_path: Path, name: str) -> None:
    data = (FOLDER / name).read_bytes()
    store, source = stored(tmp_path, data)
    file = read_las(store, source)
    (shard,) = shards_of(file)
    want = laspy.read(io.BytesIO(data))
    records = read_records(store, source, file, shard, laz.XYZ_AND_CLASS)
    number, total = returns_of(records, file.point_format)
    for got, field in ((records["X"], "X"), (records["Y"], "Y"), (records["Z"], "Z")):
        assert np.array_equal(got, want[field])
    assert np.array_equal(number, want.return_number)
    assert np.array_equal(total, want.number_of_returns)
    batches = list(iter_records(store, source, file, shard, points=30_000))
    assert [first for first, _ in batches] == list(np.cumsum([0, *(len(batch) for _, batch in batches)])[:-1])
    assert b"".join(batch.tobytes() for _, batch in batches) == want.points.array.tobytes()

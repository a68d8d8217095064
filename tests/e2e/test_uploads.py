"""Uploads into the folder that `tilery up` watches: bad datasets, events twice or out of order, the same bytes again, redo."""

import json
import shutil
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from cli.target import TwinTarget
from tests.e2e.drops import Cloud, ledger, thin_laz
from tilery import keys, names
from tilery.store.directory import DirectoryStore
from twin import events
from twin.deployment import machine_arn

OPTIONS = {"lane": "fargate", "shard_mib": 0.03, "tile_area_km2": 0.02}
DEADLINE_S = 90


class Watched:
    """A twin that watches its drop folder, as a process of its own."""

    def __init__(self, cloud: Cloud) -> None:
        self.cloud = cloud
        self.root = cloud.folder / "root"
        self.drop = self.root / "drop/local/pointcloud"
        self.process = cloud.start("up", "--root", self.root)
        self.until((self.root / "twin/endpoint.json").exists)
        self.until(self.drop.is_dir)

    def until(self, true: Any) -> Any:
        deadline = time.monotonic() + DEADLINE_S
        while not (found := true()):
            assert self.process.poll() is None, self.process.communicate()
            assert time.monotonic() < deadline
            time.sleep(0.05)
        return found

    def close(self) -> str:
        """End it; what it said."""
        self.process.terminate()
        out, err = self.process.communicate(timeout=60)
        return " ".join((out + err).split())

    def put(self, name: str, data: bytes) -> Path:
        """A file, whole at once, as an upload is."""
        path = self.drop / name
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = self.root / f"{path.name}.uploading"
        partial.write_bytes(data)
        return partial.rename(path)

    def results(self, dataset: str) -> list[dict[str, Any]]:
        """The records of all ended runs of a dataset, oldest first."""
        paths = (self.root / "results/local/pointcloud" / dataset).glob("*/run.json")
        return [json.loads(path.read_text()) for path in sorted(paths, key=lambda path: path.stat().st_mtime_ns)]

    def record(self, dataset: str, count: int = 1) -> dict[str, Any]:
        """The newest record of a dataset once it has had so many runs."""
        self.until(lambda: len(self.results(dataset)) >= count)
        return self.results(dataset)[-1]

    def failure(self, dataset: str, count: int = 1) -> dict[str, Any]:
        record = self.record(dataset, count)
        assert record["status"] == "FAILED"
        path = self.root / "results/local/pointcloud" / dataset / record["run_id"] / "failure.json"
        failure: dict[str, Any] = json.loads(path.read_text())
        assert (failure["error"], failure["redrive"]) == ("BadInput", False)
        said = self.until(lambda: (told := ledger(self.root, record["run_id"])).get("notice-failed-0") and told)
        assert said["failed-0"]["sentence"] == failure["sentence"]
        assert failure["sentence"] in said["notice-failed-0"]["subject"]
        return failure

    def markers(self) -> dict[str, int]:
        return {str(path): path.stat().st_mtime_ns for path in self.root.glob("work/*/*/*/done/*.json")}

    def runs(self) -> int:
        return len(list(self.root.glob("ledger/*/*/*/received.json")))


@pytest.fixture(scope="module")
def watched(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Watched]:
    twin = Watched(Cloud(tmp_path_factory.mktemp("watched")))
    yield twin
    twin.close()


def ready(**content: Any) -> bytes:
    return json.dumps(content).encode()


BAD = {
    "missing": (ready(files=[{"name": "a.laz"}, {"name": "b.laz"}]), "names 'b.laz', which is not in the dataset"),
    "short": (ready(files=[{"name": "a.laz", "size": 10**6}]), "says 'a.laz' has 1000000 bytes, but "),
    "changed": (ready(files=[{"name": "a.laz", "sha256": "0" * 64}]), "a.laz: its sha256 is "),
    "dots": (ready(files=[{"name": "../../x.laz"}]), "has an empty part, '.' or '..'"),
    "misspelt": (ready(options={"tile_aera_km2": 1}), "unknown option 'tile_aera_km2': did you mean 'tile_area_km2'?"),
    "unknown": (ready(file=[]), "unknown/_READY.json: there is no 'file'; did you mean 'files'?"),
    "no json": (b"{,}", "write {} or"),
}


@pytest.mark.parametrize("case", BAD)
def test_a_bad_ready_file_says_what_is_wrong_with_which_file(watched: Watched, case: str) -> None:
    content, sentence = BAD[case]
    data = thin_laz(100)
    path = watched.put(f"{case}/a.laz", data)
    watched.put(f"{case}/{keys.READY}", content)
    failure = watched.failure(case)
    assert sentence in failure["sentence"]
    assert (keys.READY in failure["sentence"]) or case == "changed"
    assert path.read_bytes() == data


def test_an_empty_upload_fails_with_its_name(watched: Watched) -> None:
    watched.put("empty.laz", b"")
    assert "empty.laz is empty (0 bytes): its upload failed; upload it again" in watched.failure("empty.laz")["sentence"]


def test_a_dataset_without_any_point_cloud_fails(watched: Watched) -> None:
    watched.put("pictures/a.jpg", b"picture")
    watched.put(f"pictures/{keys.READY}", b"")
    assert "pictures holds no file that pointcloud reads (.las, .laz)" in watched.failure("pictures")["sentence"]


def test_a_ready_file_that_came_too_early_is_told_apart_and_the_next_one_works(watched: Watched) -> None:
    listed = ready(files=[{"name": "später ü.laz"}], options=OPTIONS)
    watched.put(f"zu früh/{keys.READY}", listed)
    assert f"upload it, then {keys.READY} again" in watched.failure("zu früh")["sentence"]
    watched.put("zu früh/später ü.laz", thin_laz(100))
    watched.put(f"zu früh/{keys.READY}", listed)
    record = watched.record("zu früh", 2)
    assert record["status"] == "SUCCEEDED"
    assert record["products"][0]["path"] == "classified/später ü.laz"


def test_the_same_event_twice_and_at_once_is_one_run(watched: Watched) -> None:
    data = thin_laz(50)
    store = DirectoryStore(watched.root)
    folder = watched.root / "drop/twice/pointcloud/site"
    folder.mkdir(parents=True)
    (folder / "a.laz").write_bytes(data)
    watched.put(f"../../twice/pointcloud/site/{keys.READY}", ready(options=OPTIONS))
    key = f"drop/twice/pointcloud/site/{keys.READY}"
    entry = store.head(key)
    assert entry is not None
    event = events.object_created("drop", key, size=entry.size, etag=entry.etag, version=entry.version)
    client = TwinTarget(watched.root).stepfunctions

    def arrive(_: int) -> str:
        started = client.start_execution(stateMachineArn=machine_arn(names.INGEST_MACHINE), input=json.dumps(event))
        return str(started["executionArn"])

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(arrive, range(4)))
    results = watched.root / "results/twice/pointcloud/site"
    watched.until(lambda: list(results.glob("*/run.json")))
    arrive(0)
    time.sleep(0.5)
    (path,) = results.glob("*/run.json")
    record = json.loads(path.read_text())
    assert record["status"] == "SUCCEEDED"
    assert record["run_id"] == keys.run_id("drop", key, entry.version)
    assert len(list(watched.root.glob("ledger/twice/*/*"))) == 1
    assert len(client.list_executions(stateMachineArn=machine_arn("tilery-pointcloud"), maxResults=100)["executions"]) == (
        watched.runs()
    )
    assert not (watched.root / "twin/dead-letters.jsonl").exists()


def test_the_same_bytes_again_compute_nothing_and_a_redo_with_another_fill_draws_only(watched: Watched) -> None:
    data = thin_laz()
    watched.put("site/a.laz", data)
    watched.put(f"site/{keys.READY}", ready(options=OPTIONS))
    first = watched.record("site")
    assert first["status"] == "SUCCEEDED", first
    before = watched.markers()

    watched.put("site/a.laz", data)
    watched.put(f"site/{keys.READY}", ready(options=OPTIONS) + b"\n")
    again = watched.record("site", 2)
    assert again["status"] == "SUCCEEDED"
    assert again["run_id"] != first["run_id"]
    assert digests(again) == digests(first)
    assert watched.markers() == before, "every item had its marker"
    assert set(again["timings"]["stages"]) == set()

    redo = watched.cloud.start("redo", again["run_id"], "--set", "fill_m=2", "--root", watched.root)
    out, err = redo.communicate(timeout=60)
    assert redo.returncode == 0, err
    other = watched.record("site", 3)
    assert other["status"] == "SUCCEEDED", other["warnings"]
    assert other["run_id"] == out.strip()
    after = watched.markers()
    assert before.items() <= after.items()
    assert {Path(marker).parts[-4] for marker in after.keys() - before.keys()} == {"finish"}, (
        "drawing reads the fill, nothing else"
    )
    assert digests(other)["classified/a.laz"] == digests(first)["classified/a.laz"]
    assert digests(other)["dtm.tif"] != digests(first)["dtm.tif"]


def digests(record: dict[str, Any]) -> dict[str, str]:
    return {product["path"]: product["digest"]["value"] for product in record["products"] if product["kind"] != "report"}


def test_what_cannot_start_a_run_is_ignored_aloud(tmp_path: Path) -> None:
    twin = Watched(Cloud(tmp_path))
    twin.put("notes.txt", b"not a point cloud")
    twin.put("site/a.laz", thin_laz(100))
    shutil.copyfile(twin.drop / "site/a.laz", twin.root / "drop/local/deep.laz")
    (twin.root / "drop/BAD TENANT/pointcloud").mkdir(parents=True)
    twin.put("../../BAD TENANT/pointcloud/a.laz", b"x")
    time.sleep(3)
    assert twin.runs() == 0
    said = twin.close()
    assert "ignored: 'notes.txt' is not a file that pointcloud reads (.las, .laz)" in said
    assert f"the run starts when {keys.READY} lands in drop/local/pointcloud/site/" in said
    assert "the tenant 'BAD TENANT' must be 1 to 32 letters a-z or digits" in said

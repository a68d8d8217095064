"""A drop of pictures through the real state machines."""

from __future__ import annotations

import asyncio
import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from tests.toys import environment
from tests.workflow.spine import dropped
from tilery import keys, registry
from tilery.registry import EXTRA
from tilery.store.directory import DirectoryStore
from twin.twin import Twin


@pytest.fixture
def root(tmp_path: Path) -> Iterator[Path]:
    with environment({EXTRA: json.dumps({"images": "tilery.workloads.images.workload:Images"})}):
        registry.load.cache_clear()
        yield tmp_path / "root"


def picture() -> bytes:
    out = io.BytesIO()
    Image.new("RGB", (60, 40), "teal").save(out, "JPEG")
    return out.getvalue()


def run(root: Path, files: dict[str, bytes], options: dict[str, Any]) -> tuple[DirectoryStore, str]:
    store = DirectoryStore(root)
    for name, data in files.items():
        store.put(f"drop/acme/images/set/{name}", data)
    key = f"drop/acme/images/set/{keys.READY}"
    store.put(key, json.dumps({"options": options}).encode())

    async def live() -> str:
        async with Twin(root, workloads=["images"]) as twin:
            accepted, again = await dropped(twin, key), await dropped(twin, key)
            assert accepted.run_id == again.run_id, "events come twice"
            await twin.wait(accepted.run_id)
            return accepted.run_id

    run_id = asyncio.run(live())
    return store, f"results/acme/images/set/{run_id}"


@pytest.mark.parametrize("lane", ["lambda", "fargate"])
def test_a_folder_of_pictures_becomes_pieces_an_index_and_a_sheet(root: Path, lane: str) -> None:
    files = {"north/a.jpg": picture(), "south/a.jpg": picture(), "south/bad.jpg": picture()[:200]}
    store, folder = run(root, files, {"lane": lane, "operations": [["resize", "30x20"], ["split", True]]})
    record = json.loads(store.get(f"{folder}/run.json"))
    assert (record["status"], record["counts"]["errors"], record["counts"]["pieces"]) == ("SUCCEEDED", 1, 8)
    for product in record["products"]:
        assert store.digest(f"{folder}/{product['path']}").value == product["digest"]["value"], product["path"]


def test_a_wrong_operation_fails_the_run_with_its_name_and_the_reason(root: Path) -> None:
    store, folder = run(root, {"a.jpg": picture()}, {"operations": [["resize", "30x20"], ["blurr", "gaussian"]]})
    failure = json.loads(store.get(f"{folder}/failure.json"))
    assert failure["error"] == "BadInput"
    assert "operation 2 (blurr): there is no such operation; did you mean 'blur'?" in failure["sentence"]

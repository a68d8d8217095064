"""Are lists independent: pictures a second of 1, 2, ... workers, each on one core, over the same lists.

    python -m benchmarks.features.workers [--pictures 768] [--workers 1,2]

Workers are processes that share nothing but the store, as Batch jobs do; each gets every n-th list and is pinned to a core.
Time counts from the moment when all have loaded the network. What they leave must be the same bytes, however many they are.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import multiprocessing
import os
import resource
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks.features.pictures import make
from benchmarks.measure import machine
from tilery import manifest, sizing, stages, worker
from tilery.registry import load
from tilery.store import open_store
from tilery.store.port import Store
from tilery.workload import Work
from tilery.workloads.features.options import FeaturesOptions


def planned(store: Store, pictures: Path) -> tuple[str, list[dict[str, Any]]]:
    """The run of a drop of these pictures, and the lists of its process stage."""
    for path in sorted(path for path in pictures.rglob("*") if path.is_file()):
        store.upload(str(path), f"drop/acme/features/set/{path.relative_to(pictures)}")
    key = "drop/acme/features/set/_READY.json"
    store.put(key, json.dumps({"options": {"lane": "fargate", "list_pictures": 64}}).encode())
    entry = store.head(key)
    assert entry is not None
    run_id = manifest.receive(store, "drop", key, entry.version).run_id
    run = sizing.size(store, "acme", run_id)
    plan = stages.plan(store, run, worker.planning_work)
    return run_id, [item for job in stages.read_lines(store, plan.jobs) for item in stages.read_lines(store, job["key"])]


def work_on(run_id: str, items: list[Any], core: int, out: str, begin: Any, said: Any) -> None:
    """One worker: load the network, wait for the others, embed."""
    os.sched_setaffinity(0, {core})
    store = open_store("acme")
    run = stages.read_run(store, "acme", run_id)
    options = FeaturesOptions.model_validate(run.options)
    workload = load("features")
    with tempfile.TemporaryDirectory() as scratch:
        work = Work(run=run, options=options, store=store, stage="process", folders={"process": out}, scratch=Path(scratch))
        workload.process(work, {**items[0], "stop": items[0]["start"] + 1})
        begin.wait()
        before, begun = _cpu(), time.perf_counter()
        for item in items:
            workload.process(work, item)
        said.put((time.perf_counter() - begun, _cpu() - before))


def _cpu() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--pictures", type=int, default=768)
    parser.add_argument("--workers", default="1,2")
    asked = parser.parse_args()
    cores = sorted(os.sched_getaffinity(0))
    spawned = multiprocessing.get_context("spawn")
    print(
        f"{machine()}\n\n| workers | wall s | CPU s of all | pictures / CPU-s | pictures / s | digest of all features |\n"
        + "|---" * 6
        + "|"
    )
    with tempfile.TemporaryDirectory(prefix="tilery-features-") as name:
        os.environ["TILERY_STORE"] = (Path(name) / "store").as_uri()
        store = open_store("acme")
        run_id, items = planned(store, make(Path(name) / "pictures", asked.pictures))
        for count in (int(text) for text in asked.workers.split(",")):
            begin, said, out = spawned.Barrier(count), spawned.Queue(), f"work/acme/process/with-{count}"
            shares = [items[share::count] for share in range(count)]
            workers = [
                spawned.Process(target=work_on, args=(run_id, share, cores[number % len(cores)], out, begin, said))
                for number, share in enumerate(shares)
            ]
            for one in workers:
                one.start()
            told = [said.get() for _ in workers]
            for one in workers:
                one.join()
            wall, cpu = max(wall for wall, _ in told), sum(cpu for _, cpu in told)
            digest = hashlib.sha256(b"".join(store.get(f"{out}/{item['id']}.arrow") for item in items)).hexdigest()
            rates = f"{asked.pictures / cpu:.0f} | {asked.pictures / wall:.0f}"
            print(f"| {count} | {wall:.1f} | {cpu:.1f} | {rates} | {digest[:12]} |", flush=True)


if __name__ == "__main__":
    main()

"""Peak memory of every worker of a run: a mosaic of more than 50 million points in shards, and a file in one worker.

    python -m benchmarks.pointcloud.memory [--copies N] [--set '{"resolution_m": 0.25}'] [--lane fargate]

Every job runs in a process of its own, as it does in a container or a function; its peak is what the kernel says of it.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
from collections.abc import Callable
from pathlib import Path

from benchmarks.measure import machine
from benchmarks.pointcloud.mosaic import write_mosaic
from tests.data import DATA
from tilery import manifest, publishing, sizing, stages, whole, worker
from tilery.store import open_store
from tilery.store.port import Store

AUTZEN = DATA / "pointcloud" / "autzen_full_m.laz"
LIMIT_MIB = 1024


def apart(work: Callable[[], object]) -> tuple[float, float]:
    """Run in a process of its own: (CPU-seconds, peak MiB)."""
    child = os.fork()
    if child == 0:
        try:
            work()
            os._exit(0)
        except BaseException as error:
            print(error, flush=True)
            os._exit(1)
    _, status, used = os.wait4(child, 0)
    if status:
        raise SystemExit("a worker failed")
    return used.ru_utime + used.ru_stime, used.ru_maxrss / 1024


def received(store: Store, path: Path, options: dict[str, object]) -> str:
    folder = f"drop/acme/pointcloud/{path.stem}"
    store.upload(str(path), f"{folder}/{path.name}")
    store.put(f"{folder}/_READY.json", json.dumps({"options": options}).encode())
    entry = store.head(f"{folder}/_READY.json")
    assert entry is not None
    return manifest.receive(store, "drop", f"{folder}/_READY.json", entry.version).run_id


def measure(store: Store, path: Path, options: dict[str, object]) -> list[tuple[str, int, float, float]]:
    """(worker, how many, CPU-seconds of all, largest peak MiB) of each kind of worker of one run."""
    run_id = received(store, path, options)
    run = sizing.size(store, "acme", run_id)
    print(f"\n{path.name}: {run.counts['points']:,} points, lane {run.lane} ({run.lane_reason})", flush=True)
    rows: list[tuple[str, int, float, float]] = []
    if run.lane == "lambda":
        rows.append(("whole", 1, *apart(lambda: whole.whole(store, "acme", run_id))))
    else:
        while (plan := stages.plan(store, run, worker.planning_work)).stage != "publish":
            name, used = plan.stage, list[tuple[float, float]]()
            for job in stages.read_lines(store, plan.jobs):
                used.append(apart(lambda name=name, key=job["key"]: worker.run_job(store, "acme", run_id, name, key)))  # type: ignore[misc]
            stages.check(store, run, name, plan.round, False)
            rows.append((name, len(used), sum(cpu for cpu, _ in used), max(peak for _, peak in used)))
    rows.append(("publish", 1, *apart(lambda: publishing.publish(store, "acme", run_id))))
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--copies", type=int, default=5)
    parser.add_argument("--set", type=json.loads, default={}, help="options of the runs, as JSON")
    parser.add_argument("--lane", choices=("fargate", "lambda"), help="only the mosaic, or only the file in one worker")
    asked = parser.parse_args()
    print(machine())
    with tempfile.TemporaryDirectory() as name:
        os.environ["TILERY_STORE"] = (Path(name) / "store").as_uri()
        store, mosaic = open_store("acme"), Path(name) / "mosaic.laz"
        points = write_mosaic(AUTZEN, mosaic, asked.copies)
        worst = 0.0
        for path, lane in ((mosaic, "fargate"), (AUTZEN, "lambda")):
            if asked.lane not in (None, lane):
                continue
            rows = measure(store, path, {"lane": lane, **asked.set})
            count = points if path == mosaic else points / asked.copies
            print("| worker | jobs | CPU s | peak MiB |\n|---|---|---|---|")
            for worker_name, jobs, cpu, peak in rows:
                print(f"| {worker_name} | {jobs} | {cpu:.1f} | {peak:.0f} |")
                worst = max(worst, peak)
            print(f"{count / sum(cpu for _, _, cpu, _ in rows) / 1e6:.2f} M points per CPU-second", flush=True)
    print(f"\nlargest worker {worst:.0f} MiB, limit {LIMIT_MIB} MiB")
    raise SystemExit(worst > LIMIT_MIB)


if __name__ == "__main__":
    main()

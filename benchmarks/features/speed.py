"""320 and 3,200 pictures to features, PCA and Parquet: Tilery's twin beside plain Python and PySpark, in one command.

    python -m benchmarks.features.speed [--counts 320,3200] [--spark PYTHON]

"warm" is a drop to a twin that is up and has worked on another drop before: the median of three. `growth` is the time of ten
times as many pictures over the time of the fewer.
`--spark` is the interpreter of an environment with pyspark, numpy, pillow and onnxruntime (and java on the path).
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
from sklearn.decomposition import PCA
from sklearn.preprocessing import StandardScaler

from benchmarks.features.pictures import make
from benchmarks.features.warm import up
from benchmarks.measure import Cost, cost_of, machine, middle
from tilery.workloads.features.backbone import exported

COMPONENTS = 300
LANES = ("lambda", "fargate")
HERE = Path(__file__).parent


def tilery(pictures: Path, out: Path, lane: str) -> Cost:
    """The whole twin: its start, the state machines, the workers, t-SNE and report."""
    shutil.rmtree(out, ignore_errors=True)
    settings = ["--set", f"components={COMPONENTS}", "--set", f"lane={lane}"]
    return cost_of([sys.executable, "-m", "cli.main", "run", "features", str(pictures), "--out", str(out), *settings])


def variance_error(out: Path) -> float:
    """The largest relative difference of explained variance to scikit-learn's full PCA of the published features."""
    table = pq.read_table(out / "features")
    features = np.array(table.column("features").combine_chunks().values, np.float64).reshape(len(table), -1)
    with np.load(out / "model.npz") as model:
        ours = model["explained_variance"]
    whole = PCA(len(ours), svd_solver="full").fit(StandardScaler().fit_transform(features))
    return float((np.abs(ours - whole.explained_variance_) / whole.explained_variance_).max())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--counts", default="320,3200")
    parser.add_argument("--spark", default="", help="python of an environment with pyspark")
    asked = parser.parse_args()
    print(machine())
    print("| pictures | what | wall s | CPU s | stages' wall s | explained variance off by |\n" + "|---" * 6 + "|")
    table: dict[str, list[tuple[int, Cost]]] = {}
    with tempfile.TemporaryDirectory(prefix="tilery-features-") as folder:
        root = Path(folder)
        model = root / "model.onnx"
        model.write_bytes(exported())
        for count in (int(text) for text in asked.counts.split(",")):
            for what, cost in compare(count, make(root / f"pictures-{count}", count), model, root, asked.spark):
                table.setdefault(what, []).append((count, cost))
    print("\n| growth | pictures x | wall x | CPU x | CPU ms a picture more |\n" + "|---" * 5 + "|")
    for what, costs in table.items():
        (few, small), (many, large) = costs[0], costs[-1]
        if many > few:
            more = 1000 * (large.cpu_s - small.cpu_s) / (many - few)
            times = f"{many / few:.0f} | {large.wall_s / small.wall_s:.1f} | {large.cpu_s / small.cpu_s:.1f}"
            print(f"| {what} | {times} | {more:.1f} |")


def compare(count: int, pictures: Path, model: Path, root: Path, spark: str) -> Iterator[tuple[str, Cost]]:
    """One row a way of doing it."""
    given = [str(pictures), str(model), str(root), str(COMPONENTS)]
    yield line(count, "plain onnxruntime + scikit-learn", cost_of([sys.executable, str(HERE / "plain.py"), *given]))
    for lane in LANES:
        out = root / f"out-{lane}"
        cost = tilery(pictures, out, lane)
        record = json.loads((out / "run.json").read_text()) if cost.code == 0 else {}
        error = variance_error(out) if cost.code == 0 else float("nan")
        yield line(count, f"tilery run, {lane} lane", cost, stages(record), f"{error:.0e}")
    for lane in LANES:
        with up(root / f"up-{count}-{lane}") as twin:
            options = {"components": COMPONENTS, "lane": lane}
            drops = [twin.drop(pictures, f"drop{number}", options) for number in range(4)]
        yield line(count, f"tilery warm, {lane} lane", middle([cost for cost, _ in drops[1:]]), stages(drops[-1][1]))
    if spark:
        yield line(count, "PySpark + MLlib", cost_of([spark, str(HERE / "spark.py"), *given, str(os.cpu_count() or 1)]))


def stages(record: dict[str, Any]) -> str:
    return ", ".join(f"{name} {taken:.1f}" for name, taken in record["timings"]["stages"].items()) if record else ""


def line(count: int, what: str, cost: Cost, stages: str = "", error: str = "") -> tuple[str, Cost]:
    if cost.code:
        print(cost.output[-2000:], file=sys.stderr)
        what += f" FAILED ({cost.code})"
    print(f"| {count:,} | {what} | {cost.wall_s:.1f} | {cost.cpu_s:.1f} | {stages} | {error} |", flush=True)
    return what, cost


if __name__ == "__main__":
    main()

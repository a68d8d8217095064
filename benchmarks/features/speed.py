"""320 and 3,200 pictures to features, PCA and Parquet: Tilery's twin beside plain Python and PySpark, in one command.

    python -m benchmarks.features.speed [--counts 320,3200] [--spark PYTHON]

`--spark` is the interpreter of an environment with pyspark, numpy, pillow and onnxruntime (and java on the path).
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sys
import tempfile
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
from sklearn.decomposition import PCA
from sklearn.preprocessing import StandardScaler

from benchmarks.features.pictures import make
from benchmarks.measure import Cost, cost_of, machine
from tilery.workloads.features.backbone import exported

COMPONENTS = 300
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
    os.environ.setdefault("TILERY_WORKLOADS", json.dumps({"features": "tilery.workloads.features.workload:Features"}))
    print(machine())
    print("| pictures | what | wall s | CPU s | stages' wall s | explained variance off by |\n|---|---|---|---|---|---|")
    with tempfile.TemporaryDirectory(prefix="tilery-features-") as folder:
        root = Path(folder)
        model = root / "model.onnx"
        model.write_bytes(exported())
        for count in (int(text) for text in asked.counts.split(",")):
            compare(count, make(root / f"pictures-{count}", count), model, root, asked.spark)


def compare(count: int, pictures: Path, model: Path, root: Path, spark: str) -> None:
    """One row a way of doing it."""
    given = [str(pictures), str(model), str(root), str(COMPONENTS)]
    line(count, "plain onnxruntime + scikit-learn", cost_of([sys.executable, str(HERE / "plain.py"), *given]))
    for lane in ("lambda", "fargate"):
        out = root / f"out-{lane}"
        cost = tilery(pictures, out, lane)
        stages = json.loads((out / "run.json").read_text())["timings"]["stages"] if cost.code == 0 else {}
        error = variance_error(out) if cost.code == 0 else float("nan")
        line(
            count,
            f"tilery, {lane} lane",
            cost,
            ", ".join(f"{name} {taken:.1f}" for name, taken in stages.items()),
            f"{error:.0e}",
        )
    if spark:
        line(count, "PySpark + MLlib", cost_of([spark, str(HERE / "spark.py"), *given, str(os.cpu_count() or 1)]))


def line(count: int, what: str, cost: Cost, stages: str = "", error: str = "") -> None:
    if cost.code:
        print(cost.output[-2000:], file=sys.stderr)
        what += f" FAILED ({cost.code})"
    print(f"| {count:,} | {what} | {cost.wall_s:.1f} | {cost.cpu_s:.1f} | {stages} | {error} |", flush=True)


if __name__ == "__main__":
    main()

"""Trains the learned head of the classes above ground, and says whether it beats the rules on data that it never saw.

python -m benchmarks.pointcloud.train [--data DIR] [--out FOLDER] [--trees 40]

Boosted trees on the features of `tilery/workloads/pointcloud/learned.py`, from the IGN samples (IGN LiDAR HD, Licence Ouverte /
Etalab 2.0). Each sample is scored by trees that saw the others only, other makers' samples by trees that saw all of them.
With `--out`, the trees are written as learned_ign.npz, which Tilery reads, and learned_ign.onnx, checked to say the same.
"""

from __future__ import annotations

import argparse
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.ensemble import HistGradientBoostingClassifier

from benchmarks.pointcloud.objects import KINDS, WHOLE, labels_of, overlap, read
from tilery.workloads.pointcloud import fragments, ground, objects
from tilery.workloads.pointcloud.fragments import Fragment
from tilery.workloads.pointcloud.grid import TileGrid, Window
from tilery.workloads.pointcloud.learned import CLASSES, FEATURES, Forest
from tilery.workloads.pointcloud.options import PointCloudOptions

SCALE = 4096
"""Leaves are whole numbers of this part of one."""
GROUPS = {"ground": (2,), "vegetation": (3, 4, 5), "building": (6,)}


@dataclass
class Recorder:
    """Takes the place of a forest and keeps what it was asked."""

    described: list[Any] = field(default_factory=list)

    def scores(self, described: Any) -> Any:
        self.described.append(described)
        return np.zeros((len(described), len(CLASSES)), np.int32)


def ask(points: Fragment, forest: Any) -> objects.Found:
    """The classes of all points as one tile, by a forest."""
    options = PointCloudOptions()
    tiles = TileGrid(1000, WHOLE)
    columns, rows = tiles.tile_of(points.x, points.y)
    core = Window(
        int(columns.min()) * WHOLE,
        int(rows.min()) * WHOLE,
        int(columns.max() - columns.min() + 1) * WHOLE,
        int(rows.max() - rows.min() + 1) * WHOLE,
    )
    found = ground.ground_of(points.x, points.y, points.z, core.grow(objects.REACH), options.ground)
    told = fragments.of_several(points.returns) * 1000 >= len(points)
    return objects.classify_objects(
        points.x, points.y, points.z, points.returns, found, core, 1000, options.objects, told, forest=forest
    )


def train(described: Any, truth: Any, trees: int) -> Forest:
    """Boosted trees as integers."""
    target = np.where(np.isin(truth, (3, 4, 5)), 5, np.where(truth == 6, 6, 1))
    model = HistGradientBoostingClassifier(
        max_iter=trees, max_leaf_nodes=15, learning_rate=0.15, min_samples_leaf=100, l2_regularization=10, random_state=1
    ).fit(described.astype(np.float64), target)
    assert tuple(model.classes_) == CLASSES
    rows: dict[str, list[int]] = {name: [] for name in ("feature", "threshold", "left", "right", "value")}
    roots = []
    for round_ in model._predictors:
        for tree in round_:
            start = len(rows["feature"])
            roots.append(start)
            for node in tree.nodes:
                leaf = bool(node["is_leaf"])
                rows["feature"].append(-1 if leaf else int(node["feature_idx"]))
                rows["threshold"].append(0 if leaf else int(np.floor(node["num_threshold"])))
                rows["left"].append(0 if leaf else start + int(node["left"]))
                rows["right"].append(0 if leaf else start + int(node["right"]))
                rows["value"].append(round(float(node["value"]) * SCALE) if leaf else 0)
    arrays = {name: np.array(values, np.int32) for name, values in rows.items()}
    base = np.round(model._baseline_prediction.ravel() * SCALE).astype(np.int32)
    return Forest(roots=np.array(roots, np.int32), base=base, **arrays)


def as_onnx(forest: Forest) -> Any:
    """The trees as an ONNX model: `described` (float32, n x features) to `scores` (float32, n x 3), whole numbers all."""
    from onnx import TensorProto, helper

    bounds = [*forest.roots.tolist(), len(forest.feature)]
    tree_of = np.repeat(np.arange(len(forest.roots)), np.diff(bounds))
    start = np.asarray(bounds[:-1])[tree_of]
    leaf = forest.feature < 0
    leaves = np.flatnonzero(leaf)
    numbers = np.arange(len(forest.feature))
    node = helper.make_node(
        "TreeEnsembleRegressor",
        ["described"],
        ["scores"],
        domain="ai.onnx.ml",
        n_targets=len(CLASSES),
        base_values=[float(value) for value in forest.base],
        nodes_treeids=tree_of.tolist(),
        nodes_nodeids=(numbers - start).tolist(),
        nodes_featureids=np.maximum(forest.feature, 0).tolist(),
        nodes_modes=["LEAF" if end else "BRANCH_LEQ" for end in leaf],
        nodes_values=forest.threshold.astype(float).tolist(),
        nodes_truenodeids=np.where(leaf, 0, forest.left - start).tolist(),
        nodes_falsenodeids=np.where(leaf, 0, forest.right - start).tolist(),
        target_treeids=tree_of[leaves].tolist(),
        target_nodeids=(numbers - start)[leaves].tolist(),
        target_ids=(tree_of[leaves] % len(CLASSES)).tolist(),
        target_weights=forest.value[leaves].astype(float).tolist(),
    )
    described = helper.make_tensor_value_info("described", TensorProto.FLOAT, ["n", len(FEATURES)])
    scores = helper.make_tensor_value_info("scores", TensorProto.FLOAT, ["n", len(CLASSES)])
    graph = helper.make_graph([node], "tilery-pointcloud-ign", [described], [scores])
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("ai.onnx.ml", 3)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=9)


def scores(points: Fragment, truth: Any, forest: Forest) -> list[float]:
    """IoU of ground, vegetation and building with these trees."""
    found = ask(points, forest)
    return [overlap(truth, np.asarray(found.labels), classes) for classes in GROUPS.values()]


def main() -> None:
    parser = argparse.ArgumentParser(description="Train the learned head.")
    parser.add_argument("--data", type=Path, default=Path(os.environ.get("TILERY_TEST_DATA", "../shared/data")))
    parser.add_argument("--out", type=Path)
    parser.add_argument("--trees", type=int, default=40)
    asked = parser.parse_args()
    folder = asked.data / "pointcloud" / "samples"
    samples = {name: read(folder / name) for name in KINDS["IGN"]}
    table = {}
    for name, (points, truth) in samples.items():
        recorder = Recorder()
        found = ask(points, recorder)
        table[name] = (np.concatenate(recorder.described), truth[found.asked])
    print(
        "| sample, never seen | rules: " + " | ".join(GROUPS) + " | learned: " + " | ".join(GROUPS) + " |\n" + "|---" * 7 + "|"
    )
    rows = []
    everything = train(*(np.concatenate([table[name][k] for name in table]) for k in (0, 1)), asked.trees)
    for name in [*samples, *KINDS["other"][:2]]:
        points, truth = samples[name] if name in samples else read(folder / name)
        others = [other for other in samples if other != name]
        forest = (
            train(*(np.concatenate([table[other][k] for other in others]) for k in (0, 1)), asked.trees)
            if name in samples
            else everything
        )
        rules = labels_of(points, PointCloudOptions(learned=False))
        rows.append([*(overlap(truth, rules, classes) for classes in GROUPS.values()), *scores(points, truth, forest)])
        print(f"| {name} | " + " | ".join(f"{score:.1f}" for score in rows[-1]) + " |", flush=True)
    print("| mean of IGN | " + " | ".join(f"{score:.1f}" for score in np.mean(rows[: len(samples)], 0)) + " |")
    if asked.out:
        np.savez_compressed(asked.out / "learned_ign.npz", **{name: getattr(everything, name) for name in Forest.__slots__})
        model = as_onnx(everything)
        (asked.out / "learned_ign.onnx").write_bytes(model.SerializeToString())
        import onnxruntime

        session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
        described = np.concatenate([table[name][0] for name in table])
        (by_onnx,) = session.run(None, {"described": described.astype(np.float32)})
        print(f"ONNX differs in {int((by_onnx != everything.scores(described)).sum())} of {by_onnx.size:,} scores")


if __name__ == "__main__":
    main()

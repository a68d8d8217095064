"""Trains the learned head of the classes above ground, and says whether it beats the rules on data that it never saw.

python -m benchmarks.pointcloud.train [--data DIR] [--out FOLDER] [--trees 40]

Boosted trees on the features of `tilery/workloads/pointcloud/learned.py`, from the IGN samples (IGN LiDAR HD, Licence Ouverte /
Etalab 2.0) and copies of them. Each sample is scored by trees that saw the others only, another maker's by trees that saw all.
With `--out`, the trees are written as learned_ign.npz, which Tilery reads, and learned_ign.onnx, checked to say the same.
"""

from __future__ import annotations

import argparse
import os
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.ensemble import HistGradientBoostingClassifier

from benchmarks.pointcloud.objects import KINDS, WHOLE, labels_of, overlap, read
from tilery.workloads.pointcloud import fragments, ground, objects
from tilery.workloads.pointcloud.fragments import Fragment
from tilery.workloads.pointcloud.grid import TileGrid, Window
from tilery.workloads.pointcloud.learned import CLASSES, FEATURES, SCALE, Forest
from tilery.workloads.pointcloud.options import PointCloudOptions

COPIES, EVERY = 3, 6
"""Turned, mirrored and shifted copies of each sample that are learned from as well, the last of them thinned; one point in so
many of all of these is learned from."""
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


def changed(points: Fragment, random: np.random.Generator) -> Fragment:
    """The points turned about their middle by any angle, mirrored or not, and shifted by part of a cell."""
    angle, mirror, (east, north) = random.uniform(0, 2 * np.pi), random.choice([-1, 1]), random.uniform(0, 1000, 2)
    middle = int(points.x.mean()), int(points.y.mean())
    x, y = points.x - middle[0], points.y - middle[1]
    turned = mirror * (np.cos(angle) * x - np.sin(angle) * y) + east, np.sin(angle) * x + np.cos(angle) * y + north
    x, y = (np.floor(column).astype(np.int64) + at for column, at in zip(turned, middle, strict=True))
    return replace(points, x=x, y=y)


def described(points: Fragment, truth: Any, number: int) -> tuple[Any, Any]:
    """What is learned from a sample, the `number`th: features and classes of points of it and of its copies."""
    parts = []
    for copy in range(COPIES + 1):
        recorder = Recorder()
        random = np.random.default_rng(100 * number + copy)
        kept = np.flatnonzero(random.random(len(points)) < (random.uniform(0.5, 0.8) if copy == COPIES else 1))
        found = ask(changed(points.take(kept), random) if copy else points, recorder)
        parts.append((np.concatenate(recorder.described)[::EVERY], truth[kept][found.asked][::EVERY]))
    return np.concatenate([part[0] for part in parts]), np.concatenate([part[1] for part in parts])


def train(described: Any, truth: Any, trees: int) -> Forest:
    """Boosted trees as integers."""
    target = np.where(np.isin(truth, (3, 4, 5)), 5, np.where(np.isin(truth, (2, 6)), truth, 1))
    model = HistGradientBoostingClassifier(
        max_iter=trees,
        max_leaf_nodes=15,
        learning_rate=0.15,
        min_samples_leaf=100,
        l2_regularization=10,
        max_bins=63,
        early_stopping=False,
        random_state=1,
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
    """The trees as an ONNX model: `described` (float32, n x features) to `scores` (float32, n x 4), whole numbers all."""
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
    others = KINDS["other"]
    samples = {name: read(folder / name) for name in [*KINDS["IGN"], others[0]]}
    table = {name: described(*sample, number) for number, (name, sample) in enumerate(samples.items())}
    print(
        "| sample, never seen | rules: " + " | ".join(GROUPS) + " | learned: " + " | ".join(GROUPS) + " |\n" + "|---" * 7 + "|"
    )
    rows = []
    everything = train(*(np.concatenate([table[name][k] for name in table]) for k in (0, 1)), asked.trees)
    for name in [*samples, others[1]]:
        points, truth = samples[name] if name in samples else read(folder / name)
        rest = [table[other] for other in samples if other != name]
        seen, kinds = (np.concatenate([part[k] for part in rest]) for k in (0, 1))
        forest = train(seen, kinds, asked.trees) if name in samples else everything
        rules = labels_of(points, PointCloudOptions(learned=False))
        rows.append([*(overlap(truth, rules, classes) for classes in GROUPS.values()), *scores(points, truth, forest)])
        print(f"| {name} | " + " | ".join(f"{score:.1f}" for score in rows[-1]) + " |", flush=True)
    print("| mean of IGN | " + " | ".join(f"{score:.1f}" for score in np.mean(rows[: len(KINDS["IGN"])], 0)) + " |")
    if asked.out:
        np.savez_compressed(asked.out / "learned_ign.npz", **{name: getattr(everything, name) for name in Forest.__slots__})
        model = as_onnx(everything)
        (asked.out / "learned_ign.onnx").write_bytes(model.SerializeToString())
        import onnxruntime

        session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
        every = np.concatenate([table[name][0] for name in table])
        (by_onnx,) = session.run(None, {"described": every.astype(np.float32)})
        print(f"ONNX differs in {int((by_onnx != everything.scores(every)).sum())} of {by_onnx.size:,} scores")


if __name__ == "__main__":
    main()

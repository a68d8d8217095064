"""The embedded backbone, the moments and the PCA, against their definitions and scikit-learn."""

from __future__ import annotations

import hashlib
import pickle
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from sklearn.decomposition import PCA
from sklearn.preprocessing import StandardScaler

from tilery import models
from tilery.outcomes import BadInput
from tilery.workloads.features import backbone, efficientnet, pca
from tilery.workloads.features.moments import Moments, fold
from tilery.workloads.features.separation import figures
from tilery.workloads.features.torch_weights import read_state


def correlated(n: int, d: int, seed: int = 0) -> NDArray[np.float32]:
    """Features as a network makes them: never negative, correlated, of very different sizes, some always zero."""
    rng = np.random.default_rng(seed)
    mixed = rng.normal(size=(n, d // 2)) @ rng.normal(size=(d // 2, d)) + 0.3 * rng.normal(size=(n, d))
    values = np.maximum(mixed, 0) * np.exp(rng.normal(size=d))
    values[:, ::17] = 0
    values[:, 5] = 0.1
    return values.astype(np.float32)


def tiled(values: NDArray[np.float32], cuts: list[int]) -> Moments:
    return fold(Moments.of(part) for part in np.split(values, cuts))


def angle(a: NDArray[np.float64], b: NDArray[np.float64]) -> float:
    """The sine of the largest angle between two row spaces."""
    return float(np.linalg.norm(a - (a @ b.T) @ b, 2))


def assert_like_scikit_learn(model: pca.Model, values: NDArray[np.float32], count: int) -> None:
    scaler = StandardScaler().fit(values.astype(np.float64))
    whole = PCA(count, svd_solver="full").fit(scaler.transform(values.astype(np.float64)))
    np.testing.assert_allclose(model.mean, scaler.mean_, rtol=1e-12, atol=1e-13)
    np.testing.assert_allclose(model.scale, scaler.scale_, rtol=1e-12)
    np.testing.assert_allclose(model.variance, whole.explained_variance_, rtol=1e-10)
    np.testing.assert_allclose(model.ratio, whole.explained_variance_ratio_, rtol=1e-10)
    assert angle(model.components, whole.components_) < 1e-10


@pytest.mark.parametrize("cuts", [[], [1], [37, 200, 201, 350], list(range(50, 400, 50))])
def test_the_model_of_any_tiling_is_that_of_scikit_learn_on_the_whole_set(cuts: list[int]) -> None:
    values = correlated(400, 120)
    model = pca.from_moments(tiled(values, cuts), 60, True)
    assert model.constant.sum() == 9
    assert_like_scikit_learn(model, values, 60)


def test_fewer_pictures_than_features_give_the_same_model_by_the_gram_matrix() -> None:
    values = correlated(70, 300)
    assert_like_scikit_learn(pca.from_features(values, 40, True), values, 40)
    both = pca.from_moments(Moments.of(values), 69, True), pca.from_features(values, 69, True)
    np.testing.assert_allclose(both[0].variance, both[1].variance, rtol=1e-9)
    assert angle(both[0].components, both[1].components) < 1e-9


def test_a_share_of_variance_takes_as_many_components_as_scikit_learn() -> None:
    values = correlated(400, 60)
    standard = StandardScaler().fit_transform(values.astype(np.float64))
    model = pca.from_moments(Moments.of(values), 0.9, True)
    assert len(model.components) == PCA(0.9, svd_solver="full").fit(standard).n_components_
    assert 0.9 <= model.ratio.sum() < 0.99


def test_without_scaling_it_is_the_pca_of_the_centred_features() -> None:
    values = correlated(300, 40)
    whole = PCA(10, svd_solver="full").fit(values.astype(np.float64))
    model = pca.from_moments(Moments.of(values), 10, False)
    np.testing.assert_allclose(model.variance, whole.explained_variance_, rtol=1e-10)


def test_more_components_than_there_are_becomes_all_there_are() -> None:
    model = pca.from_features(correlated(6, 50), 300, True)
    assert model.components.shape == (5, 50)
    np.testing.assert_allclose(model.components @ model.components.T, np.eye(5), atol=1e-12)
    assert model.ratio.sum() == pytest.approx(1)


@pytest.mark.parametrize("values", [np.full((5, 8), 3, np.float32), np.ones((1, 8), np.float32)])
def test_pictures_that_do_not_differ_have_no_components(values: NDArray[np.float32]) -> None:
    for model in (pca.from_features(values, 0.95, True), pca.from_moments(Moments.of(values), 3, True)):
        assert model.components.shape == (0, 8)
        assert model.project(values).shape == (len(values), 0)


def test_a_model_survives_its_file_and_the_same_model_gives_the_same_bytes() -> None:
    model = pca.from_features(correlated(20, 30), 5, True)
    data = model.encode()
    again = pca.Model.decode(data)
    assert again.encode() == data
    np.testing.assert_array_equal(again.components, model.components)


@settings(max_examples=40, deadline=None)
@given(st.lists(st.integers(0, 9), min_size=1, max_size=12), st.integers(0, 2**32 - 1))
def test_merged_moments_are_those_of_all_rows(sizes: list[int], seed: int) -> None:
    values = np.random.default_rng(seed).normal(1e4, 1, (sum(sizes), 4)).astype(np.float32)
    whole, merged = Moments.of(values), tiled(values, list(np.cumsum(sizes)[:-1]))
    assert merged.n == whole.n
    np.testing.assert_allclose(merged.mean, whole.mean, rtol=1e-12)
    np.testing.assert_allclose(merged.comoments, whole.comoments, rtol=1e-6, atol=1e-7 * max(1, whole.n))


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 40), st.integers(0, 3), st.sampled_from([2, 4, 16]))
def test_the_tree_is_the_same_to_the_bit_however_blocks_are_spread_over_lists(blocks: int, doubled: int, fan_in: int) -> None:
    rows = np.random.default_rng(blocks).normal(size=(blocks, 3, 4)).astype(np.float32)
    leaves = [Moments.of(block) for block in rows]
    length = 2**doubled
    nodes = [fold(leaves[start : start + length]) for start in range(0, blocks, length)]
    while len(nodes) > 1:
        nodes = [fold(nodes[start : start + fan_in]) for start in range(0, len(nodes), fan_in)]
    assert nodes[0].encode() == fold(leaves).encode()
    again = Moments.decode(nodes[0].encode())
    np.testing.assert_array_equal(again.comoments, nodes[0].comoments)


def test_the_exported_backbone_is_the_one_that_was_checked_against_pytorch() -> None:
    data = backbone.exported()
    assert hashlib.sha256(data).hexdigest() == backbone.ONNX_SHA256
    path = models.cache() / f"efficientnet-lite0-{backbone.ONNX_SHA256[:16]}.onnx"
    assert path.read_bytes() == data


def test_a_damaged_model_in_the_cache_is_not_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(models.CACHE, str(tmp_path))
    whole = backbone.exported()
    (kept,) = tmp_path.iterdir()
    kept.write_bytes(whole[:-1000])
    assert backbone.exported() == whole == kept.read_bytes()


def test_features_do_not_depend_on_the_batch_a_picture_is_in() -> None:
    model = backbone._embedded(224, efficientnet.MEAN, efficientnet.STD, "cpu")
    pixels = np.random.default_rng(0).integers(0, 256, (20, 224, 224, 3)).astype(np.uint8)
    np.testing.assert_array_equal(
        model.embed(pixels)[7:9], np.concatenate([model.embed(pixels[7:8]), model.embed(pixels[8:9])])
    )


def test_a_file_of_weights_that_asks_for_code_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "bad.pth"
    path.write_bytes(pickle.dumps(0x1950A86A20F9469CFC6C) + pickle.dumps(1001) + pickle.dumps(print))
    with pytest.raises(BadInput, match=r"bad\.pth is not a file of PyTorch weights.*asks for builtins\.print"):
        read_state(path)


def test_purity_and_separation_say_what_lies_apart() -> None:
    rng = np.random.default_rng(0)
    scores = np.concatenate([rng.normal(0, 1, (40, 3)), rng.normal(20, 1, (40, 3)), rng.normal(21, 1, (40, 3))]).astype(
        np.float32
    )
    found = figures(scores, ["far"] * 40 + ["near"] * 40 + ["nearest"] * 40)
    assert found is not None
    by_label = {one.label: one for one in found.classes}
    assert by_label["far"].purity == 1
    assert by_label["far"].separation > 10 > 2 > by_label["near"].separation
    assert by_label["near"].nearest == "nearest"
    assert found.chance == pytest.approx(39 / 119)
    assert figures(scores, ["one"] * 120) is None

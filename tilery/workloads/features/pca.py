"""Standardisation and principal components of a whole set, exactly: from merged moments, or from the features themselves.

With more pictures than features the eigenvectors of the d x d correlation are taken; with fewer, those of the n x n Gram
matrix, which has the same non-zero eigenvalues. Both agree with scikit-learn's StandardScaler and full PCA.
"""

from __future__ import annotations

import io
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tilery.workloads.features.moments import Floats, Moments

EPS = float(np.finfo(np.float64).eps)


@dataclass(frozen=True)
class Model:
    """A fitted model: `mean` and `scale` are (d,), `components` (k, d) with orthonormal rows, `variance` (k,)."""

    n: int
    mean: Floats
    scale: Floats
    constant: NDArray[np.bool_]
    """Features that have the same value everywhere: scaled by 1 and without part in any component."""
    components: Floats
    variance: Floats
    """Explained by each component, in standardised units (divided by n - 1)."""
    spectrum: Floats
    """All variances, as many as the rank can be: min(n - 1, d)."""

    @property
    def total(self) -> float:
        return float(self.spectrum.sum())

    @property
    def ratio(self) -> Floats:
        return self.variance / self.total if self.total else np.zeros_like(self.variance)

    def project(self, features: NDArray[np.float32]) -> NDArray[np.float32]:
        """(n, d) -> (n, k)."""
        return np.asarray(((features - self.mean) / self.scale) @ self.components.T, np.float32)

    def encode(self) -> bytes:
        """An .npz file; the same model gives the same bytes."""
        buffer = io.BytesIO()
        np.savez(
            buffer,
            n=np.int64(self.n),
            mean=self.mean,
            scale=self.scale,
            constant=self.constant,
            components=self.components,
            explained_variance=self.variance,
            spectrum=self.spectrum,
        )
        return buffer.getvalue()

    @staticmethod
    def decode(data: bytes) -> Model:
        with np.load(io.BytesIO(data), allow_pickle=False) as held:
            return Model(
                int(held["n"]),
                held["mean"],
                held["scale"],
                held["constant"],
                held["components"],
                held["explained_variance"],
                held["spectrum"],
            )


def from_moments(moments: Moments, wanted: int | float, standardise: bool) -> Model:
    """The model of a set of which only the moments are known."""
    scale, constant = scaling(moments.n, moments.mean, np.diag(moments.comoments), standardise)
    kept = ~constant
    correlation = moments.comoments[np.ix_(kept, kept)] / np.outer(scale[kept], scale[kept]) / max(moments.n - 1, 1)
    variances, vectors = np.linalg.eigh(correlation)
    spectrum, axes = variances[::-1], vectors[:, ::-1].T
    return _model(moments.n, moments.mean, scale, constant, spectrum, axes, wanted)


def from_features(features: NDArray[np.float32] | Floats, wanted: int | float, standardise: bool) -> Model:
    """The model of a set that is smaller than its number of features."""
    values = features.astype(np.float64)
    n = len(values)
    mean = values.mean(axis=0)
    deviations = values - mean
    scale, constant = scaling(n, mean, (deviations * deviations).sum(axis=0), standardise)
    standard = deviations[:, ~constant] / scale[~constant]
    variances, vectors = np.linalg.eigh(standard @ standard.T / max(n - 1, 1))
    spectrum, left = np.maximum(variances[::-1], 0), vectors[:, ::-1]
    rank = min(n - 1, standard.shape[1])
    sizes = np.sqrt(spectrum[:rank] * max(n - 1, 1))
    usable = sizes > EPS * n * (sizes[0] if rank else 1.0)
    axes = (left[:, :rank][:, usable] / sizes[usable]).T @ standard
    return _model(n, mean, scale, constant, spectrum, axes, wanted)


def scaling(n: int, mean: Floats, squares: Floats, standardise: bool) -> tuple[Floats, NDArray[np.bool_]]:
    """(scale, constant) from sums of squared deviations. Rounding leaves a constant feature a tiny variance: the bound is
    that of Chan et al., as scikit-learn uses it."""
    variance = squares / max(n, 1)
    constant = variance <= n * EPS * variance + (n * mean * EPS) ** 2
    return np.where(constant, 1.0, np.sqrt(variance)) if standardise else np.ones_like(mean), constant


def _model(
    n: int, mean: Floats, scale: Floats, constant: NDArray[np.bool_], spectrum: Floats, axes: Floats, wanted: int | float
) -> Model:
    """Keep what is wanted, put zeros where features are constant, and fix the signs: the largest entry is positive."""
    spectrum = np.maximum(spectrum[: max(min(n - 1, int((~constant).sum())), 0)], 0)
    count = min(_count(spectrum, wanted), len(axes))
    axes = axes[:count]
    if count:
        # twice: one pass leaves the axes of tiny variances at right angles to 1e-8 only
        axes = _orthonormal(_orthonormal(axes))
        largest = np.abs(axes).argmax(axis=1)
        axes = axes * np.sign(axes[np.arange(count), largest])[:, None]
    components = np.zeros((count, len(mean)))
    components[:, ~constant] = axes
    return Model(n, mean, scale, constant, components, spectrum[:count].copy(), spectrum.copy())


def _orthonormal(axes: Floats) -> Floats:
    """Gram-Schmidt in the order of the rows, by QR; rows that are orthonormal already stay as they are, up to sign."""
    return np.ascontiguousarray(np.linalg.qr(axes.T)[0].T)


def _count(spectrum: Floats, wanted: int | float) -> int:
    """How many components: a number, or the fewest that explain a share."""
    if wanted >= 1:
        return min(int(wanted), len(spectrum))
    if not spectrum.sum():
        return 0
    return min(int(np.searchsorted(np.cumsum(spectrum) / spectrum.sum(), wanted, side="right")) + 1, len(spectrum))

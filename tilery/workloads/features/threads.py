"""Linear algebra on one thread: sums split over threads depend on how many there are, and small matrices only wait for them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from threadpoolctl import threadpool_limits


@contextmanager
def one_thread() -> Iterator[None]:
    """BLAS and OpenMP keep to one thread. ONNX Runtime has threads of its own, which this leaves alone.

    Only libraries that are loaded already are limited: import what computes before.
    """
    with threadpool_limits(1):
        yield

"""Compiles the loops over pixels. Without reordering of floating point (no fast-math), so every machine gives the same bits."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar, cast

import numba

F = TypeVar("F", bound=Callable[..., Any])


def compiled(function: F) -> F:
    """The function as machine code, compiled at its first call and kept on disk where a folder can be written."""
    try:
        return cast(F, numba.njit(cache=True, nogil=True, error_model="numpy")(function))
    except RuntimeError:  # nowhere to keep it: a read-only image without NUMBA_CACHE_DIR
        return cast(F, numba.njit(nogil=True, error_model="numpy")(function))

"""What others would write for the slope of every pixel where some dates are missing. Each gives slope per day, (rows, columns).

They do less than Tilery: no intercept, R^2, p or RMSE, and 32-bit sums in the compiled loop.
"""

from __future__ import annotations

import warnings
from typing import Any

import numba
import numpy as np
from numpy.typing import NDArray

Stack = NDArray[np.uint16]
Days = NDArray[np.int64]
THREADS = 2


def numpy_sums(stack: Stack, days: Days) -> NDArray[Any]:
    """Masked sums in numpy, date by date over blocks that fit the cache."""
    t = days.astype(np.float32)
    flat = stack.reshape(len(t), -1)
    out = np.empty(flat.shape[1], np.float32)
    block = 1 << 16
    for start in range(0, flat.shape[1], block):
        part = flat[:, start : start + block]
        n, sx, sxx, sy, sxy = (np.zeros(part.shape[1], np.float64) for _ in range(5))
        for number, day in enumerate(t):
            there = (part[number] != 0).astype(np.float64)
            value = part[number].astype(np.float64)
            n += there
            sx += there * day
            sxx += there * day * day
            sy += value
            sxy += value * day
        with np.errstate(all="ignore"):
            out[start : start + block] = (n * sxy - sx * sy) / (n * sxx - sx * sx)
    return out.reshape(stack.shape[1:])


@numba.njit(nogil=True, fastmath=True)
def _block(flat: NDArray[Any], t: NDArray[Any], out: NDArray[Any]) -> None:
    for pixel in range(flat.shape[1]):
        out[pixel] = np.nan
    for start in range(0, flat.shape[1], 4096):
        count = min(4096, flat.shape[1] - start)
        sums = np.zeros((5, 4096), np.float32)
        for number in range(len(t)):
            day = t[number]
            for at in range(count):
                value = np.float32(flat[number, start + at])
                there = np.float32(1.0) if value != 0 else np.float32(0.0)
                sums[0, at] += there
                sums[1, at] += there * day
                sums[2, at] += there * day * day
                sums[3, at] += value
                sums[4, at] += value * day
        for at in range(count):
            below = sums[0, at] * sums[2, at] - sums[1, at] * sums[1, at]
            if below > 0:
                out[start + at] = (sums[0, at] * sums[4, at] - sums[1, at] * sums[3, at]) / below


def _slopes(block: Stack, t: NDArray[Any]) -> NDArray[Any]:
    out = np.empty(block.shape[1] * block.shape[2], np.float32)
    _block(np.ascontiguousarray(block).reshape(len(t), -1), t, out)
    return out.reshape(block.shape[1:])


def dask_numba(stack: Stack, days: Days) -> NDArray[Any]:
    """dask.array.map_blocks over a compiled loop."""
    import dask.array as da

    t = (days - days.mean()).astype(np.float32)
    chunked = da.from_array(stack, chunks=(len(t), 512, 512))
    mapped = chunked.map_blocks(
        lambda block: _slopes(block, t), drop_axis=0, dtype=np.float32, meta=np.empty((0, 0), np.float32)
    )
    return np.asarray(mapped.compute(scheduler="threads", num_workers=THREADS))


def ray_tasks(stack: Stack, days: Days) -> NDArray[Any]:
    """The numpy sums as ray tasks over bands of rows, the stack in ray's object store."""
    import ray

    ray.init(num_cpus=THREADS, include_dashboard=False, log_to_driver=False, ignore_reinit_error=True)
    try:
        shared = ray.put(stack)
        task = ray.remote(_rows)
        parts = [task.remote(shared, days, row, row + 256) for row in range(0, stack.shape[1], 256)]
        return np.concatenate(ray.get(parts))
    finally:
        ray.shutdown()


def _rows(stack: Stack, days: Days, start: int, stop: int) -> NDArray[Any]:
    return numpy_sums(stack[:, start:stop], days)


def xarray_polyfit(stack: Stack, days: Days, skipna: bool = True) -> NDArray[Any]:
    """xarray.DataArray.polyfit, on dask blocks."""
    import dask.array as da
    import xarray as xr

    values = xr.DataArray(
        da.from_array(stack, chunks=(len(days), 512, 512)), dims=("time", "y", "x"), coords={"time": days.astype(np.float64)}
    )
    if skipna:
        values = values.where(values != 0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        fitted = values.astype("float64").polyfit("time", 1, skipna=skipna).polyfit_coefficients.sel(degree=1)
        return np.asarray(fitted.compute(scheduler="threads", num_workers=THREADS).values)

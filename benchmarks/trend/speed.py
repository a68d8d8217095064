"""Trends against xarray, numpy, dask + numba and ray, on one made stack, in one command.

    python -m benchmarks.trend.speed [--dates 24,60,184] [--samples 64e6] [--refit]

`--refit` keeps the lowest of the measured rates for `tilery plan trend`. The peers need
`pip install -r benchmarks/trend/requirements.txt`.
"""

from __future__ import annotations

import argparse
import json
import resource
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import psutil
from numpy.typing import NDArray

from benchmarks.measure import machine
from benchmarks.trend import peers, stack
from tilery.run import Source
from tilery.store.directory import DirectoryStore
from tilery.workloads.trend import grid, linear, plan, reading, sizing, window
from tilery.workloads.trend.options import TrendOptions
from tilery.workloads.trend.scenes import Series

RUN = 64
"""Dates of a run, where the sums that windows of very many dates keep are measured."""


@dataclass(frozen=True, slots=True)
class Row:
    """One way on some amount of decoded (or compressed) input."""

    name: str
    gigabytes: float
    wall_s: float
    cpu_s: float

    @property
    def rate(self) -> float:
        """GB a CPU-second."""
        return self.gigabytes / self.cpu_s


def measured(name: str, gigabytes: float, work: Callable[[], Any], times: int = 2) -> tuple[Row, Any]:
    """The best of some runs; CPU time counts threads and child processes."""
    best: Row | None = None
    result = None
    for _ in range(times):
        cpu, wall = _cpu(), time.perf_counter()
        result = work()
        row = Row(name, gigabytes, time.perf_counter() - wall, max(_cpu() - cpu, 1e-9))
        best = row if best is None or row.cpu_s < best.cpu_s else best
    assert best is not None
    return best, result


def _cpu() -> float:
    reaped = resource.getrusage(resource.RUSAGE_CHILDREN)
    total = time.process_time() + reaped.ru_utime + reaped.ru_stime
    for child in psutil.Process().children(recursive=True):
        try:
            spent = child.cpu_times()
            total += spent.user + spent.system
        except psutil.NoSuchProcess:
            continue
    return total


def in_memory(values: NDArray[np.uint16], days: NDArray[np.int64]) -> NDArray[Any]:
    """Tilery's loop on a decoded stack, in one pass: all six statistics, in exact sums."""
    flat = values.reshape(len(days), -1)
    return linear.of_small(days, flat, stack.NODATA, 3).slope.reshape(values.shape[1:])


def summed(values: NDArray[np.uint16], days: NDArray[np.int64]) -> NDArray[Any]:
    """The same by the sums that a window keeps where its dates come in runs: more than `reading.AT_ONCE`."""
    flat = values.reshape(len(days), -1)
    sums = linear.Sums(flat.shape[1])
    for start in range(0, len(days), RUN):
        part = slice(start, start + RUN)
        sums.add(days[part], flat[part], stack.NODATA)
    return sums.line(3).slope.reshape(values.shape[1:])


def from_files(store: DirectoryStore, sources: list[Source], options: TrendOptions) -> tuple[Series, Callable[[], Any]]:
    """The whole process stage on stored COGs: range reads, decompression, statistics, window by window."""
    planned = sizing.size(sources, options, store)
    series = Series.read(planned.facts)

    def work() -> Any:
        out = np.empty((series.grid.height, series.grid.width))
        with tempfile.TemporaryDirectory() as scratch:
            reader = reading.Reader(store, sources, series, options, Path(scratch))
            for box in grid.windows(series.grid, *series.window):
                column, row, width, height = box
                out[row : row + height, column : column + width] = window.compute(reader, box)[0].reshape(height, width)
        return out

    return series, work


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dates", default="24,60,184", help="numbers of dates, one stack each")
    parser.add_argument("--samples", type=float, default=64e6, help="pixels times dates of a stack")
    parser.add_argument("--refit", action="store_true", help="keep the rates in tilery/workloads/trend/rates.json")
    asked = parser.parse_args()
    print(f"{machine()}\n")
    kept = []
    for dates in (int(text) for text in asked.dates.split(",")):
        with tempfile.TemporaryDirectory() as folder:
            kept.append(run(Path(folder), dates, max(256, int((asked.samples / dates) ** 0.5) // 256 * 256)))
    if asked.refit:
        plan.RATES.write_text(json.dumps(min(kept, key=lambda rate: rate["compressed_gb_per_vcpu_s"]), indent=2) + "\n")
        plan.rates.cache_clear()
    print(plan.plan(2e12).text())


def run(folder: Path, dates: int, side: int) -> dict[str, Any]:
    """Print the table of one stack; the rates to plan with."""
    paths = stack.write(folder / "drop" / "acme" / "trend" / "made", dates, side)
    store = DirectoryStore(folder)
    sources = []
    for path in paths:
        key = path.relative_to(folder).as_posix()
        entry = store.head(key)
        assert entry is not None
        sources.append(Source(name=path.name, key=key, size=entry.size, version=entry.version))
    values, days = stack.read(paths), stack.days(dates)
    decoded, compressed = values.nbytes / 1e9, sum(source.size for source in sources) / 1e9
    print(f"{dates} dates of {side} x {side} uint16: {decoded:.2f} GB, {compressed:.2f} GB compressed (zstd)\n")

    _, work = from_files(store, sources, TrendOptions.model_validate({}))
    warm = values[:, :64, :64]
    in_memory(warm, days)
    summed(warm, days)
    peers._slopes(warm, days.astype(np.float32))
    from_store, files = measured("tilery, from COGs in the store: 6 statistics", decoded, work)
    loop, ours = measured("tilery, decoded stack, one pass: 6 statistics, exact", decoded, lambda: in_memory(values, days), 5)
    runs, same = measured("tilery, decoded stack, as a window sums it", decoded, lambda: summed(values, days), 5)
    rows = [from_store, runs, loop]
    assert np.array_equal(files, ours * 365.25, equal_nan=True), "the store and the decoded stack must give the same bits"
    assert np.array_equal(same, ours, equal_nan=True), "and so must both ways to sum it"
    one, slope = measured("numpy masked sums: slope", decoded, lambda: peers.numpy_sums(values, days), 1)
    rows.append(one)
    _agree(slope, ours)
    small = values[:, :96, :96]
    attempts: list[tuple[str, NDArray[Any], Callable[[NDArray[Any]], Any]]] = [
        ("dask + numba, map_blocks: slope", values, lambda part: peers.dask_numba(part, days)),
        ("ray tasks of numpy sums: slope", values, lambda part: peers.ray_tasks(part, days)),
        (
            "xarray polyfit(skipna=False): wrong under clouds",
            values[:, :1024, :1024],
            lambda p: peers.xarray_polyfit(p, days, False),
        ),
        ("xarray polyfit(skipna=True): slope", small, lambda part: peers.xarray_polyfit(part, days)),
    ]
    for name, part, attempt in attempts:
        try:
            one, slope = measured(name, part.nbytes / 1e9, lambda attempt=attempt, part=part: attempt(part), 1)
        except ImportError as error:
            print(f"{name}: {error.name} is not installed (pip install -r benchmarks/trend/requirements.txt)")
            continue
        rows.append(one)
        if "wrong" not in name:
            _agree(slope, ours[: part.shape[1], : part.shape[2]])
    print(f"{'way':52s} {'GB':>7s} {'wall s':>8s} {'CPU s':>8s} {'GB/CPU-s':>9s} {'tilery is':>10s}")
    for row in rows:
        times = loop.rate / row.rate
        print(f"{row.name:52s} {row.gigabytes:7.3f} {row.wall_s:8.2f} {row.cpu_s:8.2f} {row.rate:9.4f} {times:9.1f}x")
    compressed_rate = compressed / from_store.cpu_s
    print(f"\ncompressed input, from the store: {compressed_rate:.3f} GB a vCPU-second (wanted: 0.14)")
    print(f"peak memory of this process: {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:.0f} MiB\n")
    return {
        "measured": f"{date.today()}, {dates} dates of uint16, zstd",
        "compressed_gb_per_vcpu_s": round(compressed_rate, 3),
        "decoded_gb_per_vcpu_s": round(from_store.rate, 3),
    }


def _agree(slope: NDArray[Any], ours: NDArray[Any]) -> None:
    """Peers must have computed the same thing: within the rounding of their 32-bit sums."""
    both = np.isfinite(slope) & np.isfinite(ours)
    assert both.mean() > 0.99
    assert float(np.percentile(np.abs(slope - ours)[both], 99)) < 0.01, "a peer computes something else"


if __name__ == "__main__":
    main()

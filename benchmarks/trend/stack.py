"""A made series of satellite pictures: fields, seasons, trends, noise and clouds, as 16-bit COGs. Same seed, same pixels."""

from __future__ import annotations

from datetime import date, timedelta
from pathlib import Path

import numpy as np
import rasterio
from numpy.typing import NDArray
from rasterio.transform import from_origin

FIRST = date(2016, 1, 3)
EVERY_DAYS = 16
NODATA = 0


def days(dates: int) -> NDArray[np.int64]:
    return np.arange(dates, dtype=np.int64) * EVERY_DAYS


def picture(number: int, side: int) -> NDArray[np.uint16]:
    """One date: reflectance x 10,000, 0 under clouds (a tenth)."""
    fields = np.random.default_rng(7)
    small = -(-side // 32)
    level = np.kron(fields.integers(900, 3500, (small, small)), np.ones((32, 32)))[:side, :side]
    slope = np.kron(fields.normal(0, 40, (small, small)), np.ones((32, 32)))[:side, :side]
    years = number * EVERY_DAYS / 365.25
    noise = np.random.default_rng(1000 + number)
    values = level * (1 + 0.2 * np.sin(2 * np.pi * years)) + slope * years + noise.normal(0, 60, (side, side))
    clouds = np.kron(noise.random((-(-side // 64), -(-side // 64))) < 0.1, np.ones((64, 64), bool))[:side, :side]
    return np.where(clouds, NODATA, np.clip(values, 1, 65535)).round().astype(np.uint16)


def write(folder: Path, dates: int, side: int) -> list[Path]:
    """The series as tiled, zstd-compressed COGs named by their dates."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for number, day in enumerate(days(dates)):
        path = folder / f"made_{FIRST + timedelta(days=int(day))}.tif"
        profile = {
            "driver": "COG",
            "width": side,
            "height": side,
            "count": 1,
            "dtype": "uint16",
            "crs": "EPSG:32633",
            "nodata": NODATA,
            "transform": from_origin(500000, 5000000, 10, 10),
            "compress": "ZSTD",
            "predictor": "YES",
            "overviews": "NONE",
        }
        with rasterio.open(path, "w", **profile) as target:
            target.write(picture(number, side), 1)
        paths.append(path)
    return paths


def read(paths: list[Path]) -> NDArray[np.uint16]:
    """(dates, rows, columns) of the files."""
    layers = []
    for path in paths:
        with rasterio.open(path) as source:
            layers.append(source.read(1))
    return np.stack(layers)

"""From the numbers that a network puts out to boxes: one function per family of detectors.

Each takes the outputs for a batch and gives, per picture, (positions, classes) scores and a function that makes the boxes of
chosen positions, in pixels of the network's input: only the few positions with a score worth keeping are decoded.
Sources: YOLOX (Ge et al. 2021), NanoDet (RangiLyu; distances as in Generalized Focal Loss, Li et al. 2020), CenterNet (Zhou et
al. 2019), DETR (Carion et al. 2020).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tilery.workloads.cctv.detector_description import Decode

Array = NDArray[np.float32]
Decoded = tuple[Array, Callable[[NDArray[np.intp]], Array]]
"""(positions, classes) scores; positions -> (n, 4) boxes."""
Decoder = Callable[[Sequence[Array], int, Decode, NDArray[np.intp], tuple[int, int]], Decoded]
"""(outputs, picture in the batch, how, classes that are wanted, (width, height) of the input)."""


def yolox(outputs: Sequence[Array], picture: int, how: Decode, wanted: NDArray[np.intp], size: tuple[int, int]) -> Decoded:
    rows = outputs[0][picture]
    places, strides = _grid(tuple((size[1] // stride, size[0] // stride) for stride in how.strides), tuple(how.strides), 0.0)
    if len(rows) != len(places):
        raise ValueError(f"the output has {len(rows)} positions, and a picture of {size} has {len(places)} at these strides")
    classes = rows[:, 5:][:, wanted]
    scores = (_sigmoid(rows[:, 4:5]) * _sigmoid(classes)) if how.logits else rows[:, 4:5] * classes

    def boxes(chosen: NDArray[np.intp]) -> Array:
        step = strides[chosen][:, None]
        centre = rows[chosen, :2] * step + places[chosen]
        half = np.exp(rows[chosen, 2:4]) * step / 2
        return np.concatenate([centre - half, centre + half], 1)

    return scores, boxes


def nanodet(outputs: Sequence[Array], picture: int, how: Decode, wanted: NDArray[np.intp], size: tuple[int, int]) -> Decoded:
    count = len(how.strides)
    maps, sides = [one[picture] for one in outputs[:count]], [one[picture] for one in outputs[count:]]
    places, strides = _grid(tuple((one.shape[1], one.shape[2]) for one in maps), tuple(how.strides), 0.5)
    scores = np.concatenate([one[wanted].reshape(len(wanted), -1) for one in maps], 1).T
    scores = _sigmoid(scores) if how.logits else scores
    weights = np.arange(how.reach + 1, dtype=np.float32)

    def boxes(chosen: NDArray[np.intp]) -> Array:
        flat = np.concatenate([one.reshape(one.shape[0], -1) for one in sides], 1)[:, chosen]
        bins = flat.T.reshape(len(chosen), 4, how.reach + 1)
        shares = np.exp(bins - bins.max(2, keepdims=True))
        reach = (shares @ weights) / shares.sum(2) * strides[chosen][:, None]
        centre = places[chosen]
        return np.concatenate([centre - reach[:, :2], centre + reach[:, 2:]], 1)

    return scores, boxes


def centernet(outputs: Sequence[Array], picture: int, how: Decode, wanted: NDArray[np.intp], size: tuple[int, int]) -> Decoded:
    import cv2

    heat, sides = np.ascontiguousarray(outputs[0][picture][..., wanted]), outputs[1][picture]
    peaks = cv2.dilate(heat, np.ones((3, 3), np.uint8)).reshape(heat.shape)
    scores = np.where(heat == peaks, heat, 0).reshape(-1, len(wanted))
    stride, width = how.strides[0], heat.shape[1]

    def boxes(chosen: NDArray[np.intp]) -> Array:
        y, x = np.divmod(chosen, width)
        centre = (np.stack([x, y], 1) * stride).astype(np.float32)
        reach = sides.reshape(-1, 4)[chosen]
        return np.concatenate([centre - reach[:, :2], centre + reach[:, 2:]], 1)

    return scores, boxes


def detr(outputs: Sequence[Array], picture: int, how: Decode, wanted: NDArray[np.intp], size: tuple[int, int]) -> Decoded:
    raw, shares = outputs[0][picture], outputs[1][picture]
    if how.logits and how.none:
        powers = np.exp(raw - raw.max(1, keepdims=True))
        raw = powers / powers.sum(1, keepdims=True)
    elif how.logits:
        raw = _sigmoid(raw)

    def boxes(chosen: NDArray[np.intp]) -> Array:
        centre, half = shares[chosen, :2], shares[chosen, 2:] / 2
        return np.concatenate([centre - half, centre + half], 1) * np.array([*size, *size], np.float32)

    return raw[:, wanted], boxes


DECODERS: dict[str, Decoder] = {"yolox": yolox, "nanodet": nanodet, "centernet": centernet, "detr": detr}
OUTPUTS = {"yolox": 1, "centernet": 2, "detr": 2}
"""How many outputs a kind has; nanodet has two per stride."""


def outputs_of(how: Decode) -> int:
    return OUTPUTS.get(how.kind, 2 * len(how.strides))


@lru_cache(maxsize=8)
def _grid(sizes: tuple[tuple[int, int], ...], strides: tuple[int, ...], centre: float) -> tuple[Array, Array]:
    """(positions, 2) x and y in pixels, and the stride of each, for maps of these heights and widths one after the other."""
    places: list[NDArray[Any]] = []
    for (height, width), stride in zip(sizes, strides, strict=True):
        y, x = np.mgrid[:height, :width]
        places.append((np.stack([x, y], -1).reshape(-1, 2) + centre) * stride)
    steps = [np.full(len(one), stride, np.float32) for one, stride in zip(places, strides, strict=True)]
    return np.concatenate(places).astype(np.float32), np.concatenate(steps)


def _sigmoid(values: Array) -> Array:
    return np.asarray(1 / (1 + np.exp(-values)), np.float32)

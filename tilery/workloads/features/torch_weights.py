"""Reads a PyTorch weights file without PyTorch: the format of `torch.save` before version 1.6.

Five pickles (magic number, protocol, system, the dictionary of tensors, the names of the storages) and then, for each
storage, a 64-bit count and its little-endian numbers. The unpickler knows four names and refuses every other: a pickle can
otherwise run any code. Layout: torch/serialization.py, `_legacy_load`.
"""

from __future__ import annotations

import pickle
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from tilery.outcomes import BadInput

MAGIC = 0x1950A86A20F9469CFC6C
PROTOCOL = 1001
STORAGES: dict[str, np.dtype[Any]] = {"FloatStorage": np.dtype("<f4"), "LongStorage": np.dtype("<i8")}


@dataclass(frozen=True)
class _Tensor:
    storage: tuple[str, str]
    """Its dtype's name and its key."""
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]


def read_state(path: Path) -> dict[str, NDArray[Any]]:
    """Name -> array, as the file has them. Raises `BadInput` if the file is of another format or holds anything else."""
    try:
        with path.open("rb") as file:
            return _read(file)
    except (pickle.UnpicklingError, EOFError, KeyError, IndexError, ValueError, TypeError, AttributeError) as error:
        raise BadInput(f"{path.name} is not a file of PyTorch weights as it was written before version 1.6: {error}") from None


def _read(file: BinaryIO) -> dict[str, NDArray[Any]]:
    if _Restricted(file).load() != MAGIC or _Restricted(file).load() != PROTOCOL:
        raise ValueError("its magic number is another")
    if not _Restricted(file).load()["little_endian"]:
        raise ValueError("it is big-endian")
    tensors: dict[str, _Tensor] = _Restricted(file).load()
    order: list[str] = _Restricted(file).load()
    kinds = {tensor.storage[1]: STORAGES[tensor.storage[0]] for tensor in tensors.values()}
    storages = {key: _storage(file, kinds[key]) for key in order}
    return {name: _view(storages[tensor.storage[1]], tensor) for name, tensor in tensors.items()}


def _storage(file: BinaryIO, kind: np.dtype[Any]) -> NDArray[Any]:
    count = int.from_bytes(file.read(8), "little")
    data = file.read(count * kind.itemsize)
    return np.frombuffer(data, kind, count)


def _view(storage: NDArray[Any], tensor: _Tensor) -> NDArray[Any]:
    reach = tensor.offset + 1 + sum((side - 1) * stride for side, stride in zip(tensor.shape, tensor.strides, strict=True))
    if min((tensor.offset, *tensor.shape, *tensor.strides), default=0) < 0 or reach > len(storage):
        raise ValueError("a tensor reaches beyond its storage")
    steps = tuple(stride * storage.itemsize for stride in tensor.strides)
    return np.lib.stride_tricks.as_strided(storage[tensor.offset :], tensor.shape, steps).copy()


def _tensor(storage: tuple[str, str], offset: int, shape: tuple[int, ...], strides: tuple[int, ...], *_: Any) -> _Tensor:
    return _Tensor(storage, offset, tuple(shape), tuple(strides))


_KNOWN: dict[tuple[str, str], Callable[..., Any] | str] = {
    ("collections", "OrderedDict"): OrderedDict,
    ("torch._utils", "_rebuild_tensor_v2"): _tensor,
    **{("torch", name): name for name in STORAGES},
}


class _Restricted(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in _KNOWN:
            raise pickle.UnpicklingError(f"it asks for {module}.{name}")
        return _KNOWN[module, name]

    def persistent_load(self, identity: Any) -> tuple[str, str]:
        _, kind, key, *_ = identity
        return str(kind), str(key)

"""What every store's `writer` yields: a file that can write and tell, so that a directory allows no more than S3."""

import io
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer


class Sequential(io.RawIOBase):
    """Passes whole buffers on to `sink`, in order."""

    def __init__(self, sink: Callable[[memoryview], Any]) -> None:
        self._sink = sink
        self._position = 0

    def writable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._position

    def write(self, data: "ReadableBuffer", /) -> int:
        view = memoryview(data).cast("B")
        if view.nbytes:
            self._sink(view)
        self._position += view.nbytes
        return view.nbytes

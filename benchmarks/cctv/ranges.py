"""What flows through NanoDet on real pictures: the range of each tensor, from which `quantised` makes 8 bits.

python -m benchmarks.cctv.ranges [--sequences pets,highway] [--every 40] [FILE]

Writes the file that the package has (tilery/workloads/cctv/nanodet8.json), or FILE. Then set the digest in `fetch.NANODET8`.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
from numpy.typing import NDArray

from benchmarks.cctv.segments import sized
from benchmarks.cctv.truth import highway, pets
from tilery.workloads.cctv import fetch
from tilery.workloads.cctv.clips import Clip
from tilery.workloads.cctv.decode import decode
from tilery.workloads.cctv.detector_onnx import tensor
from tilery.workloads.cctv.quantised import Ranges, observed

NEGATIVE = 1.0
"""Before a leaky rectifier negative values count a tenth: they are told apart down to so many times the largest value."""
SIGNIFICANT = 6


def pictures(names: list[str], every: int) -> Iterator[NDArray[np.float32]]:
    """Every so many pictures of the sequences, as the network gets them."""
    for name in names:
        sequence = {"pets": pets, "highway": highway}[name]()
        with tempfile.TemporaryDirectory() as root:
            work, _ = sized(Path(root), sequence.files, **sequence.options)
            for number, picture in enumerate(decode(work.store, work.run, Clip.of(work.run.facts["clips"][0]))):
                if number % every == every // 2:
                    factor = min(1.0, fetch.NANODET.description.input.width / max(picture.width, picture.height))
                    small = picture.rgb(round(picture.width * factor), round(picture.height * factor))
                    yield tensor(fetch.NANODET.description.input, [small], 1)


def ranges(model: bytes, given: Iterator[NDArray[np.float32]]) -> Ranges:
    """Least and largest value of every tensor on all pictures."""
    session = onnxruntime.InferenceSession(observed(model), providers=["CPUExecutionProvider"])
    names = [one.name for one in session.get_outputs()]
    seen: dict[str, tuple[float, float]] = {}
    for picture in given:
        for name, values in [("pictures", picture), *zip(names, session.run(names, {"pictures": picture}), strict=True)]:
            least, largest = seen.get(name, (0.0, 0.0))
            seen[name] = min(least, float(values.min())), max(largest, float(values.max()))
    for node in onnx.load_model_from_string(model).graph.node:
        if node.op_type == "LeakyRelu":
            for name, share in ((node.input[0], NEGATIVE), (node.output[0], NEGATIVE * node.attribute[0].f)):
                least, largest = seen[name]
                seen[name] = max(least, -share * largest), largest
    return seen


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--sequences", default="pets,highway")
    parser.add_argument("--every", type=int, default=40)
    parser.add_argument("file", nargs="?", type=Path, default=Path(fetch.__file__).with_name("nanodet8.json"))
    given = parser.parse_args()
    found = ranges(fetch.model(fetch.NANODET), pictures(given.sequences.split(","), given.every))
    lines = [
        f" {json.dumps(name)}: [{least:.{SIGNIFICANT}g}, {largest:.{SIGNIFICANT}g}]" for name, (least, largest) in found.items()
    ]
    given.file.write_text("{\n" + ",\n".join(lines) + "\n}\n")


if __name__ == "__main__":
    main()

"""The peer without any pipeline: ONNX Runtime, scikit-learn and pyarrow in one process. `plain.py FOLDER MODEL OUT K`.

The same steps: decode, resize, embed with the same model, StandardScaler, full PCA, Parquet.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import onnxruntime
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image
from sklearn.decomposition import PCA
from sklearn.preprocessing import StandardScaler


def main(folder: Path, model: Path, out: Path, components: int) -> None:
    session = onnxruntime.InferenceSession(str(model), providers=["CPUExecutionProvider"])
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    features = []
    for start in range(0, len(files), 16):
        pixels = np.stack(
            [
                np.asarray(Image.open(file).convert("RGB").resize((224, 224), Image.Resampling.BICUBIC))
                for file in files[start : start + 16]
            ]
        )
        given = np.ascontiguousarray(((pixels.astype(np.float32) - 127) / 128).transpose(0, 3, 1, 2))
        features.append(session.run(None, {"pixels": given})[0])
    values = np.concatenate(features).astype(np.float64)
    fitted = PCA(min(components, len(files) - 1), svd_solver="full")
    scores = fitted.fit_transform(StandardScaler().fit_transform(values)).astype(np.float32)
    columns = {
        "path": [str(file) for file in files],
        "label": [file.parent.name for file in files],
        "features": pa.FixedSizeListArray.from_arrays(pa.array(values.astype(np.float32).reshape(-1)), values.shape[1]),
        "pca": pa.FixedSizeListArray.from_arrays(pa.array(scores.reshape(-1)), scores.shape[1]),
    }
    pq.write_table(pa.table(columns), out / "plain.parquet", compression="zstd")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), Path(sys.argv[3]), int(sys.argv[4]))

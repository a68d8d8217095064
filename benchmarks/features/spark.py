"""The peer on PySpark and MLlib, on every core of this machine. `spark.py FOLDER MODEL OUT K CORES`, in an environment with
pyspark, numpy, pillow and onnxruntime. The same steps as plain.py: binary files, embed, StandardScaler, PCA, Parquet."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any


def embed(model: str, rows: Iterator[Any]) -> Iterator[tuple[str, Any]]:
    """One session a partition, batches of 16."""
    import io
    from itertools import islice

    import numpy as np
    import onnxruntime
    from PIL import Image
    from pyspark.ml.linalg import Vectors

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    while batch := list(islice(rows, 16)):
        pictures = [
            Image.open(io.BytesIO(row.content)).convert("RGB").resize((224, 224), Image.Resampling.BICUBIC) for row in batch
        ]
        pixels = np.stack([np.asarray(picture) for picture in pictures])
        given = np.ascontiguousarray(((pixels.astype(np.float32) - 127) / 128).transpose(0, 3, 1, 2))
        found = session.run(None, {"pixels": given})[0]
        yield from ((row.path, Vectors.dense(vector)) for row, vector in zip(batch, found.astype(float), strict=True))


def main(folder: str, model: str, out: Path, components: int, cores: int) -> None:
    from pyspark.ml.feature import PCA, StandardScaler
    from pyspark.sql import SparkSession

    os.environ["PYSPARK_PYTHON"] = sys.executable
    builder = SparkSession.builder.master(f"local[{cores}]").config("spark.driver.memory", "4g")
    spark = builder.config("spark.ui.enabled", "false").getOrCreate()
    spark.sparkContext.setLogLevel("ERROR")
    files = spark.read.format("binaryFile").option("recursiveFileLookup", "true").load(folder).repartition(2 * cores)
    rows = files.rdd.mapPartitions(lambda part: embed(model, part))
    features = spark.createDataFrame(rows, ["path", "features"]).cache()
    count = min(components, features.count() - 1)
    scaled = StandardScaler(withMean=True, inputCol="features", outputCol="scaled").fit(features).transform(features)
    PCA(k=count, inputCol="scaled", outputCol="pca").fit(scaled).transform(scaled).write.mode("overwrite").parquet(
        str(out / "spark.parquet")
    )
    spark.stop()


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], Path(sys.argv[3]), int(sys.argv[4]), int(sys.argv[5]))

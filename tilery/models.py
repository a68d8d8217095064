"""Where converted models are kept on a machine or in an image, and how: whole or not at all."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

CACHE = "TILERY_MODELS"
"""Environment variable: the folder in which converted models are kept."""


def cache() -> Path:
    """That folder: TILERY_MODELS, else beside the code, else in the temporary folder."""
    if CACHE in os.environ:
        return Path(os.environ[CACHE])
    beside = Path(__file__).parents[1] / ".cache"
    writable = os.access(beside if beside.exists() else beside.parent, os.W_OK)
    return (beside if writable else Path(tempfile.gettempdir())) / "models"


def keep(path: Path, data: bytes) -> None:
    """Write a model; several workers may do so at once."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile(dir=path.parent, delete=False) as file:
        file.write(data)
    Path(file.name).chmod(0o644)  # an image is built by one user and run by another
    Path(file.name).replace(path)

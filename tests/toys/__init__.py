"""Workloads for tests, made known through the environment as anybody's could be."""

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import pytest

from tilery.registry import EXTRA

SUMS = {EXTRA: json.dumps({"sums": "tests.toys.sums:Sums"})}


@contextmanager
def environment(values: Mapping[str, str]) -> Iterator[None]:
    """Environment variables for a while."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in values.items():
            patch.setenv(name, value)
        yield

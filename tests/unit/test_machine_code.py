"""Kernels are compiled once, kept, and loaded without their compiler; what they are given is checked."""

import importlib
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from tilery import machine_code
from tilery.workloads.pointcloud import compiled

pytest.importorskip("numba")
SUMS = """
import numpy as np
from tilery.machine_code import LONG, VECTORS, Array, called, kernel

from PARTS import scaled

PROCESSORS = tuple(VECTORS)

def _first(values):
    return values[0]

first = {kind: kernel(LONG, Array(kind))(_first) for kind in ("uint8", "int16")}

@called
def twice(value):
    return scaled(value)

@kernel(LONG, Array("int32", 2, readonly=True), LONG, Array("int64"))
def sums(table, plus, into):
    largest = np.int64(-(1 << 62))
    for row in range(table.shape[0]):
        into[row] = plus
        for column in range(table.shape[1]):
            into[row] += twice(np.int64(table[row, column]))
        largest = max(largest, into[row])
    return largest
"""
PARTS = """
from tilery.machine_code import built, called

FACTOR = 2

@built(lambda builder, one, other: builder.mul(one, other), "int64", "int64", "int64")
def product(one, other):
    return one * other

@called
def scaled(value):
    return product(FACTOR, value)
"""
DICE = """
import numpy as np
from tilery.machine_code import NOTHING, Array, kernel

@kernel(NOTHING, Array("float64"))
def dice(values):
    for at in range(len(values)):
        values[at] = np.random.random()
"""


def module_of(source: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The kernels of a source, to be kept beside it."""
    name = f"kernels_{folder.name}"
    (folder / f"{name}.py").write_text(source.replace("PARTS", f"{name}_parts"))
    (folder / f"{name}_parts.py").write_text(PARTS)
    monkeypatch.syspath_prepend(folder)
    monkeypatch.setenv(machine_code.KEPT, str(folder / "kept"))
    return importlib.import_module(name)


def test_a_kernel_does_as_its_source_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    module = module_of(SUMS, tmp_path, monkeypatch)
    path = machine_code.file_of(module)
    path.parent.mkdir()
    path.write_bytes(bytes(100))  # code that is not whole is compiled again
    machine_code.load(module)
    assert [kept.name for kept in path.parent.iterdir()] == [path.name]
    assert len(path.read_bytes()) > 1000
    table, into = np.arange(6, dtype=np.int32).reshape(2, 3), np.zeros(2, np.int64)
    assert module.sums(table, -1, into) == 23
    assert into.tolist() == [5, 23]
    assert [module.first[kind](np.array([7, 1], kind)) for kind in module.first] == [7, 7]
    for wrong in (table.T, table.astype(np.int64), table[0]):
        with pytest.raises(TypeError, match="a kernel takes"):
            module.sums(wrong, 1, into)
    into.flags.writeable = False
    with pytest.raises(TypeError, match="read-only"):
        module.sums(table, 1, into)


def test_a_kernel_that_needs_more_than_itself_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    module = module_of(DICE, tmp_path, monkeypatch)
    for _ in range(2):  # the second time it is known
        with pytest.raises(machine_code.Unusable, match="the kernel dice needs numba_get_np_random_state"):
            machine_code.load(module)
    assert machine_code.refused(module)


def test_other_parts_and_other_processors_are_other_code(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    module = module_of(SUMS, tmp_path, monkeypatch)
    before = machine_code.file_of(module)
    assert len({machine_code.file_of(module, cpu) for cpu in (machine_code.GENERIC, *machine_code.VECTORS)}) == 3
    parts = tmp_path / f"{module.__name__}_parts.py"
    parts.write_text(PARTS.replace("FACTOR = 2", "FACTOR = 3"))
    assert machine_code.file_of(module) != before


def test_where_code_cannot_be_had_points_are_worked_on_without_it(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def refuse(*_: object) -> None:
        raise RuntimeError("no memory that may be executed")

    monkeypatch.setattr(machine_code, "_ENGINES", {})
    monkeypatch.setattr(machine_code, "_REFUSED", {})
    monkeypatch.setattr(machine_code, "_link", refuse)
    for _ in range(2):
        compiled.prepare(10**9)
    [told] = [record.getMessage() for record in caplog.records]
    assert "without compiled kernels" in told
    assert "no memory that may be executed; install numba" in told
    assert compiled.kernels_for(np.zeros(1)) is None


def test_kept_kernels_are_loaded_without_numba() -> None:
    compiled.prepare(10**9)
    script = (
        "import sys\n"
        "from tilery.workloads.pointcloud import compiled\n"
        "compiled.prepare(compiled.LEAST_POINTS)\n"
        "print(compiled.at_hand(), 'numba' in sys.modules)\n"
    )
    assert subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout == "True False\n"


@pytest.mark.parametrize(
    ("points", "there", "keeps", "loads"),
    [
        (1_000, True, True, False),
        (20_000, True, False, True),
        (1_900_000, False, True, False),
        (2_000_000, False, True, True),
        (2_000_000, False, False, False),
        (30_000_000, False, False, True),
    ],
    ids=["few points", "an image that has them", "few for compiling", "a machine that keeps them", "a function", "many points"],
)
def test_kernels_are_loaded_where_that_pays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, points: int, there: bool, keeps: bool, loads: bool
) -> None:
    loaded: list[ModuleType] = []
    (tmp_path / "there").touch()
    monkeypatch.setattr(compiled, "at_hand", lambda: False)
    monkeypatch.setattr(machine_code, "file_of", lambda _: tmp_path / ("there" if there else "missing"))
    monkeypatch.setattr(machine_code, "can_keep", lambda: keeps)
    monkeypatch.setattr(machine_code, "load", loaded.append)
    compiled.prepare(points)
    assert loaded == (list(compiled.MODULES) if loads else [])


def test_no_kernel_without_numba(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine_code, "find_spec", lambda _: None)
    monkeypatch.setattr(compiled, "at_hand", lambda: False)
    monkeypatch.setattr(machine_code, "load", lambda _: pytest.fail("there is nothing to compile with"))
    compiled.prepare(10**9)
    assert compiled.kernels_for(np.zeros(1)) is None

"""Functions that numba compiles once, kept as machine code and loaded without numba.

Importing numba, and what it needs to take up its own cache, costs every worker more than half a CPU-second; machine code is
there in some milliseconds. The kernels of a module become one object file, which llvmlite alone links into the process. It
holds for one source, one numba and one kind of processor, all of which its name tells.

A kernel takes whole numbers and arrays of its caller's, and gives back a whole number. It makes no array, raises nothing and
touches no Python object, so that it needs nothing of numba's and holds no lock. What else numba would link in is refused when
it is compiled. Arrays are checked at each call: machine code trusts what it is given.

It is called as numba calls it: f(result*, exception**, what is given ...), an array being (owner, parent, items, bytes an item,
data, shape ..., strides ...), two pointers and whole numbers of 64 bits.
"""

from __future__ import annotations

import ctypes
import functools
import importlib
import os
import platform
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from hashlib import sha256
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path
from types import FunctionType, ModuleType
from typing import Any, TypeVar, cast

import numpy as np

KEPT = "TILERY_KERNELS"
"""Environment: where an image keeps machine code (containers/NAME/prepare.py). Else it is beside its source."""
CPU = "generic"
"""One code for every machine of an architecture; what newer ones could do besides gains nothing here."""
OPTIONS: dict[str, Any] = {"error_model": "numpy", "boundscheck": False, "_nrt": False}
"""Of numba: divisions are not tested, nor indices, and nothing is allocated or counted."""

F = TypeVar("F", bound=Callable[..., Any])


@dataclass(frozen=True, slots=True)
class Array:
    """An array that a kernel takes: C-contiguous, of this type and number of dimensions."""

    dtype: str
    dimensions: int = 1
    readonly: bool = False

    def flat(self, given: Any) -> tuple[int, ...]:
        """The array as a kernel takes it. Raises `TypeError` for another one."""
        if given.dtype != self.dtype or given.ndim != self.dimensions or not given.flags.c_contiguous:
            raise TypeError(f"a kernel takes {self}, not {given.dtype} of shape {given.shape}")
        if not (self.readonly or given.flags.writeable):
            raise TypeError(f"a kernel writes to {self}, which is read-only")
        return (0, 0, given.size, given.itemsize, given.ctypes.data, *given.shape, *given.strides)


LONG, FLAG, NOTHING = "int64", "boolean", "void"
"""The other types of what kernels take and give back."""


class Kernel:
    """A compiled function, callable once the code of its module is loaded."""

    def __init__(self, function: FunctionType, result: str, takes: tuple[str | Array, ...]) -> None:
        functools.update_wrapper(self, function)
        self.function, self.result, self.takes = function, result, takes
        self._code: Any = None

    def bind(self, address: int) -> None:
        numbers = sum(5 + 2 * one.dimensions if isinstance(one, Array) else 1 for one in self.takes)
        types = [ctypes.c_void_p] * 2 + [ctypes.c_int64] * numbers
        self._code = ctypes.CFUNCTYPE(ctypes.c_int32, *types)(address)  # lets go of the interpreter's lock while it runs

    def __call__(self, *given: Any) -> int:
        flat = list[int]()
        for one, value in zip(self.takes, given, strict=True):
            flat += one.flat(value) if isinstance(one, Array) else (int(value),)
        result, exception = ctypes.c_int64(0), ctypes.c_void_p()
        if self._code(ctypes.byref(result), ctypes.byref(exception), *flat):
            raise ValueError(f"{self.function.__name__} was given arrays that do not fit together")
        return result.value


_PARTS: dict[FunctionType, bool] = {}
"""What kernels call, and whether it is copied into them."""


def kernel(result: str, *takes: str | Array) -> Callable[[F], F]:
    """A function that is kept as machine code, for arguments of these types."""

    def kept(function: F) -> F:
        return cast(F, Kernel(cast(FunctionType, function), result, takes))

    return kept


def called(function: F) -> F:
    """A part of kernels, called by them."""
    _PARTS[cast(FunctionType, function)] = False
    return function


def inlined(function: F) -> F:
    """A part of kernels, copied into each of them."""
    _PARTS[cast(FunctionType, function)] = True
    return function


_ENGINES: dict[str, Any] = {}
"""The loaded modules, and what holds their code."""


def possible() -> bool:
    """Whether there is numba."""
    return find_spec("numba") is not None


def loaded(module: ModuleType) -> bool:
    """Whether the kernels of a module can be called."""
    return module.__name__ in _ENGINES


def file_of(module: ModuleType) -> Path:
    """The file for the machine code of a module, which may not be there yet."""
    source = Path(cast(str, module.__file__))
    versions = [metadata.version(package) for package in ("numba", "llvmlite")]
    told = "\n".join([*versions, sys.platform, platform.machine(), CPU]).encode()
    key = sha256(b"\0".join([told, Path(__file__).read_bytes(), source.read_bytes()])).hexdigest()
    return _folder() / f"{source.stem}-{key[:20]}.o"


def can_keep() -> bool:
    """Whether machine code can be kept."""
    folder = _folder()
    return os.access(folder if folder.exists() else folder.parent, os.W_OK)


def _folder() -> Path:
    return Path(os.environ[KEPT]) if os.environ.get(KEPT) else Path(__file__).parent / "__pycache__"


def load(module: ModuleType) -> None:
    """Make the kernels of a module callable; compiles them, in seconds, where they are not kept."""
    if loaded(module):
        return
    path = file_of(module)
    code = path.read_bytes() if path.exists() else _compiled(module, path)
    llvm = _llvm()
    machine = _machine(llvm)
    engine = llvm.create_mcjit_compiler(llvm.parse_assembly(""), machine)
    engine.add_object_file(llvm.ObjectFileRef.from_data(code))
    engine.finalize_object()
    for one in _kernels(module):
        one.bind(engine.get_function_address(_symbol(one)))
    _ENGINES[module.__name__] = engine


def _llvm() -> Any:
    llvm = importlib.import_module("llvmlite.binding")
    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()
    return llvm


def _machine(llvm: Any) -> Any:
    target = llvm.Target.from_default_triple()
    fixed = "static" if target.name.startswith("x86") else "default"
    return target.create_target_machine(cpu=CPU, opt=3, reloc=fixed, codemodel="jitdefault", jit=True)


def _kernels(module: ModuleType) -> Iterator[Kernel]:
    return (one for one in vars(module).values() if isinstance(one, Kernel))


def _symbol(one: Kernel) -> str:
    return f"tilery_{one.function.__name__}"


def _compiled(module: ModuleType, path: Path) -> bytes:
    """The machine code of a module, kept if it can be. A process of its own makes it, as numba looks once at what the processor
    is, and a worker would have all of numba in its memory. Raises `ValueError` for a kernel that cannot be compiled."""
    search = os.pathsep.join(one for one in sys.path if one)
    environment = os.environ | {"NUMBA_CPU_NAME": CPU, "NUMBA_CPU_FEATURES": "", "PYTHONPATH": search}
    keeps = can_keep()
    if keeps:
        path.parent.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(dir=path.parent if keeps else None) as folder:
        made = Path(folder) / path.name
        script = f"import sys; from {__name__} import write; write(*sys.argv[1:])"
        command = [sys.executable, "-c", script, module.__name__, str(made)]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        if done.returncode:
            raise ValueError(f"the kernels of {module.__name__} cannot be compiled:\n{done.stderr}")
        code = made.read_bytes()
        if keeps:
            os.replace(made, path)  # whole or not at all
    return code


def write(name: str, path: str) -> None:
    """Write the object file of all kernels of the module of this name, as numba's environment tells it."""
    module = importlib.import_module(name)
    llvm, numba, compiler = _llvm(), importlib.import_module("numba"), importlib.import_module("numba.core.compiler")
    cpu = importlib.import_module("numba.core.registry").cpu_target

    def type_of(one: str | Array) -> Any:
        if isinstance(one, str):
            return getattr(numba.types, one)
        return numba.types.Array(getattr(numba.types, np.dtype(one.dtype).name), one.dimensions, "C", readonly=one.readonly)

    names = dict(vars(module))

    def again(function: FunctionType) -> FunctionType:
        return FunctionType(function.__code__, names, function.__name__, function.__defaults__)

    for name, value in vars(module).items():
        if isinstance(value, FunctionType) and value in _PARTS:
            names[name] = numba.njit(**OPTIONS, forceinline=_PARTS[value])(again(value))
    flags = compiler.Flags()
    flags.error_model, flags.boundscheck, flags.nrt = OPTIONS["error_model"], OPTIONS["boundscheck"], OPTIONS["_nrt"]
    flags.no_cpython_wrapper = flags.no_cfunc_wrapper = True
    parts = []
    for one in _kernels(module):
        function, takes, result = again(one.function), tuple(map(type_of, one.takes)), type_of(one.result)
        made = compiler.compile_extra(cpu.typing_context, cpu.target_context, function, takes, result, flags, {})
        part = llvm.parse_assembly(made.library.get_llvm_str())
        part.get_function(made.fndesc.llvm_func_name).name = _symbol(one)
        strangers = [one.name for one in part.functions if one.is_declaration and not one.name.startswith("llvm.")]
        if strangers:
            raise TypeError(f"the kernel {one.function.__name__} needs {', '.join(strangers)}, which are numba's or Python's")
        parts.append(part)
    for part in parts[1:]:
        parts[0].link_in(part)
    Path(path).write_bytes(_machine(llvm).emit_object(parts[0]))

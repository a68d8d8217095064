"""Functions that numba compiles once, kept as machine code and loaded without numba.

Importing numba, and what it needs to take up its own cache, costs every worker more than half a CPU-second; machine code is
there in some milliseconds. The kernels of a module become one object file, which llvmlite alone links into the process when
the first of them is called. It holds for one source, one numba and one kind of processor, all of which its name tells.

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
import inspect
import os
import platform
import subprocess
import sys
import tempfile
import threading
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
GENERIC = "generic"
VECTORS: dict[str, tuple[str, ...]] = {
    "x86-64-v4": ("avx512f", "avx512bw", "avx512cd", "avx512dq", "avx512vl"),
    "x86-64-v3": ("avx2", "bmi", "bmi2", "f16c", "fma", "lzcnt", "movbe"),
}
"""Kinds of x86 processors, the best first, and what tells them. A kernel gives the same bits on all of them: nothing is
reordered or fused."""
FEATURES = "-prefer-256-bit"
"""Else LLVM leaves half of AVX-512's width unused."""
PROCESSORS = "PROCESSORS"
"""A module whose kernels gain from wide vectors has `PROCESSORS = tuple(machine_code.VECTORS)`; else one code is made for
every machine of an architecture."""
OPTIONS: dict[str, Any] = {"error_model": "numpy", "boundscheck": False, "_nrt": False}
"""Of numba: divisions are not tested, nor indices, and nothing is allocated or counted."""
DIGEST = 32
"""Bytes before kept machine code: its SHA-256."""

LAST_WORDS = 2000
"""Characters of what a compiler says that are told: the reason is at the end."""

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


class Unusable(RuntimeError):
    """Kernels can be neither loaded nor compiled here. Says why and what to do."""


class Kernel:
    """A compiled function; its module's code is loaded when it is first called, unless it was before."""

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
        if self._code is None:
            load(sys.modules[self.function.__module__])
        result, exception = ctypes.c_int64(0), ctypes.c_void_p()
        if self._code(ctypes.byref(result), ctypes.byref(exception), *flat):
            raise ValueError(f"{self.function.__name__} was given arrays that do not fit together")
        return result.value


@dataclass(frozen=True, slots=True)
class _Part:
    """How a function becomes part of kernels: copied into them or called by them; or built, from numbers of these types."""

    inline: bool = False
    result: str = ""
    takes: tuple[str, ...] = ()
    build: Callable[..., Any] | None = None


_PARTS: dict[FunctionType, _Part] = {}
"""What kernels call."""


def kernel(result: str, *takes: str | Array) -> Callable[[F], F]:
    """A function that is kept as machine code, for arguments of these types. A module's variable holds it, or a dictionary of
    them, where one function becomes several kernels, each for other types."""

    def kept(function: F) -> F:
        return cast(F, Kernel(cast(FunctionType, function), result, takes))

    return kept


def called(function: F) -> F:
    """A part of kernels, called by them."""
    _PARTS[cast(FunctionType, function)] = _Part()
    return function


def inlined(function: F) -> F:
    """A part of kernels, copied into each of them."""
    _PARTS[cast(FunctionType, function)] = _Part(inline=True)
    return function


def built(build: Callable[..., Any], result: str, *takes: str) -> Callable[[F], F]:
    """A part of kernels that cannot be said in Python: `build` takes a builder of llvmlite and what is given, and gives back
    the result. The function is what it means."""

    def noted(function: F) -> F:
        _PARTS[cast(FunctionType, function)] = _Part(True, result, takes, build)
        return function

    return noted


_ENGINES: dict[str, Any] = {}
"""The loaded modules, and what holds their code."""
_LOADING = threading.Lock()
"""One thread at a time: what another one loads must not take the place of code that runs."""
_REFUSED: dict[str, str] = {}
"""The modules that cannot be loaded, and why: told once more when they are asked for again."""


def possible() -> bool:
    """Whether there is numba."""
    return find_spec("numba") is not None


def loaded(module: ModuleType) -> bool:
    """Whether the kernels of a module can be called."""
    return module.__name__ in _ENGINES


def refused(module: ModuleType) -> bool:
    """Whether they could not be loaded when somebody tried."""
    return module.__name__ in _REFUSED


def file_of(module: ModuleType, cpu: str = "") -> Path:
    """The file for the machine code of a module, for one kind of processor or for this one; it may not be there yet."""
    versions = [metadata.version(package) for package in ("numba", "llvmlite")]
    told = [*versions, sys.platform, platform.machine(), cpu or _this(module)]
    key = sha256(b"\0".join(["\n".join(told).encode(), Path(__file__).read_bytes(), *_made_of(module)])).hexdigest()
    return _folder() / f"{module.__name__.rpartition('.')[2]}-{key[:20]}.o"


def _made_of(module: ModuleType) -> Iterator[bytes]:
    """The sources of a module and of those that its parts come from, and the numbers that it has from elsewhere."""
    of, modules = [module.__name__], dict[str, bytes]()
    while of:
        name = of.pop()
        if name not in modules:
            names = vars(sys.modules[name])
            numbers = sorted((key, value) for key, value in names.items() if isinstance(value, int | float))
            modules[name] = Path(names["__file__"]).read_bytes() + repr(numbers).encode()
            of += [one.__module__ for one in names.values() if isinstance(one, FunctionType) and one in _PARTS]
    return (modules[name] for name in sorted(modules))


def can_keep() -> bool:
    """Whether machine code can be kept."""
    folder = _folder()
    return os.access(folder if folder.exists() else folder.parent, os.W_OK)


def _folder() -> Path:
    return Path(os.environ[KEPT]) if os.environ.get(KEPT) else Path(__file__).parent / "__pycache__"


def load(module: ModuleType) -> None:
    """Make the kernels of a module callable; compiles them, in seconds, where they are not kept. Raises `Unusable`."""
    with _LOADING:
        if loaded(module):
            return
        if refused(module):
            raise Unusable(_REFUSED[module.__name__])
        try:
            cpu = _this(module)
            path = file_of(module, cpu)
            _link(module, _read(path) or _compiled(module, path, cpu), cpu)
        except (OSError, RuntimeError, ImportError) as error:
            _REFUSED[module.__name__] = (
                f"the compiled kernels of {module.__name__} cannot be had on this machine ({platform.machine()}): {error}; "
                f"install numba and llvmlite as pinned in constraints.txt, and let {KEPT} name a folder that can be written to"
            )
            raise Unusable(_REFUSED[module.__name__]) from error


def prepare(module: ModuleType) -> None:
    """Keep the machine code of a module for every kind of processor that it is made for: while an image is built."""
    for cpu in {GENERIC, *_kinds(module)}:
        path = file_of(module, cpu)
        if not _read(path):
            _compiled(module, path, cpu)


def _read(path: Path) -> bytes:
    """Machine code as it was kept; nothing if it is not there or not whole: what runs must be what was written."""
    stored = path.read_bytes() if path.exists() else b""
    return stored[DIGEST:] if sha256(stored[DIGEST:]).digest() == stored[:DIGEST] else b""


def _link(module: ModuleType, code: bytes, cpu: str) -> None:
    llvm = _llvm()
    engine = llvm.create_mcjit_compiler(llvm.parse_assembly(""), _machine(llvm, cpu))
    engine.add_object_file(llvm.ObjectFileRef.from_data(code))
    engine.finalize_object()
    for name, one in _kernels(module):
        one.bind(engine.get_function_address(_symbol(name)))
    _ENGINES[module.__name__] = engine


def _llvm() -> Any:
    llvm = importlib.import_module("llvmlite.binding")
    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()
    return llvm


def _machine(llvm: Any, cpu: str) -> Any:
    target = llvm.Target.from_default_triple()
    fixed = "static" if target.name.startswith("x86") else "default"
    return target.create_target_machine(
        cpu=cpu, features=FEATURES if cpu in VECTORS else "", opt=3, reloc=fixed, codemodel="jitdefault", jit=True
    )


def _kinds(module: ModuleType) -> tuple[str, ...]:
    wanted: tuple[str, ...] = getattr(module, PROCESSORS, ())
    return wanted if platform.machine().lower() in ("x86_64", "amd64") else ()


def _this(module: ModuleType) -> str:
    """The best kind of processor that this one is, of those that a module's kernels are made for."""
    kinds = _kinds(module)
    known = _llvm().get_host_cpu_features() if kinds else {}
    return next((kind for kind in kinds if all(known.get(feature) for feature in VECTORS[kind])), GENERIC)


def _kernels(module: ModuleType) -> Iterator[tuple[str, Kernel]]:
    for name, value in vars(module).items():
        for key, one in value.items() if isinstance(value, dict) else [("", value)]:
            if isinstance(one, Kernel) and one.function.__module__ == module.__name__:
                yield f"{name}_{key}" if key else name, one


def _symbol(name: str) -> str:
    return f"tilery_{name}"


def _compiled(module: ModuleType, path: Path, cpu: str) -> bytes:
    """The machine code of a module, kept if it can be. A process of its own makes it, as numba looks once at what the processor
    is, and a worker would have all of numba in its memory. Raises `Unusable` for a kernel that cannot be compiled."""
    search = os.pathsep.join(one or os.getcwd() for one in sys.path)
    environment = os.environ | {
        "NUMBA_CPU_NAME": cpu,
        "NUMBA_CPU_FEATURES": FEATURES if cpu in VECTORS else "",
        "PYTHONPATH": search,
    }
    keeps = can_keep()
    if keeps:
        path.parent.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(dir=path.parent if keeps else None) as folder:
        made = Path(folder) / path.name
        script = f"import sys; from {__name__} import write; write(*sys.argv[1:])"
        command = [sys.executable, "-P", "-c", script, module.__name__, str(made), cpu]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        if done.returncode:
            why = done.stderr.strip()[-LAST_WORDS:] or f"the compiler ended with {done.returncode} (is there enough memory?)"
            raise Unusable(f"compiling failed: {why}")
        stored = made.read_bytes()
        if keeps:
            os.replace(made, path)  # whole or not at all
    return stored[DIGEST:]


def write(name: str, path: str, cpu: str) -> None:
    """Write the object file of all kernels of the module of this name, as numba's environment tells it, behind its digest."""
    module = importlib.import_module(name)
    llvm, numba, compiler = _llvm(), importlib.import_module("numba"), importlib.import_module("numba.core.compiler")
    target = importlib.import_module("numba.core.registry").cpu_target
    parts = _Parts(numba)

    def type_of(one: str | Array) -> Any:
        if isinstance(one, str):
            return getattr(numba.types, one)
        return numba.types.Array(getattr(numba.types, np.dtype(one.dtype).name), one.dimensions, "C", readonly=one.readonly)

    flags = compiler.Flags()
    flags.error_model, flags.boundscheck, flags.nrt = OPTIONS["error_model"], OPTIONS["boundscheck"], OPTIONS["_nrt"]
    flags.no_cpython_wrapper = flags.no_cfunc_wrapper = True
    codes = []
    for name, one in _kernels(module):
        function, takes, result = parts.again(one.function), tuple(map(type_of, one.takes)), type_of(one.result)
        made = compiler.compile_extra(target.typing_context, target.target_context, function, takes, result, flags, {})
        code = llvm.parse_assembly(made.library.get_llvm_str())
        code.get_function(made.fndesc.llvm_func_name).name = _symbol(name)
        strangers = [one.name for one in code.functions if one.is_declaration and not one.name.startswith("llvm.")]
        if strangers:
            raise TypeError(f"the kernel {name} needs {', '.join(strangers)}, which are numba's or Python's")
        codes.append(code)
    for code in codes[1:]:
        codes[0].link_in(code)
    objects = _machine(llvm, cpu).emit_object(codes[0])
    Path(path).write_bytes(sha256(objects).digest() + objects)


class _Parts:
    """Functions as numba is to see them: what they call is compiled too, by the names that it has in their own module."""

    def __init__(self, numba: Any) -> None:
        self._numba = numba
        self._names: dict[int, dict[str, Any]] = {}
        self._made: dict[FunctionType, Any] = {}

    def again(self, function: FunctionType) -> FunctionType:
        """A function among compiled parts."""
        return FunctionType(function.__code__, self._seen(function), function.__name__, function.__defaults__)

    def _seen(self, function: FunctionType) -> dict[str, Any]:
        there = function.__globals__
        if id(there) not in self._names:
            names = self._names[id(there)] = dict(there)
            names |= {name: self._part(one) for name, one in there.items() if isinstance(one, FunctionType) and one in _PARTS}
        return self._names[id(there)]

    def _part(self, function: FunctionType) -> Any:
        ready, how = self.again(function), _PARTS[function]
        if function not in self._made:
            build = how.build
            self._made[function] = (
                self._built(function, how, build) if build else self._numba.njit(**OPTIONS, forceinline=how.inline)(ready)
            )
        return self._made[function]

    def _built(self, function: FunctionType, how: _Part, build: Callable[..., Any]) -> Any:
        types = self._numba.types
        signature = getattr(types, how.result)(*[getattr(types, one) for one in how.takes])

        def typed(typing: Any, *given: Any) -> Any:
            return signature, lambda context, builder, signed, values: build(builder, *values)

        first, *_ = inspect.signature(typed).parameters.values()
        rest = inspect.signature(function).parameters.values()
        typed.__signature__ = inspect.Signature([first, *rest])  # type: ignore[attr-defined]
        return self._numba.extending.intrinsic(typed)

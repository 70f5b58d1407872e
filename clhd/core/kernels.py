"""Decorators that compile kernels with numba, and the two bit casts that vector code needs.

numba's cache on disk looks only at the date of the file that defines a function. A kernel that inlines a formula from
another file would stay in the cache when that formula changes. Here the key is the contents of *all* files from which a
kernel may inline, and each file says for which types it was compiled: processes that compile at the same time, such as
cluster jobs with one home directory, may overwrite each other's files.

| kernel in | is compiled again if one of these changes |
|---|---|
| clhd/core, clhd/systems | all files of both |
| another package | these, and all files of that package |
| a single file | these, and all Python files in its folder |

The cache is the folder NUMBA_CACHE_DIR, else ``__pycache__`` beside the file, else a folder in the user's home. If none
of them can be written, it is a temporary folder, which this process and those that it starts share until its end.
"""

import atexit
import os
import shutil
import sys
import tempfile
from collections.abc import Callable
from contextlib import suppress
from functools import cache
from hashlib import blake2b
from pathlib import Path
from typing import Any, TypeVar, cast

from llvmlite import ir
from llvmlite.binding import Linkage
from numba import config as _config
from numba import float64, njit, uint64
from numba.core.caching import IndexDataCacheFile
from numba.core.codegen import JITCodeLibrary
from numba.core.typing.templates import Signature
from numba.extending import intrinsic

from clhd.errors import InputError

_settings: Any = _config  # numba makes its attributes from variables of the environment
if _settings.DISABLE_JIT:
    raise InputError("NUMBA_DISABLE_JIT=1: kernels work only compiled; unset this variable")

# A compiled function keeps the type of its Python function: mypy checks calls of kernels like any others.
Function = TypeVar("Function", bound=Callable[..., Any])


def _keep_callees_apart(library: JITCodeLibrary) -> None:
    """Give compiled code its own copies of the functions that it calls, then optimise it.

    In numba 0.68 a compiled kernel carries copies of its callees as weak symbols, each optimised in its own way, and
    all callers in a process use the copy that was loaded first. The last bits of a result therefore depended on what
    the process had loaded before. Worse, a symbol names a record type by a counter of the process. Two processes that
    compiled kernels for different record types at the same time gave their callees the same names, and a process that
    loaded both kernels from the cache silently computed wrong numbers.
    """
    for function in library._final_module.functions:
        is_copy = not function.is_declaration and function.linkage == Linkage.linkonce_odr
        if is_copy and function.name.startswith("_ZN"):  # numba's mangled names: compiled from Python
            function.linkage = Linkage.internal
    _optimize(library)


_optimize: Callable[[Any], None] = JITCodeLibrary._optimize_final_module
JITCodeLibrary._optimize_final_module = _keep_callees_apart  # type: ignore[method-assign,assignment]


_OWN = ("clhd.core.", "clhd.systems.")


@cache
def source_stamp(module: str = __name__, file: str = __file__) -> str:
    """Return the digest of all files from which a kernel of a module, in a file, may inline; see the table above."""
    digest = _digest_own().copy()
    if not module.startswith(_OWN):
        digest.update(module.encode())  # of a system in a file beside an experiment, it names the text that runs
        for path in _list_neighbours(module, Path(file)):
            digest.update(path.read_bytes())
    return digest.hexdigest()


@cache
def _digest_own() -> blake2b:
    """The digest of clhd/core and clhd/systems: all modules with kernels share it, and reading takes milliseconds."""
    package = Path(__file__).parents[1]
    digest = blake2b(digest_size=16)
    for layer in ("core", "systems"):
        for path in sorted((package / layer).rglob("*.py")):
            digest.update(path.read_bytes())
    return digest


def _list_neighbours(module: str, file: Path) -> list[Path]:
    """The files of a module's package, or of its folder if it has none."""
    main = getattr(sys.modules.get(module), "__spec__", None)  # of python -m PACKAGE.MODULE, it has the real name
    name: str = main.name if main is not None else module
    package = sys.modules.get(name.partition(".")[0])
    folders = list(getattr(package, "__path__", ()))
    if folders:
        return [path for folder in folders for path in sorted(Path(folder).rglob("*.py"))]
    return sorted(file.parent.glob("*.py"))


class _CheckedCacheFile(IndexDataCacheFile):
    """A file of machine code that records its source and its types, and is not loaded for others.

    numba numbers these files in an index. Two processes may read the index before either has written it; an entry can
    then name code for other types or another processor, or, if a process was killed, code of an older source.
    """

    def save(self, key: Any, data: Any) -> None:
        with suppress(OSError):  # a full disk costs time in the next run, and no result in this one
            super().save(key, (self._source_stamp, key, data))  # type: ignore[no-untyped-call]

    def load(self, key: Any) -> Any:
        try:
            held: Any = super().load(key)  # type: ignore[no-untyped-call]
        except Exception:  # a file that may not be read, or was cut off: numba raises anything
            return None
        return held[2] if held is not None and held[:2] == (self._source_stamp, key) else None


def _compile(function: Callable[..., Any], *, cached: bool) -> Any:
    return njit(function, nogil=True, cache=cached, error_model="numpy", fastmath={"contract"})


def _compile_cached(function: Callable[..., Any]) -> Any:
    """A compiled function whose code is kept on disk; in a temporary folder if there is no other place."""
    try:
        return _compile(function, cached=True)
    except RuntimeError as error:  # numba 0.68: cannot cache function, no locator available
        if "no locator" not in str(error):
            raise
    _make_temporary_cache()
    return _compile(function, cached=True)


def _make_temporary_cache() -> None:
    """Have numba keep compiled code in a temporary folder, in this process and those that it starts."""
    folder = tempfile.mkdtemp(prefix="clhd-kernels-")
    process = os.getpid()

    def remove() -> None:
        if os.getpid() == process:  # a copy of this process made by fork must leave the folder
            shutil.rmtree(folder, ignore_errors=True)

    atexit.register(remove)
    _settings.CACHE_DIR = os.environ["NUMBA_CACHE_DIR"] = folder
    print(  # noqa: T201
        "compiled kernels cannot be kept, since neither the folder of clhd nor your home can be written: each run "
        "compiles them again, for some 20 s. To keep them, set NUMBA_CACHE_DIR to a folder of yours.",
        file=sys.stderr,
        flush=True,
    )


def kernel(function: Function) -> Function:
    """Compile `function`: without the GIL, without exceptions for division by zero, cached on disk.

    Of the fast-math flags only "contract" (fused multiply-add) is set: re-association would destroy the rounding
    tricks of `clhd.core.vector_math`.
    """
    file = function.__code__.co_filename
    has_file = Path(file).is_file()  # a worker elsewhere may have the text of a system, but not its file
    compiled = _compile_cached(function) if has_file else _compile(function, cached=False)
    if has_file:
        # Change the class of the existing object: only numba has the arguments of its constructor.
        compiled._cache._cache_file.__class__ = _CheckedCacheFile
        compiled._cache._cache_file._source_stamp = source_stamp(function.__module__, file)
    return cast("Function", compiled)


def inlined(function: Function) -> Function:
    """Compile a small scalar `function` so that it is always inlined: a call would keep a loop from vectorising."""
    compiled = njit(function, nogil=True, forceinline=True, error_model="numpy", fastmath={"contract"})
    return cast("Function", compiled)


def _float_to_bits(typing_context: Any, x: Any) -> tuple[Signature, Callable[..., Any]]:
    """Reinterpret the 64 bits of a float64 as a uint64."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.bitcast(arguments[0], ir.IntType(64))

    return uint64(float64), generate


def _bits_to_float(typing_context: Any, x: Any) -> tuple[Signature, Callable[..., Any]]:
    """Reinterpret the 64 bits of a uint64 as a float64."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.bitcast(arguments[0], ir.DoubleType())

    return float64(uint64), generate


# Inside a kernel an intrinsic is called without `typing_context`. The bits are typed Any: mypy has no arithmetic for
# the unsigned numpy numbers that kernels mix them with.
float_to_bits: Callable[[float], Any] = cast("Any", intrinsic(_float_to_bits))
bits_to_float: Callable[[Any], float] = cast("Any", intrinsic(_bits_to_float))

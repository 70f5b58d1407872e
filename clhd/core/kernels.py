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

import os
import sys
from collections.abc import Callable
from functools import cache, update_wrapper
from hashlib import blake2b
from pathlib import Path
from threading import RLock
from typing import Any, TypeVar, cast

from clhd.errors import InputError

# A compiled function keeps the type of its Python function: mypy checks calls of kernels like any others.
Function = TypeVar("Function", bound=Callable[..., Any])
_LOCK = RLock()
# numba would tell only when the first kernel is called, and takes long to import.
if os.environ.get("NUMBA_DISABLE_JIT", "0") not in {"", "0"}:
    raise InputError("NUMBA_DISABLE_JIT=1: kernels work only compiled; unset this variable")


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


class _Later:
    """Stands for a compiled function, which is made when Python calls it or a kernel that names it is compiled."""

    def __init__(self, make: Callable[[], Any]) -> None:
        self._make, self._made = make, None

    @property
    def _compiled(self) -> Any:
        if self._made is None:
            with _LOCK:
                self._made = self._make() if self._made is None else self._made
        return self._made

    def __call__(self, *arguments: Any) -> Any:
        return self._compiled(*arguments)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return getattr(self._compiled, name)

    @property
    def _numba_type_(self) -> Any:  # numba asks any object for it
        from clhd.core.machine_code import find_type  # noqa: PLC0415 (it imports numba)

        return find_type(self._compiled)


def kernel(function: Function) -> Function:
    """Compile `function`: without the GIL, without exceptions for division by zero, cached on disk.

    Of the fast-math flags only "contract" (fused multiply-add) is set: re-association would destroy the rounding
    tricks of `clhd.core.vector_math`.
    """
    file = function.__code__.co_filename
    # Now, while the files are those that were imported. A worker elsewhere may have the text of a system, but no file.
    stamp = source_stamp(function.__module__, file) if Path(file).is_file() else ""

    def make() -> Any:
        from clhd.core.machine_code import compile_kernel  # noqa: PLC0415 (it imports numba)

        return compile_kernel(function, stamp)

    later = _Later(make)
    if stamp and not _can_keep_code(Path(file).parent / "__pycache__"):
        _ = later._compiled  # now: the folder that it finds is told to the processes that this one starts
    return cast("Function", update_wrapper(later, function))


@cache
def _can_keep_code(folder: Path) -> bool:
    """Return True if numba can keep code in NUMBA_CACHE_DIR, or in the folder beside a file."""
    if os.environ.get("NUMBA_CACHE_DIR"):
        return True
    return os.access(folder, os.W_OK) if folder.is_dir() else not folder.exists() and os.access(folder.parent, os.W_OK)


def inlined(function: Function) -> Function:
    """Compile a small scalar `function` so that it is always inlined: a call would keep a loop from vectorising."""

    def make() -> Any:
        from clhd.core.machine_code import compile_inlined  # noqa: PLC0415 (it imports numba)

        return compile_inlined(function)

    return cast("Function", update_wrapper(_Later(make), function))


def _cast(name: str) -> Any:
    def make() -> Any:
        from clhd.core import machine_code  # noqa: PLC0415 (it imports numba)

        return getattr(machine_code, name)

    return _Later(make)


# Inside a kernel an intrinsic is called without `typing_context`. The bits are typed Any: mypy has no arithmetic for
# the unsigned numpy numbers that kernels mix them with.
float_to_bits: Callable[[float], Any] = _cast("float_to_bits")
bits_to_float: Callable[[Any], float] = _cast("bits_to_float")


# A kernel that calls another one holds a copy of it, and numba optimises the copy once more. Inside a kernel,
# `call_at(pointer, arguments, like)` calls a long one without a copy; what it returns has the type of `like`.
Pointer = tuple[int, int]  # of this process: the address of machine code, and a number for the types of its arguments
call_at: Callable[[Pointer, tuple[Any, ...], Any], Any] = _cast("call_at")


def find_pointer(compiled: Callable[..., Any], *examples: Any) -> Pointer:
    """Return the pointer to the code of a kernel for arguments of the types of these examples."""
    from clhd.core import machine_code  # noqa: PLC0415 (it imports numba)

    return machine_code.find_pointer(compiled, *examples)

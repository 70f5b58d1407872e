"""What of numba the decorators of `kernels.py` need: compilation, code on disk that is checked, bit casts.

numba takes longer to import than most commands to run, so `kernels.py` imports this module when a kernel is called.
"""

import atexit
import fcntl
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from functools import cache
from hashlib import blake2b
from pathlib import Path
from typing import Any

from llvmlite import ir
from llvmlite.binding import Linkage
from numba import config as _config
from numba import float64, njit, typeof, uint64
from numba.core import cgutils as _cgutils
from numba.core.caching import IndexDataCacheFile
from numba.core.codegen import JITCodeLibrary
from numba.core.compiler_lock import global_compiler_lock
from numba.core.registry import CPUDispatcher, cpu_target
from numba.core.typing.templates import Signature
from numba.extending import intrinsic

from clhd.errors import InputError

# The file of the locks in a folder of machine code; seconds between two looks at a lock, and of the longest wait.
_LOCKS, _LOOK_SECONDS, _LONGEST_WAIT = "clhd.locks", 0.005, 300.0
_build: Any = _cgutils
_typeof: Any = typeof
_settings: Any = _config  # numba makes its attributes from variables of the environment
if _settings.DISABLE_JIT:  # by its own file of settings; `kernels.py` looks at the variable
    raise InputError(".numba_config.yaml: disable_jit: kernels work only compiled; remove this key")


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


class _SharedDispatcher(CPUDispatcher):
    """A compiled function that one process compiles while others, which want the same code, wait for it."""

    _cache: Any
    _source_stamp: str

    def compile(self, sig: Any) -> Any:
        """Compile for a signature, or load what another process has compiled meanwhile."""
        # numba's lock comes first: two threads of a process would not wait for each other's file locks.
        with global_compiler_lock, _hold(Path(self._cache.cache_path), f"{self._source_stamp} {sig}"):
            return super().compile(sig)


@contextmanager
def _hold(folder: Path, name: str) -> Iterator[None]:
    """Hold the lock of a name against other processes; without it if the folder has no locks, or after a long wait.

    A lock is a byte of one file, so that no files are left over, and ends with its process.
    """
    place = int.from_bytes(blake2b(name.encode(), digest_size=7).digest())
    file = _open_locks(folder)
    end = time.monotonic() + _LONGEST_WAIT
    with suppress(OSError):
        while file is not None and time.monotonic() < end:
            try:
                fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, place)
            except (BlockingIOError, PermissionError):  # another process has it
                time.sleep(_LOOK_SECONDS)
            else:
                break
    try:
        yield
    finally:
        if file is not None:
            with suppress(OSError):
                fcntl.lockf(file, fcntl.LOCK_UN, 1, place)


@cache
def _open_locks(folder: Path) -> int | None:
    """The file of the locks of a folder; a process that closed it would lose all its locks there."""
    with suppress(OSError):
        return os.open(folder / _LOCKS, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
    return None


# Without the code that C would call: nothing does, and it takes a tenth of the time to compile.
_OPTIONS: dict[str, Any] = {"nogil": True, "error_model": "numpy", "fastmath": {"contract"}, "no_cfunc_wrapper": True}


def _compile(function: Callable[..., Any], *, cached: bool) -> Any:
    # numba 0.68 forces a function inline if the caller that it is first compiled for is, and the options do not say no.
    # Its bits, and the time to compile all its callers, would depend on what a process calls first.
    return njit(function, cache=cached, forceinline=False, **_OPTIONS)


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
        "compiles them again, for up to two minutes. To keep them, set NUMBA_CACHE_DIR to a folder of yours.",
        file=sys.stderr,
        flush=True,
    )


def compile_kernel(function: Callable[..., Any], stamp: str) -> Any:
    """Return a compiled function whose code is kept on disk under a stamp; of an empty one, none is kept."""
    if not stamp:
        return _compile(function, cached=False)
    compiled = _compile_cached(function)
    # Change the class of the existing object: only numba has the arguments of its constructor.
    compiled._cache._cache_file.__class__ = _CheckedCacheFile
    compiled._cache._cache_file._source_stamp = compiled._source_stamp = stamp
    compiled.__class__ = _SharedDispatcher
    return compiled


def compile_inlined(function: Callable[..., Any]) -> Any:
    """Return a compiled function that callers always inline."""
    return njit(function, forceinline=True, **_OPTIONS)


def find_type(compiled: Any) -> Any:
    """Return the type that numba gives to a compiled function or an intrinsic where a kernel names it."""
    cpu_target.typing_context.refresh()  # it may be newer than what numba has registered
    return cpu_target.typing_context.resolve_value_type(compiled)


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


float_to_bits, bits_to_float = intrinsic(_float_to_bits), intrinsic(_bits_to_float)


def find_pointer(compiled: Any, *examples: Any) -> tuple[int, int]:
    """Return the pointer to the code of a kernel for arguments of the types of these examples, for `call_at`."""
    kinds = tuple(_typeof(example) for example in examples)
    if kinds not in compiled.overloads:
        compiled.compile(kinds)
    result = compiled.overloads[kinds]
    return result.library.get_pointer_to_function(result.fndesc.llvm_func_name), _number_types(kinds)


def _number_types(kinds: Iterable[Any]) -> int:
    """A number for the types of some arguments."""
    return int.from_bytes(blake2b(repr([str(kind) for kind in kinds]).encode(), digest_size=7).digest())


def _call_at(typing_context: Any, pointer: Any, arguments: Any, like: Any) -> tuple[Signature, Callable[..., Any]]:
    """Call the kernel at a pointer with a tuple of arguments; `like` has the type of what it returns."""
    kinds = tuple(arguments)

    def generate(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        address, number = _build.unpack_tuple(builder, values[0])
        expected = ir.Constant(number.type, _number_types(kinds))
        with _build.if_unlikely(builder, builder.icmp_unsigned("!=", number, expected)):
            context.call_conv.return_user_exc(builder, TypeError, (f"a pointer to a kernel for other types: {kinds}",))
        function = builder.inttoptr(address, context.call_conv.get_function_type(like, kinds).as_pointer())
        passed = _build.unpack_tuple(builder, values[1], len(kinds))
        status, returned = context.call_conv.call_function(builder, function, like, kinds, passed)
        with _build.if_unlikely(builder, status.is_error):
            context.call_conv.return_status_propagate(builder, status)
        return returned

    signature: Signature = like(pointer, arguments, like)
    return signature, generate


call_at = intrinsic(_call_at)

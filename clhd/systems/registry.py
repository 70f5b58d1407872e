"""`find_system`: the system that an experiment names: an installed one, or a class in a file beside the experiment.

| in the experiment | system |
|---|---|
| ``system: contrastive`` | one of an installed package, by the entry point group ``clhd.systems``, as are clhd's own |
| ``system: my_model.py:Oja`` | the class ``Oja`` of a file, whose path is relative to that of the experiment |

Modules are imported at need: code that only reads results should not wait for compilers. What runs, on this machine and
on workers, is the text of the file that the reference of an experiment holds, and its digest stands in the stores. So a
file must hold its system alone: it may import installed packages, but not the files beside it.
"""

import re
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from hashlib import blake2b
from importlib import import_module
from importlib.abc import SourceLoader
from importlib.metadata import entry_points
from importlib.util import module_from_spec, spec_from_loader
from pathlib import Path
from typing import Any

from clhd.errors import ClhdError, InputError
from clhd.systems.mistakes import list_mistakes
from clhd.systems.protocol import System

GROUP = "clhd.systems"
_FILE_FORM = re.compile(r"([^:\0\n]+\.py):([A-Za-z_][A-Za-z0-9_]*)")
_MODULE = "clhd_system_"  # begins the names of modules that are made of files
_MOST_BYTES = 2**20  # each block carries the text to its worker


@dataclass(frozen=True)
class Reference:
    """What a worker needs to find the system of an experiment.

    Parameters
    ----------
    name : str
        As in the experiment.
    file : str
        Path of the file, for messages and tracebacks; empty for an installed system.
    source : bytes
        Text of the file.
    """

    name: str
    file: str = ""
    source: bytes = b""

    @property
    def digest(self) -> str:
        """Digest of the text of the file; empty for an installed system."""
        return blake2b(self.source, digest_size=16).hexdigest() if self.file else ""


@cache
def list_systems() -> dict[str, str]:
    """Return where each installed system lives, as "MODULE:CLASS", by name."""
    return {entry.name: entry.value for entry in sorted(entry_points(group=GROUP), key=lambda entry: entry.name)}


def is_file_name(name: str) -> bool:
    """True if a name in an experiment is that of a class in a file."""
    return _FILE_FORM.fullmatch(name) is not None


def refer_to(name: str, folder: Path | None = None) -> Reference:
    """Return the reference to a system, for which a file is read.

    Parameters
    ----------
    name : str
        As in the experiment.
    folder : Path, optional
        That of the experiment's file; without one, no file is read.

    Raises
    ------
    ClhdError
        If there is no such system, or the file cannot be read.
    """
    found = _FILE_FORM.fullmatch(name)
    if not found:
        if name not in list_systems():
            known = ", ".join(sorted(list_systems()))
            form = "FILE.py:CLASS, a class of a file beside the experiment"
            raise InputError(f"system = {name!r:.200}: must be one of {known}, or {form}")
        return Reference(name)
    if folder is None:
        raise InputError(f"system = {name!r:.200}: its file is looked for beside the file of an experiment; give that")
    if Path(found[1]).is_absolute():
        raise InputError(f"system = {name!r:.200}: must be a path from the folder of the experiment, not from the root")
    path = folder / found[1]
    if not path.is_file():
        raise InputError(f"system = {name!r:.200}: there is no file {path}; put it there, or change system")
    try:
        source = path.read_bytes()
    except OSError as error:
        raise InputError(f"system = {name!r:.200}: {path} cannot be read: {error.strerror}") from None
    if len(source) > _MOST_BYTES:
        raise InputError(f"system = {name!r:.200}: {path} is longer than 1 MiB; make it an installed package")
    return Reference(name, str(path.absolute()), source)


def find_system(name: str) -> System:
    """Return the system that an experiment names; raises ClhdError as `refer_to` and `load_system` do."""
    return load_system(refer_to(name, None))


@cache
def load_system(reference: Reference) -> System:
    """Return the system of a reference.

    Raises
    ------
    ClhdError
        If its module cannot be imported, has no such class, or the class declares something that is not allowed.
    """
    name = reference.name
    target, _, attribute = (name if reference.file else list_systems()[name]).rpartition(":")
    if reference.file:
        module = _import_file(reference)
    else:
        try:
            module = import_module(target)
        except Exception as error:  # a module raises what it likes
            raise InputError(f"system = {name!r}: {target}{describe_error(error, '')}") from None
    where = reference.file or target
    kind = getattr(module, attribute, None)
    if kind is None:
        found = [word for word, value in vars(module).items() if _is_system(value) and value is not System]
        near = f"; its systems are {', '.join(found)}" if found else ", nor any other class that is a clhd.System"
        raise InputError(f"system = {name!r}: {where} has no class {attribute}{near}")
    if not _is_system(kind):
        raise InputError(f"system = {name!r}: {attribute} of {where} must be a class that inherits from clhd.System")
    try:
        system: System = kind()
        mistakes = list_mistakes(system)
    except Exception as error:  # a user's class raises what it likes
        raise InputError(f"system = {name!r}: {where}{describe_error(error, reference.file)}") from None
    if mistakes:
        raise InputError("\n".join(f"system = {name!r}: {attribute}.{mistake}" for mistake in mistakes))
    return system


def locate(target: str, system: System) -> str:
    """Return "MODULE:NAME" of what a system names; ":NAME" is in the module of the system, as in a file of one's own.

    Raises
    ------
    ClhdError
        If it is no such text.
    """
    module, colon, name = target.partition(":") if isinstance(target, str) else ("", "", "")
    if not (colon and name.isidentifier()):
        raise InputError(f"{type(system).__name__}: {target!r:.60} must be text such as 'MODULE:NAME', or ':NAME'")
    return f"{module or type(system).__module__}:{name}"


def import_named(target: str, system: System) -> Any:
    """Return the claim or function that a system names; raises ClhdError if `locate` does, or it is not there."""
    module, _, name = locate(target, system).partition(":")
    try:
        found = import_module(module)
    except (ImportError, AttributeError) as error:
        raise InputError(f"{type(system).__name__}: {target!r} cannot be imported: {error}") from None
    if not hasattr(found, name):
        raise InputError(f"{type(system).__name__}: {target!r}: there is no {name} in that module")
    return getattr(found, name)


@contextmanager
def explain_error(what: str, module: str) -> Iterator[None]:
    """Turn what the code of an author raises into one line that names what it is for, its file and the line.

    Python shows the error as the cause. What a module of clhd raises is a fault of clhd, and stays as it is.

    Raises
    ------
    ClhdError
        Instead of another error.
    """
    try:
        yield
    except (ClhdError, MemoryError):
        raise
    except Exception as error:  # an author's function raises what it likes
        spec = getattr(sys.modules.get(module), "__spec__", None)
        file = getattr(spec, "origin", None) or module
        if module.startswith("clhd."):
            raise
        raise InputError(f"{what}: {file}{describe_error(error, file)}") from error


def _is_system(value: Any) -> bool:
    return isinstance(value, type) and issubclass(value, System)


class _TextLoader(SourceLoader):
    """Runs the text of a reference as a module."""

    def __init__(self, reference: Reference) -> None:
        self._reference = reference

    def get_filename(self, fullname: str) -> str:
        return self._reference.file

    def get_data(self, path: Any) -> bytes:
        return self._reference.source

    def path_stats(self, path: Any) -> Mapping[str, Any]:
        raise OSError  # no cache of byte code: it goes by the date of the file


def _import_file(reference: Reference) -> Any:
    """The module that the text of a file makes."""
    module_name = f"{_MODULE}{reference.digest}"
    spec = spec_from_loader(module_name, _TextLoader(reference), origin=reference.file)
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    before = set(sys.modules)
    sys.modules[module_name] = module  # dataclasses and numba look their module up there
    try:
        spec.loader.exec_module(module)
        _refuse_neighbours(reference, set(sys.modules) - before)
    except ClhdError:
        del sys.modules[module_name]
        raise
    except (Exception, SystemExit) as error:
        del sys.modules[module_name]
        if isinstance(error, ModuleNotFoundError):
            for name in (f"{error.name}.py", f"{error.name}/__init__.py"):
                if (path := Path(reference.file).parent / name).is_file():
                    raise _neighbour_error(reference, path.name) from None
        where = f"{reference.file}{describe_error(error, reference.file)}"
        raise InputError(f"system = {reference.name!r}: {where}") from None
    return module


def _refuse_neighbours(reference: Reference, names: set[str]) -> None:
    """Raise ClhdError if a file imported another file of its folder: results would not notice when that one changes."""
    folder = Path(reference.file).parent
    for name in sorted(names):
        if "." in name or name.startswith(_MODULE):
            continue
        path = Path(getattr(sys.modules[name], "__file__", None) or "/")
        if folder in (path.parent, path.parent.parent if path.name == "__init__.py" else None):
            del sys.modules[name]
            raise _neighbour_error(reference, path.name)


def _neighbour_error(reference: Reference, name: str) -> InputError:
    """The error of a file that imports another file of its folder."""
    return InputError(
        f"system = {reference.name!r}: {reference.file} imports {name}, whose changes the results would not notice; "
        "put both into one file, or make them an installed package"
    )


def describe_error(error: BaseException, file: str) -> str:
    """The line of an error in a file, its type and message, as the end of one line of text."""
    line, trace, text = None, error.__traceback__, str(error)
    if isinstance(error, SyntaxError):
        text = error.msg
        line = error.lineno if error.filename == file else None
    while trace is not None:
        if trace.tb_frame.f_code.co_filename == file:
            line = trace.tb_lineno
        trace = trace.tb_next
    first = text.strip().splitlines()[0] if text.strip() else ""  # some messages of matplotlib begin with an empty line
    return f"{f', line {line}' if line else ''}: {type(error).__name__}{f': {first}' if first else ''}"

"""`find_system`: the system that an experiment names: an installed one, or a class in a file beside the experiment.

| in the experiment | system |
|---|---|
| ``system: contrastive`` | one of an installed package, by the entry point group ``clhd.systems``, as are clhd's own |
| ``system: my_model.py:Oja`` | the class ``Oja`` of a file, whose path is relative to that of the experiment |

Modules are imported at need: code that only reads results should not wait for compilers. A file is read once; what
runs, on this machine and on workers, is the text that was read, and its digest stands in the stores.
"""

import re
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from hashlib import blake2b
from importlib import import_module
from importlib.abc import SourceLoader
from importlib.metadata import entry_points
from importlib.util import module_from_spec, spec_from_loader
from pathlib import Path
from typing import Any

from clhd.errors import ClhdError
from clhd.systems.declarations import Output, Parameter
from clhd.systems.protocol import System

GROUP = "clhd.systems"
_FILE_FORM = re.compile(r"([^:\0\n]+\.py):([A-Za-z_][A-Za-z0-9_]*)")
_NAME_FORM = re.compile("[a-z][a-z0-9_]{0,99}")


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
            raise ClhdError(
                f"system = {name!r}: must be one of {known}, or FILE.py:CLASS, a file beside the experiment"
            )
        return Reference(name)
    if folder is None:
        raise ClhdError(f"system = {name!r}: its file is found from the file of the experiment only")
    path = folder / found[1]
    try:
        return Reference(name, str(path), path.read_bytes())
    except OSError as error:
        raise ClhdError(f"system = {name!r}: {path} cannot be read: {error.strerror}") from None


def find_system(name: str, folder: Path | None = None) -> System:
    """Return the system that an experiment names; raises ClhdError as `refer_to` and `load_system` do."""
    return load_system(refer_to(name, folder))


@cache
def load_system(reference: Reference) -> System:
    """Return the system of a reference.

    Raises
    ------
    ClhdError
        If its module cannot be imported, has no such class, or the class declares something that is not allowed.
    """
    name = reference.name
    if reference.file:
        attribute = name.rpartition(":")[2]
        module = _import_file(reference)
    else:
        target, _, attribute = list_systems()[name].partition(":")
        try:
            module = import_module(target)
        except ImportError as error:
            raise ClhdError(f"system = {name!r}: {target} cannot be imported: {error}") from None
    kind = getattr(module, attribute, None)
    if not (isinstance(kind, type) and issubclass(kind, System)):
        where = reference.file or target
        raise ClhdError(f"system = {name!r}: {where} has no class {attribute} that is a clhd.System")
    try:
        system: System = kind()
        mistakes = list_mistakes(system)
    except Exception as error:  # a user's class raises what it likes
        raise ClhdError(f"system = {name!r}: {type(error).__name__}: {error}") from None
    if mistakes:
        raise ClhdError("\n".join(f"system = {name!r}: {mistake}" for mistake in mistakes))
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
        raise ClhdError(f"{type(system).__name__}: {target!r:.60} must be text such as 'MODULE:NAME', or ':NAME'")
    return f"{module or type(system).__module__}:{name}"


def import_named(target: str, system: System) -> Any:
    """Return the claim or function that a system names; raises ClhdError if `locate` does, or it is not there."""
    module, _, name = locate(target, system).partition(":")
    try:
        return getattr(import_module(module), name)
    except (ImportError, AttributeError) as error:
        raise ClhdError(f"{type(system).__name__}: {target!r} cannot be imported: {error}") from None


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
    module_name = f"clhd_system_{reference.digest}"
    spec = spec_from_loader(module_name, _TextLoader(reference), origin=reference.file)
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    sys.modules[module_name] = module  # dataclasses and numba look their module up there
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        del sys.modules[module_name]
        raise ClhdError(f"system = {reference.name!r}: {_locate(error, reference.file)}") from None
    return module


def _locate(error: Exception, file: str) -> str:
    """File, line and message of an error in a user's module."""
    line, trace = getattr(error, "lineno", None), error.__traceback__
    while trace is not None:
        if trace.tb_frame.f_code.co_filename == file:
            line = trace.tb_lineno
        trace = trace.tb_next
    return f"{file}{f', line {line}' if line else ''}: {type(error).__name__}: {error}"


def list_mistakes(system: System) -> list[str]:
    """Return what is wrong with the declarations of a system, one line for each mistake; empty if nothing is."""
    mistakes = [
        f"{word} = {getattr(system, word)!r}: must be text"
        for word in ("title", "size", "limit", "quantity", "components", "equations")
        if not isinstance(getattr(system, word), str)
    ]
    for word, kind in (("parameters", Parameter), ("outputs", Output)):
        table = getattr(system, word)
        if not isinstance(table, Mapping):
            mistakes.append(f"{word} = {table!r:.60}: must be a table of name: clhd.{kind.__name__}")
            continue
        for name, entry in table.items():
            if not (isinstance(name, str) and _NAME_FORM.fullmatch(name)):
                mistakes.append(
                    f"{word}: {name!r:.60} must be lower-case letters, digits and _, starting with a letter"
                )
            if not isinstance(entry, kind):
                mistakes.append(f"{word}.{name} = {entry!r:.60}: must be a clhd.{kind.__name__}")
    mistakes += [
        f"{word} = {getattr(system, word)!r}: is no parameter of the system"
        for word in ("size", "components")
        if getattr(system, word) not in {"", *system.parameters}
    ]
    return mistakes

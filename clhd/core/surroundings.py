"""What surrounds the command: where it is installed, its streams, and settings that are meant for other programs.

| setting | what clhd makes of it |
|---|---|
| MPLBACKEND | ignored: figures go to files, and a notebook's backend is not installed elsewhere |
| SOURCE_DATE_EPOCH | ignored: figures hold no date, and matplotlib would end with a traceback if it is no number |
| ZARR_* | ignored: they are for other arrays; clhd's stores have one format |
| GIT_* | ignored when the version of the code is asked for: within a hook they name another repository |
| Zarr's and Dask's YAML files | one line if they are malformed, or name what is not installed |
| preloads in Dask's settings | ignored on this machine; they are for the user's own clusters |
| *_NUM_THREADS | 1 where nothing else is set: the cores are used by several blocks, or jobs, at once |
| NUMBA_DISABLE_JIT | one line: kernels work only compiled |
| plugins of pydantic | not loaded: to look for them takes a fiftieth of a second |
"""

import gc
import os
import site
import sys
from collections.abc import MutableMapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TextIO

from clhd.core.machine import ONE_THREAD
from clhd.errors import InputError

_OBJECTS = 1_000_000  # new ones until the next look: three times those of a figure, some 100 MB
_IGNORED = ("MPLBACKEND", "SOURCE_DATE_EPOCH", "ZARR_")  # names, or how they begin
# Files of the libraries that read settings: an error which comes out of one is about a setting.
_READERS = {"dask/config.py": "Dask", "donfig/config_obj.py": "Zarr", "zarr/registry.py": "Zarr"}


def ignore_settings(environment: MutableMapping[str, str] = os.environ) -> None:
    """Remove variables that are meant for other programs, for this process and those that it starts."""
    for name in list(environment):
        if name.startswith(_IGNORED):
            del environment[name]
    environment["PYDANTIC_DISABLE_PLUGINS"] = "__all__"


def limit_threads(environment: MutableMapping[str, str] = os.environ) -> None:
    """Have libraries start no threads of their own, if they are not imported yet, and the user wants nothing else.

    Several processes compute at once, each on one core; and a process without threads can be forked.
    """
    if "numpy" not in sys.modules:
        for name, value in ONE_THREAD.items():
            environment.setdefault(name, value)


def has_settings(libraries: Sequence[str] = ("dask", "zarr")) -> bool:
    """True if this machine has settings of libraries, which can be wrong: in files, or in variables.

    Dask writes a file of comments for every user, which is no setting.
    """
    above = ["/etc", *(f"{prefix}/etc" for prefix in (sys.prefix, *site.PREFIXES)), "~/.config"]
    folders = [Path(f"{folder}/{name}").expanduser() for folder in above for name in libraries]
    variables = tuple(f"{name.upper()}_" for name in libraries)
    return any(name.startswith(variables) for name in os.environ) or any(
        _says_something(file) for folder in folders if folder.exists() for file in folder.glob("*")
    )


def _says_something(file: Path) -> bool:
    """False if a file has comments alone; True also if it cannot be read."""
    try:
        lines = file.read_bytes().splitlines()
    except OSError:
        return True
    return any(line.strip() and not line.lstrip().startswith(b"#") for line in lines)


def spare_dask() -> None:
    """Have xarray not import Dask in this process, which makes no Dask arrays; does nothing if Dask is there already.

    xarray imports it, for half a second, to see whether an array is one of Dask's. It remembers whether Dask is
    installed, and what its arrays are, the latter in a private part: if that is gone, the import takes its time again.
    """
    if "dask" in sys.modules:
        return
    sys.modules["dask"] = None  # type: ignore[assignment]  # as Python says that a module is not there
    try:
        with suppress(ImportError, AttributeError):
            from xarray.namedarray import pycompat  # noqa: PLC0415 (only where xarray is needed anyway)

            pycompat.array_type("dask")
    finally:
        del sys.modules["dask"]


def spare_collections() -> None:
    """Have Python look for garbage in cycles seldom, in a command that computes nothing and ends within seconds.

    By default it looks hundreds of times while libraries are imported, a sixth of the time of such a command, and finds
    next to nothing. Where points are computed, garbage may hold large arrays, and must not wait.
    """
    gc.set_threshold(_OBJECTS)


def spare_docstrings() -> None:
    """Have matplotlib write no docstrings for its classes, in a command that draws one figure and ends.

    As it is imported it collects the properties of each class for them, a tenth of the time of a figure. The method is
    private: if it is gone, the docstrings take their time again.
    """
    from matplotlib import artist  # noqa: PLC0415 (only where a figure is drawn anyway)

    artist.kwdoc = lambda _: ""  # type: ignore[assignment]
    artist.Artist._update_set_signature_and_docstring = classmethod(lambda _: None)  # type: ignore[attr-defined]


def explain_settings(error: BaseException) -> str | None:
    """Return one line about an error in the settings of a library; None if the error is about something else."""
    trace = error.__traceback__
    while trace is not None:
        name = Path(trace.tb_frame.f_code.co_filename)
        program = _READERS.get("/".join(name.parts[-2:]))
        if program is not None:
            reason = " ".join(str(error).split())
            return f"the settings of {program} on this machine are wrong: {reason}"
        trace = trace.tb_next
    return None


def open_missing_streams() -> None:
    """Open standard streams that are closed, to nowhere.

    Otherwise the next file that is opened gets the number of the stream, and what is printed would go into it.
    """
    for number in (0, 1, 2):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # takes the smallest free number, which is this one
    for name, number in (("stdout", 1), ("stderr", 2)):
        if getattr(sys, name) is None:
            setattr(sys, name, open(number, "w", encoding="utf-8", closefd=False))  # noqa: SIM115


def drop_output(*streams: TextIO) -> None:
    """Send what is left in streams to nowhere: their reader has ended, or their disk is full."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    for stream in streams:
        with suppress(OSError):  # a stream of a test has no number
            os.dup2(nowhere, stream.fileno())
    os.close(nowhere)


def check_installation(started: str, package: Path = Path(__file__).parents[1]) -> None:
    """Raise ClhdError if the environment of a copied or moved project would run the code of the original.

    Parameters
    ----------
    started : str
        The program, ``sys.argv[0]``: a script in the environment, or a file of a package.
    package : Path
        The folder of the package that runs.
    """
    if "PYTHONPATH" in os.environ:  # the user says where the code is
        return
    places = [Path(started).absolute().parents[1], Path(sys.prefix)]
    environment = next((place for place in places if (place / "pyvenv.cfg").is_file()), None)
    if environment is None or package.resolve().is_relative_to(environment.resolve()):  # no code of a folder beside it
        return
    own = environment.parent / package.name
    if (own / "__init__.py").is_file() and not own.samefile(package):
        raise InputError(
            f"{environment}: was copied or moved with its project, and would run the code in {package}; "
            f"install again: make -C {environment.parent} install"
        )

"""`open_results`: the results of an experiment as one tree of labelled data."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from xarray.backends import BackendEntrypoint

from clhd.core.lazy import xr
from clhd.errors import ResultsError
from clhd.sweep.spec.experiment import STAGES, stage_path
from clhd.sweep.store.bound import BoundStore
from clhd.sweep.store.chunk_files import ChunkFiles
from clhd.sweep.store.layout import check_summary
from clhd.sweep.store.store import Store


def open_results(path: str | Path) -> xr.DataTree:
    """Open the stores of one experiment, lazily.

    Parameters
    ----------
    path : path
        Folder of the experiment, such as ``results/grid``.

    Returns
    -------
    xarray.DataTree

    | node | dims | content |
    |---|---|---|
    | simulation | axes, replica, dims of the outputs | every run with its status, or moments of blocks of runs |
    | theory | axes on which the theory depends, dims of the outputs | predictions |
    | summary | axes, dims of the outputs | mean, standard error, quantiles, theory, z-score, counts |

    A stage without a store is left out. Values are read from the files when they are used, and checked: they are those
    of the moment of opening, whatever runs meanwhile. After two more runs they may be gone, which is an error.

    Raises
    ------
    ClhdError
        If there are no results, or a store does not match its experiment. When values are read: if a file is damaged,
        or was replaced.
    """
    return xr.DataTree.from_dict(_open_parts(Path(path), dask=True), name=Path(path).name)


def _open_parts(path: Path, *, dask: bool) -> dict[str, xr.Dataset]:
    """Return the parts of the results by their path in the tree."""
    found = {name: stage_path(path, name) for name in STAGES if stage_path(path, name).is_dir()}
    if not found:
        raise ResultsError(f"{path}: holds no results; create them with `clhd run FILE`")
    files = {
        name: ChunkFiles(store, check_summary(store)) if name == "summary" else Store(store).files
        for name, store in found.items()
    }
    return {f"/{name}": BoundStore(opened).open_dataset(dask=dask) for name, opened in files.items()}


class ResultsBackend(BackendEntrypoint):
    """Lets ``xarray.open_datatree("results/grid")`` call `open_results`; xarray finds it as an entry point."""

    description = "Results of a clhd experiment, all parts checked"
    supports_groups = True

    def guess_can_open(self, filename_or_obj: Any) -> bool:
        """Return True for the folder of an experiment."""
        is_path = isinstance(filename_or_obj, str | Path)
        return is_path and any(stage_path(Path(filename_or_obj), name).is_dir() for name in STAGES)

    def open_groups_as_dict(self, filename_or_obj: Any, *, drop_variables: Any = None) -> dict[str, xr.Dataset]:
        """Return the parts of the results by their path in the tree; xarray decides whether Dask reads them."""
        parts = _open_parts(Path(filename_or_obj), dask=False)
        return {"/": xr.Dataset()} | {name: part.drop_vars(drop_variables or []) for name, part in parts.items()}

    def open_datatree(self, filename_or_obj: Any, *, drop_variables: Any = None) -> xr.DataTree:
        """Return the tree of `open_results`."""
        parts = self.open_groups_as_dict(filename_or_obj, drop_variables=drop_variables)
        return xr.DataTree.from_dict(parts, name=Path(filename_or_obj).name)

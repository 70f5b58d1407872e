"""`open_results`: the results of an experiment as one tree of labelled data."""

from pathlib import Path

import xarray as xr

from clhd.errors import ResultsError
from clhd.sweep.spec.stages import STAGES, stage_path
from clhd.sweep.store.layout import LEDGER, check_summary, find_damaged
from clhd.sweep.store.metadata import REPAIR, MetadataError, choose_remedy
from clhd.sweep.store.store import Store

PARTS = STAGES  # clhd.report imports this name


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

    A stage without a store is left out. Values are read from the files when they are used: open the results again after
    another run, because a store may have grown.

    Raises
    ------
    ClhdError
        If there are no results, or a store does not match its experiment.
    """
    path = Path(path)
    found = {name: stage_path(path, name) for name in STAGES if stage_path(path, name).is_dir()}
    if not found:
        raise ResultsError(f"{path}: holds no results; create them with `clhd run FILE`")
    opened: dict[str, xr.Dataset] = {name: _open(name, store) for name, store in found.items()}
    return xr.DataTree.from_dict(opened, name=path.name)


def _open(name: str, path: Path) -> xr.Dataset:
    """Open a store lazily, after a check of its metadata and coordinates."""
    data: set[str] = set()
    if name == "summary":
        check_summary(path)
    else:
        data = {*Store(path).outputs, *LEDGER}
    try:
        dataset: xr.Dataset = xr.open_zarr(str(path), zarr_format=3)
        for coordinate in dataset.coords.values():
            coordinate.load()
    except Exception:  # codecs raise what they like
        damaged = find_damaged(path, but=data)
        if damaged is None:
            raise
        raise MetadataError(f"{damaged}: is damaged; {choose_remedy(path, REPAIR)}") from None
    return dataset

"""`open_results`: what an experiment has come to, as one tree of labelled data."""

from pathlib import Path

import xarray as xr

from clhd.errors import ClhdError
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
    | simulation | axes, replica, time, feature | every run, with its status; or moments of blocks of them |
    | theory | axes that the theory depends on, time, feature | predictions |
    | summary | axes, time, feature | mean, standard error, quantiles, theory, z-score, counts |

    A part that is not there is left out. What is lazy reads files: after another run, which may have let a store grow,
    open it again.

    Raises
    ------
    ClhdError
        If none is there, or one is not what its experiment says that it must be.
    """
    path = Path(path)
    found = {name: stage_path(path, name) for name in STAGES if stage_path(path, name).is_dir()}
    if not found:
        raise ClhdError(f"{path}: holds no results; clhd run makes them")
    opened: dict[str, xr.Dataset] = {name: _open(name, store) for name, store in found.items()}
    return xr.DataTree.from_dict(opened, name=path.name)


def _open(name: str, path: Path) -> xr.Dataset:
    """A store, lazily, after a look at its metadata and its coordinates."""
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

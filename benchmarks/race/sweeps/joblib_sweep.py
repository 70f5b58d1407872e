from pathlib import Path

import xarray as xr
from joblib import Parallel, delayed

from benchmarks.race.sweeps.work import X, Y, compute


def compute_row(x):
    file = Path(f"row-{x:.2f}.nc")
    if not file.exists():
        xr.DataArray([compute(x, y) for y in Y], {"y": Y}, name="value").to_netcdf(file)


if __name__ == "__main__":
    Parallel(n_jobs=2)(delayed(compute_row)(x) for x in X)
    rows = xr.concat([xr.load_dataset(f"row-{x:.2f}.nc") for x in X], xr.IndexVariable("x", X))
    rows.to_netcdf("all.nc")

"""`count_clusters`: how many clusters a cloud of points has, by HDBSCAN or by Quickshift++.

| method | how | needs |
|---|---|---|
| hdbscan | the clusters of a density tree that persist longest; what is left is noise | scikit-learn |
| quickshift++ | modes of a density by neighbours, and what flows into them (`quickshift`) | nothing more |

Clusters below the smallest share of the points do not count; their points are noise.
"""

from __future__ import annotations

import math
from importlib.util import find_spec

import numpy as np
from numpy.typing import ArrayLike

from clhd.core.arrays import FloatArray, IntArray
from clhd.core.checks import parse_choice, parse_count, parse_number, read_array
from clhd.core.lazy import xr
from clhd.core.quickshift import cluster_quickshift
from clhd.errors import InputError

METHODS = ("hdbscan", "quickshift++")
NOISE = -1


def count_clusters(
    points: ArrayLike,
    *,
    method: str = "hdbscan",
    smallest_share: float = 0.02,
    neighbours: int = 40,
    fluctuation: float = 0.9,
    pruning: float = 0.0,
) -> xr.Dataset:
    """Count the clusters of a cloud of points.

    Parameters
    ----------
    points : array_like of shape (n, d)
        Finite; two or more. The scale does not matter, but ratios of scales do.
    method : str
        "hdbscan" or "quickshift++".
    smallest_share : float
        Share of the points below which a cluster does not count, from 0 to 1. It is also HDBSCAN's min_cluster_size,
        which is at least 2 points: where it is a few, chance clumps count, in one dimension below some 20
        (docs/systems/attractors.md has numbers).
    neighbours : int
        Of Quickshift++: k, from 2 to n; fewer find more clusters. A cluster needs some 3 k points to be seen, in one
        dimension 8 k.
    fluctuation : float
        Of Quickshift++: beta, from 0 to 1. A core reaches down to the share 1 - beta of its highest density.
    pruning : float
        Of Quickshift++: eps, not negative.

    Returns
    -------
    xarray.Dataset

    | variable | dims | meaning |
    |---|---|---|
    | clusters | | number of clusters |
    | label | point | cluster of the point, from 0; -1 if it is noise |
    | share | cluster | share of the points, from the largest down |
    | noise_share | | share of the points that are noise |

    Raises
    ------
    ClhdError
        If a value is not allowed, "hdbscan" finds no scikit-learn, or points coincide so that Quickshift++ has no
        density.
    """
    cloud = _parse_points(points)
    parse_choice("method", method, METHODS)
    share = parse_number("smallest_share", smallest_share, minimum=0, maximum=1)
    # A tiny slack: 0.02 of 50 points is 1 point, whatever the rounding.
    smallest = max(1, math.ceil(share * len(cloud) - 1e-9))
    if method == "hdbscan":
        found = _cluster_hdbscan(cloud, max(2, smallest))
    else:
        k = parse_count("neighbours", neighbours, minimum=2)
        if k > len(cloud):
            raise InputError(f"neighbours = {k}: must not be greater than the number of points, {len(cloud)}")
        found = _cluster_quickshift(
            cloud,
            k,
            parse_number("fluctuation", fluctuation, minimum=0, maximum=1),
            parse_number("pruning", pruning, minimum=0),
        )
    return _describe(found, smallest, method)


def _parse_points(points: ArrayLike) -> FloatArray:
    try:
        cloud = read_array(points)
    except (TypeError, ValueError):
        raise InputError("points: must be an array of numbers of shape (points, dimensions)") from None
    if cloud.ndim != 2 or len(cloud) < 2 or cloud.shape[1] == 0:
        raise InputError(f"points: must be of shape (points, dimensions), with 2 points or more, not {cloud.shape}")
    if not np.isfinite(cloud).all():
        raise InputError(f"points: must be finite; point {int(np.argwhere(~np.isfinite(cloud))[0, 0])} is not")
    # By a power of 2, which keeps all digits: squares of distances neither overflow nor vanish.
    return np.asarray(np.ldexp(cloud, -np.frexp(np.abs(cloud).max())[1]))


def check_method(method: str) -> None:
    """Raise ClhdError if the package that a method needs is not installed."""
    if method == "hdbscan" and find_spec("sklearn") is None:
        raise InputError(
            "method = 'hdbscan': needs scikit-learn, which is not installed; pip install 'clhd[attractors]', or use "
            "'quickshift++'"
        )


def _cluster_hdbscan(cloud: FloatArray, smallest: int) -> IntArray:
    """Labels by HDBSCAN, which may find one cluster: by default it does not count a cloud without any split."""
    if smallest > len(cloud):
        return np.full(len(cloud), NOISE)
    check_method("hdbscan")
    from sklearn.cluster import HDBSCAN  # noqa: PLC0415

    estimator = HDBSCAN(min_cluster_size=smallest, allow_single_cluster=True, algorithm="kd_tree", n_jobs=1, copy=True)
    return np.asarray(estimator.fit_predict(cloud), dtype=np.int64)


def _cluster_quickshift(cloud: FloatArray, k: int, fluctuation: float, pruning: float) -> IntArray:
    _, counts = np.unique(cloud, axis=0, return_counts=True)
    if counts.max() >= k:
        raise InputError(
            f"points: one stands there {counts.max()} times; with quickshift++ fewer than {k} may coincide"
        )
    return cluster_quickshift(cloud, neighbours=k, fluctuation=fluctuation, pruning=pruning)


def _describe(found: IntArray, smallest: int, method: str) -> xr.Dataset:
    """The clusters that count, numbered by size; clusters of one size keep their order."""
    sizes = np.bincount(found[found >= 0])
    counted = [cluster for cluster in np.argsort(-sizes, kind="stable").tolist() if sizes[cluster] >= smallest]
    label = np.full(len(found), NOISE)
    for rank, cluster in enumerate(counted):
        label[found == cluster] = rank
    share = sizes[counted] / len(found)
    return xr.Dataset(
        {
            "clusters": ((), len(counted), {"long_name": "number of clusters"}),
            "label": (("point",), label, {"long_name": "cluster", "description": "-1: noise"}),
            "share": (("cluster",), share, {"long_name": "share of the points in a cluster"}),
            "noise_share": ((), float(np.mean(label == NOISE)), {"long_name": "share of the points in no cluster"}),
        },
        attrs={"method": method},
    )

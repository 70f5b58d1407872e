"""Quickshift++: clusters as modes of a density that is estimated from distances to the k-th neighbour.

Source: H. Jiang, J. Jang, S. Kpotufe, arXiv:1805.07909. Written anew from the rules below; the authors' program, run on
made-up clouds, gives the same clusters (tests/core/test_clusters.py).

| symbol | name | meaning |
|---|---|---|
| k | neighbours | the point itself is the first of its neighbours |
| r_i | radius | distance of point i to its k-th neighbour; the density goes as r_i^-d in d dimensions |
| beta | fluctuation | a core reaches down to the share 1 - beta of its highest density |
| eps | pruning | components that join at a density lower by 1 + eps are one |

The graph joins two points if each is among the k neighbours of the other. It is built from the densest point downwards.

1. At the level of point i the graph holds all points j with r_j < (1 + eps)^(1/d) r_i.
2. Each point j with r_j < (1 - beta)^(1/d) r_i, not asked before, asks whether its component has a core. If not, the
   members of the component with r <= r_i become one. A component that absorbs one with a core has a core.
3. Every other point follows the first of its k neighbours with a smaller r, else the nearest such point, into a core.
"""

import numpy as np

from clhd.core.arrays import FloatArray, IntArray
from clhd.core.lazy import spatial


def cluster_quickshift(points: FloatArray, *, neighbours: int, fluctuation: float, pruning: float = 0.0) -> IntArray:
    """Return the number of the cluster of each point, from 0; clusters are numbered by their densest cores.

    A point without any denser point that lies in no core begins a cluster of its own: so a cloud in which no core is
    found is one cluster.

    Parameters
    ----------
    points : array of shape (n, d)
        No point may stand there `neighbours` times: its density would be infinite.
    neighbours : int
        k, from 2 to n.
    fluctuation : float
        beta, from 0 to 1.
    pruning : float
        eps, not negative.
    """
    found: tuple[FloatArray, IntArray] = spatial.KDTree(points).query(points, k=neighbours)  # type: ignore[assignment]
    distance, near = found
    radius = distance[:, -1]
    order = np.argsort(radius, kind="stable")
    core = _find_cores(near, radius, order, points.shape[1], fluctuation, pruning)
    return _follow(points, near, radius, order, core)


def _find_cores(
    near: IntArray, radius: FloatArray, order: IntArray, d: int, fluctuation: float, pruning: float
) -> list[int]:
    """The number of the core of each point, -1 outside of cores."""
    links = _list_earlier(near, order)
    down, up = (1.0 - fluctuation) ** (1.0 / d), (1.0 + pruning) ** (1.0 / d)
    parent, members = list(range(len(radius))), {}
    has_core: set[int] = set()  # roots of components
    core = [-1] * len(radius)
    levels, sequence = radius[order].tolist(), order.tolist()
    added = asked = cores = 0
    for level in levels:
        while added < len(levels) and levels[added] < up * level:
            members[sequence[added]] = [sequence[added]]
            for other in links[sequence[added]]:
                _join(sequence[added], other, parent, members, has_core)
            added += 1
        while asked < added and levels[asked] < down * level:
            root = _find_root(sequence[asked], parent)
            if root not in has_core:
                has_core.add(root)
                for member in members[root]:
                    if radius[member] <= level:
                        core[member] = cores
                cores += 1
            asked += 1
    return core


def _list_earlier(near: IntArray, order: IntArray) -> list[list[int]]:
    """Of each point, the neighbours that count it among theirs and come before it in the order."""
    n, k = near.shape
    rank = np.empty(n, dtype=np.int64)
    rank[order] = np.arange(n)
    point = np.repeat(np.arange(n), k)
    is_mutual = np.isin(point * n + near.ravel(), near.ravel() * n + point).reshape(n, k)
    is_earlier = rank[near] < rank[:, None]
    return [row[keep].tolist() for row, keep in zip(near, is_mutual & is_earlier, strict=True)]


def _find_root(point: int, parent: list[int]) -> int:
    while parent[point] != point:
        parent[point] = point = parent[parent[point]]
    return point


def _join(one: int, other: int, parent: list[int], members: dict[int, list[int]], has_core: set[int]) -> None:
    """Unite the components of two points."""
    small, large = _find_root(one, parent), _find_root(other, parent)
    if small == large:
        return
    if len(members[small]) > len(members[large]):
        small, large = large, small
    parent[small] = large
    members[large] += members.pop(small)
    if small in has_core:
        has_core.add(large)


def _follow(points: FloatArray, near: IntArray, radius: FloatArray, order: IntArray, core: list[int]) -> IntArray:
    """The cluster of each point: its core's, or that of the denser point which it follows."""
    cluster = np.array(core)
    following = int(cluster.max()) + 1
    denser = radius[near] < radius[:, None]
    first = near[np.arange(len(near)), denser.argmax(axis=1)]
    for point in order[cluster[order] < 0].tolist():
        if denser[point].any():
            cluster[point] = cluster[first[point]]
            continue
        above = np.flatnonzero(radius < radius[point])
        if len(above) == 0:
            cluster[point], following = following, following + 1
            continue
        cluster[point] = cluster[above[np.sum((points[above] - points[point]) ** 2, axis=1).argmin()]]
    return cluster

"""Separatrices of a model with two features: the borders of attraction regions, as curves.

Starts on the border between two regions flow into a saddle: the border is the stable manifold of that saddle. On the
sphere the flow of S = (S_1, S_2) is two-dimensional and the manifold is a curve, which `trace_stable_manifolds` follows
backwards in time from the saddle, along its stable eigenvector. Under L2 the flow of (q_1, q_2, r) is three-dimensional
and the manifold is a surface; `track_edges` finds its section with the plane of starts, r = const. On the arc
|S| = radius, it halves the angle between two starts that flow to different attractors, until they differ by 1e-10. A
start between them follows the surface to its saddle; the returned distance to the saddle checks each point. On the
sphere both methods work, and a test compares them.

With (S_1, S_2) = radius (cos angle, sin angle), the arcs between separatrices are the probabilities that a start of
random direction flows to each attractor: at a small radius they are the selection probabilities, and their average over
the disc is the area of each region (`measure_regions`).

| symbol | name | shape | unit or scale |
|---|---|---|---|
| (S_1, S_2) | ``separatrix_1``, ``separatrix_2`` | (curve, point) | -1 ... 1 |
| r | ``squared_norm`` | | of w_i^2 |
| | ``radius``, ``angle`` | (arc,), (edge,) | of the plane of (S_1, S_2); rad |
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clhd.core.arrays import FloatArray, IntArray
from clhd.core.checks import parse_count, parse_number, parse_vector
from clhd.core.lazy import integrate, xr
from clhd.errors import InputError
from clhd.systems.contrastive.model.contrastive import ContrastiveModel, check_model
from clhd.systems.contrastive.model.labels import labelled
from clhd.systems.contrastive.model.state import parse_norm
from clhd.systems.contrastive.theory.flow.drift import Flow
from clhd.systems.contrastive.theory.states.destinations import NOT_SETTLED, Destinations, slowness

# Number of evenly spaced starts on an arc before halving. The offset keeps them off the axes and diagonals, on which
# separatrices of symmetric models lie.
_ANGLES, _OFFSET = 48, 0.0137
_WIDTH = 1e-10
# Times at which an edge trajectory is compared with the saddles, which gives the distance to a few per cent.
_TIMES = np.linspace(0.0, 400.0, 1601)
# Backwards from a saddle: first step along the eigenvector, distance from a state of rest at which to end, most time.
_FIRST_STEP, _REST_DISTANCE, _MAX_TIME = 1e-5, 1e-3, 5000.0
_AREA_NODES = 12


@dataclass(frozen=True)
class _Edges:
    """Changes of destination along arcs: arc, angle, and the states reached just before and after."""

    arc: IntArray
    angle: FloatArray
    before: IntArray
    after: IntArray


def trace_separatrices(model: ContrastiveModel, *, squared_norm: float = 1.0, points: int = 64) -> xr.Dataset:
    """Return the separatrices in the plane of starts r = squared_norm.

    On the sphere they are the stable manifolds of saddles, otherwise sections of these with the plane, on arcs of
    evenly spaced radii up to 1.

    Parameters
    ----------
    model : ContrastiveModel
        With two features.
    squared_norm : float
        Initial squared norm, > 0; 1 on the sphere.
    points : int
        Number of points of each curve.

    Returns
    -------
    xarray.Dataset

    | variable | dims | meaning |
    |---|---|---|
    | separatrix_1, separatrix_2 | curve, point | S_1 and S_2; NaN where there is no point |
    | saddle | curve, point | index of the state that a start on the curve approaches; -1 none |
    | saddle_distance | curve, point | closest approach, of (q, r) |
    | overlap, squared_norm, kind, stable | state | the fixed points, as from `attraction_region` |

    Raises
    ------
    ClhdError
        If a value is not allowed, the model has another number of features or an L1 penalty, or its loss does not
        factorise over the samples (infonce).
    """
    check_model(model)
    count = parse_count("points", points, minimum=2)
    norm = parse_norm(model, squared_norm, may_be_zero=False)
    if model.is_sphere:
        return trace_stable_manifolds(model, points=count)
    return track_edges(model, radius=np.linspace(0.0, 1.0, count + 1)[1:], squared_norm=norm)


def track_edges(
    model: ContrastiveModel, *, radius: Sequence[float] | FloatArray, squared_norm: float = 1.0
) -> xr.Dataset:
    """Return the section of the separatrices with the plane of starts r = squared_norm, by edge tracking on arcs.

    Parameters
    ----------
    model : ContrastiveModel
        With two features.
    radius : sequence of float
        Radii of the arcs in the plane of cosine similarities, in (0, 1].
    squared_norm : float
        Initial squared norm, > 0; 1 on the sphere.

    Returns
    -------
    xarray.Dataset
        A curve joins the edges between the same two regions; if an arc meets a separatrix twice there are two curves.

    | variable | dims | meaning |
    |---|---|---|
    | separatrix_1, separatrix_2 | curve, point | S_1 and S_2; NaN where the curve does not meet the arc |
    | saddle | curve, point | index of the state that a start on the edge approaches; -1 none |
    | saddle_distance | curve, point | closest approach, of (q, r) |
    | overlap, squared_norm, kind, stable | state | the fixed points, as from `expand_images` |

    Raises
    ------
    ClhdError
        If a value is not allowed, the model has another number of features or an L1 penalty, or its loss does not
        factorise over the samples (infonce).
    """
    check_two_features(model)
    radii = parse_vector("radius", radius)
    if len(radii) == 0 or not np.all((radii > 0) & (radii <= 1)):
        raise InputError(f"radius = {radius!r}: must be one or more numbers above 0, up to 1")
    norm = parse_norm(model, squared_norm, may_be_zero=False)
    destinations = Destinations(model)
    edges = _find_edges(destinations, radii, norm)
    starts = _starts(radii[edges.arc], edges.angle, norm)
    saddle, distance = _approach_saddles(destinations, starts)
    return _join_edges(edges, radii, saddle, distance).merge(destinations.states)


def check_two_features(model: ContrastiveModel) -> None:
    """Raise ClhdError unless the model has two features, whose cosine similarities form a plane."""
    if model.features != 2:
        raise InputError(f"latents: {model.features} given, must be 2 for a plane of cosine similarities")


def measure_regions(
    model: ContrastiveModel, *, squared_norm: float = 1.0, radius: float = 0.01
) -> tuple[xr.Dataset, FloatArray, FloatArray]:
    """Return the share of each attractor among starts of random direction, at a small radius and over the disc.

    Parameters
    ----------
    model : ContrastiveModel
        With two features.
    squared_norm : float
        Initial squared norm, > 0; 1 on the sphere.
    radius : float
        |S| of the small circle, in (0, 1].

    Returns
    -------
    (states, share, area) : Dataset(state), array (state + 1,), array (state + 1,)
        Fixed points, shares on the circle, and shares in the disc |S| <= 1; the last entry counts unsettled starts.

    Raises
    ------
    ClhdError
        If a value is not allowed, the model has another number of features or an L1 penalty, or its loss does not
        factorise over the samples (infonce).
    """
    check_two_features(model)
    norm = parse_norm(model, squared_norm, may_be_zero=False)
    small = parse_number("radius", radius, above=0, maximum=1)
    destinations = Destinations(model)
    # The square of the radius of a uniformly random point in the disc is uniform: Gauss-Legendre in that square.
    nodes, weights = np.polynomial.legendre.leggauss(_AREA_NODES)
    radii = np.append(small, np.sqrt(0.5 * (nodes + 1)))
    edges = _find_edges(destinations, radii, norm)
    shares = np.zeros((len(radii), destinations.states.sizes["state"] + 1))
    for arc in range(len(radii)):
        mine = np.flatnonzero(edges.arc == arc)
        if len(mine) == 0:
            start = _starts(radii[arc : arc + 1], np.array([_OFFSET]), norm)
            shares[arc, destinations.assign(start)[0]] = 1.0
        ahead = np.roll(edges.angle[mine], -1) - edges.angle[mine]
        np.add.at(shares[arc], edges.after[mine], np.where(ahead > 0, ahead, ahead + 2 * np.pi) / (2 * np.pi))
    return destinations.states, shares[0], 0.5 * weights @ shares[1:]


def _starts(radius: FloatArray, angle: FloatArray, squared_norm: float) -> FloatArray:
    """Return the states (q, r) at polar coordinates of the plane of cosine similarities."""
    # Rounding must not move a start on the rim outside |q|^2 <= r.
    root = np.sqrt(squared_norm) * np.minimum(radius, 1 - 1e-15)
    return np.column_stack([root * np.cos(angle), root * np.sin(angle), np.full(len(angle), squared_norm)])


def _find_edges(destinations: Destinations, radii: FloatArray, squared_norm: float) -> _Edges:
    """Return all changes of destination along full circles, in the order of arcs and angles."""
    angles, is_ray = _choose_angles(destinations)
    arc, column = (index.ravel() for index in np.indices((len(radii), len(angles))))
    reached = destinations.assign(_starts(radii[arc], angles[column], squared_norm)).reshape(len(radii), -1)
    # By symmetry, a start on a ray may come to rest at a saddle.
    is_stable = np.append(destinations.states.stable.values, False)  # the last entry is for NOT_SETTLED, -1
    reached[is_ray & ~is_stable[reached]] = NOT_SETTLED
    # A single start that settles nowhere is close to a border: the cells on both sides of it are searched as one.
    is_alone = (reached == NOT_SETTLED) & (np.roll(reached, 1, axis=1) >= 0) & (np.roll(reached, -1, axis=1) >= 0)
    reached = np.where(is_alone, np.roll(reached, 1, axis=1), reached)
    changes = np.argwhere(reached != np.roll(reached, -1, axis=1))
    arc, column = changes[:, 0], changes[:, 1]
    first, last = angles[column - is_alone[arc, column]], np.roll(angles, -1)[column]
    first, last = first - 2 * np.pi * (first > angles[column]), last + 2 * np.pi * (last < angles[column])
    ends = reached[arc, column], np.roll(reached, -1, axis=1)[arc, column]
    cells: tuple[NDArray[Any], ...] = (arc, first, last, *ends)
    cells, angle, unsettled = _halve(destinations, radii, squared_norm, cells, unsettled_is_before=True)
    if unsettled.any():
        # Near a weak saddle a band of starts does not settle; take its middle.
        rest = tuple(column[unsettled] for column in cells)
        _, other, _ = _halve(destinations, radii, squared_norm, rest, unsettled_is_before=False)
        angle[unsettled] = 0.5 * (angle[unsettled] + other[: len(rest[0])])
    arc, _, _, before, after = cells
    order = np.lexsort((angle, arc))
    return _Edges(arc[order], angle[order], before[order], after[order])


def _choose_angles(destinations: Destinations) -> tuple[FloatArray, NDArray[np.bool_]]:
    """Return the directions of the first starts, evenly spaced and rays to the stable states, and which are rays.

    A region narrower than the spacing is found by the ray to its state.
    """
    states = destinations.states
    overlaps = states.overlap.values[states.stable.values & np.any(states.overlap.values != 0, axis=1)]
    rays = (np.arctan2(overlaps[:, 1], overlaps[:, 0]) - _OFFSET) % (2 * np.pi) + _OFFSET
    even = _OFFSET + 2 * np.pi * np.arange(_ANGLES) / _ANGLES
    angles, first = np.unique(np.append(even, rays), return_index=True)
    return angles, first >= _ANGLES


def _halve(
    destinations: Destinations,
    radii: FloatArray,
    squared_norm: float,
    cells: tuple[NDArray[Any], ...],
    *,
    unsettled_is_before: bool,
) -> tuple[tuple[NDArray[Any], ...], FloatArray, NDArray[np.bool_]]:
    """Halve cells (arc, low, high, before, after) around edges.

    Where a third region lies between, the part beyond a start in it becomes a cell of its own, behind the others.

    Returns the cells, each around one edge, their angles, and for which cells a start did not settle; such a start
    counts as before or after the edge according to `unsettled_is_before`.
    """
    arc, first, last, before, after = cells
    low, high, unsettled = first, last, np.zeros(len(arc), dtype=bool)
    while len(low) > 0 and np.max(high - low) > _WIDTH:
        middle = 0.5 * (low + high)
        found = destinations.assign(_starts(radii[arc], middle, squared_norm))
        is_other = (found != before) & (found != after)
        # A start that comes to rest at a saddle lies on a border, and counts as one that does not settle.
        is_third = is_other & (found != NOT_SETTLED) & destinations.states.stable.values[found]
        is_before = np.where(is_other & ~is_third, unsettled_is_before, found == before)
        unsettled |= is_other & ~is_third
        beyond = [values[is_third] for values in (arc, middle, high, found, after)]
        low, high = np.where(is_before, middle, low), np.where(is_before, high, middle)
        last, after = np.where(is_third, middle, last), np.where(is_third, found, after)
        arc, first, last, before, after = (
            np.append(values, more) for values, more in zip((arc, first, last, before, after), beyond, strict=True)
        )
        low, high = np.append(low, beyond[1]), np.append(high, beyond[2])
        unsettled = np.append(unsettled, np.zeros(len(beyond[0]), dtype=bool))
    return (arc, first, last, before, after), 0.5 * (low + high), unsettled


def _approach_saddles(destinations: Destinations, starts: FloatArray) -> tuple[IntArray, FloatArray]:
    """Return the unstable state with overlap that each trajectory comes closest to, and its least distance."""
    states = destinations.states
    saddles = np.flatnonzero(~states.stable.values & np.any(states.overlap.values != 0, axis=1))
    if len(saddles) == 0 or len(starts) == 0:
        return np.full(len(starts), NOT_SETTLED), np.full(len(starts), np.nan)
    paths = destinations.follow(starts, _TIMES * slowness(destinations.model))
    distance = np.stack(
        [np.linalg.norm(paths - target, axis=-1).min(axis=1) for target in destinations.targets[saddles]], axis=-1
    )
    nearest = np.argmin(distance, axis=1)
    return saddles[nearest], distance[np.arange(len(starts)), nearest]


def _join_edges(edges: _Edges, radii: FloatArray, saddle: IntArray, distance: FloatArray) -> xr.Dataset:
    """Join edges between the same two regions to curves, by their rank if an arc has several."""
    names: dict[tuple[int, int, int], int] = {}
    curve = np.empty(len(edges.arc), dtype=np.int64)
    ranks: dict[tuple[int, int, int], int] = {}
    for k, (arc, before, after) in enumerate(zip(edges.arc, edges.before, edges.after, strict=True)):
        rank = ranks.get((arc, before, after), 0)
        ranks[arc, before, after] = rank + 1
        curve[k] = names.setdefault((before, after, rank), len(names))
    shape = (len(names), len(radii))
    first, second, gap = (np.full(shape, np.nan) for _ in range(3))
    approached = np.full(shape, NOT_SETTLED)
    first[curve, edges.arc] = radii[edges.arc] * np.cos(edges.angle)
    second[curve, edges.arc] = radii[edges.arc] * np.sin(edges.angle)
    approached[curve, edges.arc], gap[curve, edges.arc] = saddle, distance
    return _label_curves(first, second, approached, gap)


def _label_curves(first: FloatArray, second: FloatArray, saddle: IntArray, distance: FloatArray) -> xr.Dataset:
    dims = ("curve", "point")
    return labelled(
        {
            "separatrix_1": (dims, first),
            "separatrix_2": (dims, second),
            "saddle": (dims, saddle),
            "saddle_distance": (dims, distance),
        },
        {"curve": np.arange(first.shape[0]), "point": np.arange(first.shape[1])},
    )


def trace_stable_manifolds(model: ContrastiveModel, *, points: int = 65) -> xr.Dataset:
    """Return the separatrices on the sphere: the stable manifolds of all saddles, followed backwards in time.

    Parameters
    ----------
    model : ContrastiveModel
        With two features and the sphere constraint.
    points : int
        Number of points of each curve, evenly spaced along it.

    Returns
    -------
    xarray.Dataset
        As `track_edges`. A saddle has two curves, one for each sense of its eigenvector; they begin next to it and end
        at the rim |S| = 1 or near a state that repels. The saddle distance is the length of the first step.

    Raises
    ------
    ClhdError
        If the model has another number of features or no sphere constraint, or its loss does not factorise over the
        samples (infonce).
    """
    check_two_features(model)
    if not model.is_sphere:
        raise InputError(f"constraint = {model.constraint!r}: must be 'sphere', where a stable manifold is a curve")
    destinations, flow = Destinations(model), Flow(model)
    overlaps = destinations.states.overlap.values
    curves: list[FloatArray] = []
    owners: list[int] = []
    for k, overlap in enumerate(overlaps):
        rates, vectors = np.linalg.eig(flow.jacobian(np.append(overlap, 1.0)))
        if np.isrealobj(rates) and rates.min() < 0 < rates.max():
            for sense in (1.0, -1.0):
                start = overlap + sense * _FIRST_STEP * vectors[:, np.argmin(rates)]
                if np.linalg.norm(start) < 1:
                    curves.append(_follow_backwards(flow, start, overlaps, points))
                    owners.append(k)
    paths = np.array(curves).reshape(-1, points, 2)
    saddle = np.repeat(np.array(owners, dtype=np.int64)[:, None], points, axis=1)
    return _label_curves(paths[..., 0], paths[..., 1], saddle, np.full(saddle.shape, _FIRST_STEP)).merge(
        destinations.states
    )


def _follow_backwards(flow: Flow, start: FloatArray, overlaps: FloatArray, points: int) -> FloatArray:
    """Return `points` evenly spaced points on the path back in time from `start` to the rim or a state of rest."""

    def distance_to_rim(_: float, overlap: FloatArray) -> float:
        return 1.0 - float(overlap @ overlap)

    def distance_to_rest(_: float, overlap: FloatArray) -> float:
        return float(np.linalg.norm(overlaps - overlap, axis=1).min()) - _REST_DISTANCE

    distance_to_rim.terminal = True  # type: ignore[attr-defined]
    distance_to_rest.terminal = True  # type: ignore[attr-defined]
    distance_to_rest.direction = -1.0  # type: ignore[attr-defined]  # the start itself is close to its saddle
    path = integrate.solve_ivp(
        lambda _, overlap: -flow.velocity(np.append(overlap, 1.0))[:-1],
        (0.0, _MAX_TIME * slowness(flow.model)),
        start,
        method="DOP853",
        events=(distance_to_rim, distance_to_rest),
        dense_output=True,
        rtol=1e-11,
        atol=1e-13,
    )
    times = np.linspace(0.0, path.t[-1], 4001)
    follow: Callable[[FloatArray], FloatArray] = path.sol  # type: ignore[assignment]  # not None: dense_output=True
    fine = follow(times).T
    length = np.append(0.0, np.cumsum(np.linalg.norm(np.diff(fine, axis=0), axis=1)))
    return follow(np.interp(np.linspace(0.0, length[-1], points), length, times)).T

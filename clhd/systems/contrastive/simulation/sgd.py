"""Online SGD at finite dimension, by the exact projected chain or with the full weight vector.

`simulate_sgd` simulates one point, `simulate_points` many at once, as a sweep needs it. Replicas of different points
share the lanes of the projected engine; the bits of each depend on its point and replica alone.

| name | shape | unit or scale |
|---|---|---|
| order parameters | (points, replicas, times, feature + 1) | overlaps, then the squared norm |
| of d > 1 units | (points, replicas, times, d (feature + d)) | overlaps by unit, then rows of the Gram matrix |
"""

from __future__ import annotations

import threading
import time as clock
from collections.abc import Callable, Hashable, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass, field
from functools import partial
from itertools import product
from typing import Protocol

import numpy as np

from clhd.core.arrays import FloatArray
from clhd.core.checks import parse_count, parse_threads, parse_times
from clhd.core.lazy import xr
from clhd.errors import InputError, SimulationStopped
from clhd.systems.contrastive.model.contrastive import DIVERGENCE_LIMIT, ContrastiveModel
from clhd.systems.contrastive.model.labels import GRAM_WORDS, labelled
from clhd.systems.contrastive.model.state import cosine_similarity, parse_initial
from clhd.systems.contrastive.simulation.chains import choose_chain
from clhd.systems.contrastive.simulation.full import FullReplica
from clhd.systems.contrastive.simulation.lockstep import LANES, Lockstep, family
from clhd.systems.contrastive.simulation.point import Point
from clhd.systems.contrastive.simulation.projected_weights import WeightGroup, count_weight_lanes

# Duration of a kernel call: short enough for a prompt stop, long enough that the call itself costs nothing.
_SEGMENT_SECONDS = 0.25
_FIRST_SEGMENT = 64
_MOST_STEPS = 2**53


# Takes the indices of a point, a replica and an output time; the weights, shape (n,) or (unit, n); the features, shape
# (p, n). The arrays change afterwards.
Observer = Callable[[int, int, int, FloatArray, FloatArray], None]


class _Runner(Protocol):
    """A group of lanes or one full replica."""

    def advance(self, steps: int) -> None: ...


def simulate_sgd(
    model: ContrastiveModel,
    *,
    dimension: int,
    time: Sequence[float] | FloatArray,
    overlap: Sequence[float] | Sequence[Sequence[float]] | FloatArray | None = None,
    squared_norm: float | Sequence[Sequence[float]] | FloatArray = 1.0,
    replicas: int = 1,
    seed: int = 0,
    engine: str = "projected",
    initial: str = "fixed",
    keep_weights: bool = False,
    threads: int | None = None,
) -> xr.Dataset:
    """Simulate replicas of one point by online SGD.

    Parameters
    ----------
    model : ContrastiveModel
    dimension : int
        n, at least p + d + 1.
    time : sequence of float
        Output times in steps per dimension, strictly increasing; time t is step round(n t).
    overlap : sequence of float, shape (feature,), or (unit, feature) for several units
        Overlap of the initial weights, with ``initial="fixed"``; |overlap|^2 <= squared_norm.
    squared_norm : float, or array of shape (unit, unit) for several units
        Squared norm of the initial weights; with ``initial="random"`` their variance. 1 on the sphere. Of several
        units a number is the squared norm of each, and their parts outside the features are orthogonal to each other;
        a matrix has their products w_i . w_k / n.
    replicas : int
        Number of independent runs; run k does not depend on how many there are.
    seed : int
        Root seed. The stream of a replica is keyed by the seed, the point's exact parameters and the replica.
    engine : str
        "projected": the exact chain of the order parameters, at a cost that does not depend on n. "full": the
        n-dimensional weight vector, also for the elastic net, other noise laws and the weights themselves.
        "conditioned": the n-dimensional weight vector of one unit with Gaussian noise, by one noise vector a step.
    initial : str
        "fixed", or "random": w ~ N(0, squared_norm I).
    keep_weights : bool
        Keep weights and features at the output times; of several units only with ``engine="full"``. The random numbers
        of the projected engine are then others.
    threads : int, optional
        Number of threads, by default one per core; results do not depend on it.

    Returns
    -------
    xarray.Dataset

    | variable | dims | meaning |
    |---|---|---|
    | overlap | replica, time, feature | xi_j . w / n |
    | squared_norm | replica, time | abs(w)^2 / n |
    | cosine_similarity | replica, time, feature | overlap / sqrt(squared_norm), NaN at 0 |
    | diverged | replica | the squared norm passed 1e8 at an output time; values are NaN from then on |
    | weights | replica, time, coordinate | with keep_weights |
    | features | replica, feature, coordinate | with keep_weights |

    With several units, overlap, cosine_similarity and weights have the dim ``unit`` after the time, and squared_norm is
    the Gram matrix of the units, with dims replica, time, unit, unit_2.

    Raises
    ------
    ClhdError
        If a value is not allowed, or only the full engine can simulate the model.
    """
    parse_initial(initial, overlap)
    point = Point(
        model=model,
        dimension=dimension,
        overlap=overlap,
        squared_norm=squared_norm,
        seed=seed,
        engine=engine,
    )
    times = parse_times(time)
    count = parse_count("replicas", replicas, minimum=1)
    vectors = _Vectors(point, count, len(times)) if keep_weights else None
    observe = None if vectors is None else vectors.write
    values = simulate_points([point], times, range(count), threads=threads, observe=observe)[0]
    dataset = _as_dataset(
        values, times, model.units, {"model": model.canonical(), "dimension": point.dimension, "seed": point.seed}
    )
    return dataset if vectors is None else dataset.merge(vectors.as_dataset())


def simulate_points(
    points: Sequence[Point],
    time: Sequence[float] | FloatArray,
    replicas: Sequence[int],
    *,
    threads: int | None = None,
    should_stop: Callable[[], bool] | None = None,
    observe: Observer | None = None,
) -> FloatArray:
    """Simulate the same replicas of many points.

    Parameters
    ----------
    points : sequence of Point
    time : sequence of float
        Output times in steps per dimension, strictly increasing; time t is step round(n t).
    replicas : sequence of int
        Indices of the replicas.
    threads : int, optional
        By default one per core.
    should_stop : callable, optional
        Called between segments of about a quarter of a second; True ends the simulation.
    observe : callable, optional
        Called with the weights and features of each run at each output time, from several threads; see `Observer`.

    Returns
    -------
    array of shape (points, replicas, times, d (feature + d)), d units
        Overlaps, then the squared norm, or the Gram matrix row by row; NaN from the output time on at which a replica
        has diverged.

    Raises
    ------
    ValueError
        If the points do not all have the same number of features and of units.
    ClhdError
        If the times are not allowed, or `threads` is not at least 1.
    SimulationStopped
        If `should_stop` returned True.
    """
    shapes = {(point.model.features, point.model.units) for point in points}
    if len(shapes) != 1:
        raise ValueError(f"points must share their number of features and of units, not have {sorted(shapes)}")
    ((features, units),) = shapes
    times = parse_times(time)
    workers = parse_threads(threads)
    values = np.full((len(points), len(replicas), len(times), units * (features + units)), np.nan)
    work = _Work(points, times, replicas, values, observe, should_stop)
    with ThreadPoolExecutor(workers) as pool:
        tasks = [pool.submit(job) for job in work.list_jobs()]
        try:
            for task in as_completed(tasks):
                task.result()
        except BaseException:
            # After an interrupt or a failure the other threads end at their next segment.
            work.stop.set()
            pool.shutdown(cancel_futures=True)
            raise
    return _blank_diverged(values, units)


@dataclass(frozen=True, eq=False)
class _Work:
    """The replicas of many points, as jobs that write their order parameters into one array.

    A lane is a pair of indices, into the points and into the replicas. The other names are those of `simulate_points`.
    """

    points: Sequence[Point]
    times: FloatArray
    replicas: Sequence[int]
    values: FloatArray
    observe: Observer | None
    should_stop: Callable[[], bool] | None
    stop: threading.Event = field(default_factory=threading.Event)

    def list_jobs(self) -> list[Callable[[], None]]:
        """Return the jobs: a group of lanes each, or one replica of an engine in n dimensions."""
        groups = _pack(self.points, len(self.replicas), with_weights=self.observe is not None)
        full = [p for p, point in enumerate(self.points) if point.engine != "projected"]
        jobs: list[Callable[[], None]] = [partial(self._run_group, lanes) for lanes in groups]
        jobs += [partial(self._run_full, p, k) for p, k in product(full, range(len(self.replicas)))]
        return jobs

    def _run_group(self, lanes: Sequence[tuple[int, int]]) -> None:
        """Simulate lanes of one family, ordered by point."""
        indices: dict[int, list[int]] = {}
        for p, k in lanes:
            indices.setdefault(p, []).append(self.replicas[k])
        group = _gather([(self.points[p], own) for p, own in indices.items()], with_weights=self.observe is not None)
        of_point, of_replica = np.array(lanes).T

        def write(index: int) -> None:
            if self.observe is not None and isinstance(group, WeightGroup):
                group.draw()
                for (p, k), weights, features in zip(lanes, group.weights, group.features, strict=True):
                    self.observe(p, k, index, weights, features)
            self.values[of_point, of_replica, index] = group.order_parameters()

        self._advance(group, self.points[lanes[0][0]].dimension, write)

    def _run_full(self, p: int, k: int) -> None:
        """Simulate one replica of one point in n dimensions."""
        point = self.points[p]
        start = None if point.overlap is None else np.array(point.overlap)
        replica = FullReplica(
            point.model,
            point.dimension,
            point.key,
            self.replicas[k],
            overlap=start,
            squared_norm=point.squared_norm,
            engine=point.engine,
        )

        def write(index: int) -> None:
            self.values[p, k, index] = np.concatenate([part.ravel() for part in replica.order_parameters()])
            if self.observe is not None:
                self.observe(p, k, index, replica.weights, replica.features)

        self._advance(replica, point.dimension, write)

    def _advance(self, runner: _Runner, dimension: int, write: Callable[[int], None]) -> None:
        """Advance `runner` through all output times, in segments between which it can be stopped."""
        size = _FIRST_SEGMENT
        for index, steps in enumerate(count_steps(self.times, dimension)):
            remaining = steps
            while remaining > 0:
                segment = min(size, remaining)
                begin = clock.perf_counter()
                runner.advance(segment)
                remaining -= segment
                if clock.perf_counter() - begin < _SEGMENT_SECONDS / 2 and segment == size:
                    size *= 2
                if self.stop.is_set() or (self.should_stop is not None and self.should_stop()):
                    raise SimulationStopped("the simulation was stopped")
            write(index)


def count_steps(times: FloatArray, dimension: int) -> list[int]:
    """Return the number of steps to each output time from the one before; time t is step round(n t).

    Raises
    ------
    ClhdError
        If there are more steps than can be counted exactly, 2^53.
    """
    if not dimension * float(times[-1]) <= _MOST_STEPS:
        raise InputError(
            f"dimension = {dimension}: to time {times[-1]:g} a run has {dimension * float(times[-1]):.3g} steps, "
            f"and at most {_MOST_STEPS:.3g} can be counted"
        )
    steps: list[int] = np.diff(np.rint(dimension * times).astype(np.int64), prepend=0).tolist()
    return steps


def _gather(pieces: Sequence[tuple[Point, Sequence[int]]], *, with_weights: bool) -> Lockstep | WeightGroup:
    """Return the group of lanes of these replicas, all of one family."""
    if with_weights:
        return WeightGroup(pieces)
    return choose_chain(pieces[0][0].model)(pieces)


def _pack(points: Sequence[Point], replicas: int, *, with_weights: bool) -> list[list[tuple[int, int]]]:
    """Return groups of lanes of one family; a lane is a pair of indices of point and replica."""
    families: dict[object, list[tuple[int, int]]] = {}
    for p, point in enumerate(points):
        if point.engine == "projected":
            families.setdefault(family(point), []).extend((p, k) for k in range(replicas))
    groups = []
    for lanes in families.values():
        size = count_weight_lanes(points[lanes[0][0]].dimension) if with_weights else LANES
        groups += [lanes[i : i + size] for i in range(0, len(lanes), size)]
    return groups


def _blank_diverged(values: FloatArray, units: int) -> FloatArray:
    """Set NaN from the first output time at which a squared norm is not finite or passes the limit."""
    with np.errstate(invalid="ignore"):
        lost = ~(np.abs(values[..., -(units**2) :]) <= DIVERGENCE_LIMIT).all(axis=-1)
    values[np.logical_or.accumulate(lost, axis=-1)] = np.nan
    return values


def split_values(values: FloatArray, units: int) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Split the values of `simulate_points` into overlap, squared norm and cosine similarity.

    Of one unit they have shapes (..., feature), (...) and (..., feature). Of several units they have shapes
    (..., unit, feature), (..., unit, unit) and (..., unit, feature).
    """
    if units == 1:
        return values[..., :-1], values[..., -1], cosine_similarity(values[..., :-1], values[..., -1])
    overlap = values[..., : -(units**2)].reshape(*values.shape[:-1], units, -1)
    gram = values[..., -(units**2) :].reshape(*values.shape[:-1], units, units)
    return overlap, gram, cosine_similarity(overlap, np.diagonal(gram, axis1=-2, axis2=-1))


def _as_dataset(values: FloatArray, times: FloatArray, units: int, attributes: dict[Hashable, object]) -> xr.Dataset:
    """Label the values of one point, as `simulate_points` returns them."""
    overlap, squared_norm, similarity = split_values(values, units)
    several = ("unit",) if units > 1 else ()
    gram = ("unit", "unit_2") if units > 1 else ()
    diverged = np.asarray(np.isnan(values[..., -1]).any(axis=-1))
    coordinates = {"replica": np.arange(len(values)), "time": times, "feature": np.arange(1, overlap.shape[-1] + 1)}
    dataset = labelled(
        {
            "overlap": (("replica", "time", *several, "feature"), overlap),
            "squared_norm": (("replica", "time", *gram), squared_norm),
            "cosine_similarity": (("replica", "time", *several, "feature"), similarity),
            "diverged": (("replica",), diverged),
        },
        coordinates | {name: np.arange(1, units + 1) for name in gram},
        attributes,
    )
    if units > 1:
        dataset["squared_norm"].attrs = dict(GRAM_WORDS)
    return dataset


class _Vectors:
    """Weights and features of every replica, kept on request."""

    def __init__(self, point: Point, replicas: int, times: int) -> None:
        units = point.model.units
        several = (units,) if units > 1 else ()
        self._dims = ("replica", "time", *(("unit",) if units > 1 else ()), "coordinate")
        self._weights = np.empty((replicas, times, *several, point.dimension))
        self._features = np.empty((replicas, point.model.features, point.dimension))

    def write(self, point: int, replica: int, index: int, weights: FloatArray, features: FloatArray) -> None:
        """Copy the vectors of one replica at one output time."""
        self._weights[replica, index] = weights
        self._features[replica] = features

    def as_dataset(self) -> xr.Dataset:
        """Return weights and features as a labelled dataset."""
        return labelled(
            {
                "weights": (self._dims, self._weights),
                "features": (("replica", "feature", "coordinate"), self._features),
            },
            {"coordinate": np.arange(self._weights.shape[-1])},
        )

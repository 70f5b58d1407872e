"""The system "attractors": how many attractors a unit has, by clusters of the ends of SGD and by fixed points.

One run is a whole cloud: `cloud_size` runs of SGD from random weights w ~ N(0, r I). At each output time the overlaps
of the cloud are clustered (`clhd.core.clusters`). The theory is the number of stable fixed points of the ODE, with all
images under sign changes (`theory.fixed_points`). It is NaN where a state is marginal: then a continuum of states
attracts, or a bifurcation is near; and for relu without noise, where states have no Jacobian. With several features
this model has no theory: the points fail, see `find_fixed_points`.

| output | dims | meaning |
|---|---|---|
| attractors | time, cluster_method | number of clusters; theory: of stable fixed points, at all times |
| noise_share | time, cluster_method | simulation: share of the cloud that is in no cluster |
| cluster_share | time, cluster_method, cluster_rank | simulation: share of the cloud by size; NaN beyond the last |

SGD run i of replica k is run k cloud_size + i of the system "selection": the first 500 runs of a first cloud of 1000
are those of a first cloud of 500.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np

from clhd.core.arrays import FloatArray
from clhd.core.clusters import METHODS, check_method, count_clusters
from clhd.errors import ClhdError, InputError
from clhd.systems.contrastive.model.contrastive import ContrastiveModel
from clhd.systems.contrastive.model.labels import WORDS
from clhd.systems.contrastive.simulation.point import Point
from clhd.systems.contrastive.simulation.sgd import simulate_points
from clhd.systems.contrastive.sweeps.contrastive import ContrastiveSimulation, ContrastiveTheory
from clhd.systems.contrastive.sweeps.outputs import NOTHING, label_outputs
from clhd.systems.contrastive.sweeps.parameters import PARAMETERS
from clhd.systems.contrastive.theory.states.fixed_points import find_fixed_points
from clhd.systems.declarations import Cost, Outputs, Parameter, Result, Status, Value, choice, count, number
from clhd.systems.protocol import System

# Measured, in seconds: one cloud of 1000 by both methods at one time; all fixed points, per square of features.
_CLUSTER_SECONDS, _THEORY_SECONDS = 0.04, 0.05
_LARGEST_KEPT = 10_000  # runs of a cloud that is kept for other points
_OF_STARTS = {"initial", "initial_cosine_similarity", "initial_overlap", "initial_overlaps"}
_NOT_HERE = {*_OF_STARTS, "correlation_acts_on", "units", "decorrelation", "decorrelation_function"}
_OWN: dict[str, Parameter] = {
    "cloud_size": count(1000, "runs of SGD in a cloud", minimum=10, maximum=10**6, in_theory=False),
    "cluster_methods": choice(
        "both", "how clusters are found; hdbscan needs scikit-learn", ("both", *METHODS), can_vary=False
    ),
    "smallest_share": number(
        0.02, "share of the cloud below which a cluster does not count", minimum=0, maximum=1, in_theory=False
    ),
    "cluster_neighbours": count(40, "neighbours, of quickshift++", "k", minimum=2, in_theory=False),
    "core_fluctuation": number(
        0.9,
        "by how much the density may vary in a core, of quickshift++",
        "beta",
        minimum=0,
        maximum=1,
        in_theory=False,
    ),
    "max_clusters": count(
        64,
        "clusters for whose shares there is room; more fail the run",
        minimum=1,
        maximum=10**4,
        in_theory=False,
        can_vary=False,
    ),
    "theory": choice(
        "fixed_points",
        "what is predicted: the number of stable fixed points, or nothing",
        ("fixed_points", "none"),
        in_simulation=False,
        can_vary=False,
    ),
}
_SIMULATION, _THEORY = ContrastiveSimulation(), ContrastiveTheory()
_DIMS = ("time", "cluster_method")


@dataclass(frozen=True, kw_only=True)
class CloudPoint:
    """A point of the simulation: of SGD, and how its cloud is clustered."""

    point: Point
    size: int
    methods: tuple[str, ...]
    settings: tuple[tuple[str, Any], ...]  # arguments of `count_clusters`
    room: int

    @property
    def key(self) -> str:
        """The point as text, exact to the last bit."""
        settings = ",".join(f"{name}={value!r}" for name, value in self.settings)
        return f"{self.point.key}|cloud={self.size}|{'+'.join(self.methods)}|{settings}"


@dataclass(frozen=True, kw_only=True)
class AttractorsTheoryPoint:
    """A point of the theory."""

    model: ContrastiveModel
    methods: int


class AttractorsSimulation:
    """Clusters of clouds of SGD; see `clhd.systems.protocol.Half`."""

    version = _SIMULATION.version
    per_replica = False

    def point(self, values: Mapping[str, Value], seed: int) -> CloudPoint:
        size, neighbours = _find(values, "cloud_size"), _find(values, "cluster_neighbours")
        if neighbours > size:
            raise InputError(f"cluster_neighbours = {neighbours}: must not be greater than cloud_size = {size}")
        return CloudPoint(
            point=_SIMULATION.point(_contrastive(values), seed),
            size=size,
            methods=_list_methods(values),
            settings=(
                ("smallest_share", _find(values, "smallest_share")),
                ("neighbours", neighbours),
                ("fluctuation", _find(values, "core_fluctuation")),
            ),
            room=_find(values, "max_clusters"),
        )

    def outputs(self, constants: Mapping[str, Value]) -> Outputs:
        if constants.get("simulation", "sgd") == "none":
            return NOTHING
        dims = {"attractors": _DIMS, "noise_share": _DIMS, "cluster_share": (*_DIMS, "cluster_rank")}
        return _declare(constants, dims, "cluster_share")

    def cost(self, point: CloudPoint, time: FloatArray) -> Cost:
        of_clusters = _CLUSTER_SECONDS * len(time) * (point.size / 1000)
        return Cost(seconds=_SIMULATION.cost(point.point, time).seconds * point.size + of_clusters)

    def compute(self, points: Sequence[CloudPoint], time: FloatArray, replicas: Sequence[int]) -> Result:
        shape, methods, room = (len(points), len(replicas)), points[0].methods, points[0].room
        sizes = {"attractors": (), "noise_share": (), "cluster_share": (room,)}
        values = {name: np.full((*shape, len(time), len(methods), *inner), np.nan) for name, inner in sizes.items()}
        status = np.full(shape, Status.OK, np.int8)
        errors: dict[tuple[int, ...], Exception] = {}
        for place in np.ndindex(shape):
            try:
                found = _count(points[place[0]], time, replicas[place[1]])
            except ClhdError as error:
                status[place], errors[place] = Status.FAILED, error
                continue
            status[place] = Status.OK if found else Status.DIVERGED
            for name, array in found.items():
                values[name][place] = array
        return Result(values=values, status=status, errors=errors)


class AttractorsTheory:
    """The number of stable fixed points; see `clhd.systems.protocol.Half`."""

    version = 4  # squared norms far above 30; NaN for a relu unit without noise
    per_replica = False

    def point(self, values: Mapping[str, Value], seed: int) -> AttractorsTheoryPoint:
        model = _THEORY.point(_contrastive(values), seed).model
        _ = model.loss_terms  # refuses several units
        return AttractorsTheoryPoint(model=model, methods=len(_list_methods(values)))

    def outputs(self, constants: Mapping[str, Value]) -> Outputs:
        if constants.get("theory", "fixed_points") == "none":
            return NOTHING
        return _declare(constants, {"attractors": _DIMS}, "attractors")

    def cost(self, point: AttractorsTheoryPoint, time: FloatArray) -> Cost:
        return Cost(seconds=_THEORY_SECONDS * point.model.features**2)

    def compute(self, points: Sequence[AttractorsTheoryPoint], time: FloatArray, replicas: Sequence[int]) -> Result:
        counts = [np.full((len(time), point.methods), count_attractors(point.model)) for point in points]
        return Result(values={"attractors": np.stack(counts)}, status=np.full(len(points), Status.OK, np.int8))


class AttractorsSystem(System):
    """The attractors of the contrastive unit, counted in clouds of SGD and by fixed points."""

    title = "attractors of the contrastive unit"
    parameters = {name: value for name, value in PARAMETERS.items() if name not in _NOT_HERE} | _OWN
    time = WORDS["time"]
    limit = "limit of infinite dimension"
    quantity = "attractors"
    components = "features"
    claims = {name: f"clhd.systems.contrastive.claims.attractors:{name}" for name in ("Q2", "Q3")}
    figures = {"attractors": "clhd.systems.contrastive.figures.attractors:plot_attractors"}
    simulation = AttractorsSimulation()
    theory = AttractorsTheory()


def count_attractors(model: ContrastiveModel) -> float:
    """Return the number of stable fixed points of the ODE, with images under sign changes.

    It is NaN if one is marginal, or has no Jacobian but may attract, as those of a relu unit without noise.

    Parameters
    ----------
    model : ContrastiveModel
    """
    states = find_fixed_points(model)
    is_unknown = states["eigenvalues"].isnull().any("mode") & (states["kind"] != "collapsed")
    if bool((states["marginal"] | is_unknown).any()):
        return np.nan
    return float(states["multiplicity"].where(states["stable"], 0).sum())


def _find(values: Mapping[str, Value], name: str) -> Any:
    return values.get(name, _OWN[name].default)


def _list_methods(values: Mapping[str, Value]) -> tuple[str, ...]:
    chosen = str(_find(values, "cluster_methods"))
    return METHODS if chosen == "both" else (chosen,)


def _contrastive(values: Mapping[str, Value]) -> dict[str, Value]:
    """The values as the system "contrastive" takes them: random weights, and no parameter of this system alone."""
    return {name: value for name, value in values.items() if name not in _OWN} | {"initial": "random"}


def _simulate_cloud(point: Point, size: int, time: tuple[float, ...], replica: int) -> FloatArray:
    """The overlaps of a cloud, shape (runs, times, features)."""
    return simulate_points([point], time, range(replica * size, (replica + 1) * size), threads=1)[0, ..., :-1]


# Points that differ in how they are clustered share their clouds, which are nearly all of the work.
_recall_cloud = lru_cache(maxsize=16)(_simulate_cloud)


def _count(point: CloudPoint, time: FloatArray, replica: int) -> dict[str, FloatArray]:
    """The clusters of one cloud at each time, by each method; nothing if a run of the cloud has diverged."""
    for method in point.methods:
        check_method(method)  # before the long work
    find_cloud = _recall_cloud if point.size <= _LARGEST_KEPT else _simulate_cloud
    overlap = find_cloud(point.point, point.size, tuple(time), replica)
    if not np.isfinite(overlap).all():
        return {}
    shape = (len(time), len(point.methods))
    counted, noise, share = np.empty(shape), np.empty(shape), np.full((*shape, point.room), np.nan)
    for k, m in np.ndindex(shape):
        found = count_clusters(overlap[:, k], method=point.methods[m], **dict(point.settings))
        counted[k, m], noise[k, m] = found["clusters"], found["noise_share"]
        if counted[k, m] > point.room:
            raise InputError(f"max_clusters = {point.room}: {point.methods[m]} found {int(counted[k, m])} clusters")
        share[k, m, : int(counted[k, m])] = found["share"]
    return {"attractors": counted, "noise_share": noise, "cluster_share": share}


def _declare(constants: Mapping[str, Value], dims: Mapping[str, tuple[str, ...]], may_be_nan: str) -> Outputs:
    """The outputs with these dims."""
    ranks = range(1, int(_find(constants, "max_clusters")) + 1)
    coordinates: dict[str, Sequence[Any]] = {"cluster_method": list(_list_methods(constants)), "cluster_rank": ranks}
    return label_outputs(dims, coordinates, (may_be_nan,))

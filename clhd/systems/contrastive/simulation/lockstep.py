"""Many replicas of many points in lockstep: what the chains of the order parameters share.

Every array has the lanes last and every loop runs over all lanes, so LLVM makes vector instructions of it. Groups of
lanes have a fixed size (padded), and each lane has its own stream: its bits depend on its point and replica alone.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Hashable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clhd.core.arrays import FloatArray, IntArray
from clhd.core.kernels import kernel
from clhd.core.streams import (
    aligned_zeros,
    fill_chi_squares,
    fill_laplace,
    fill_normal_pairs,
    fill_signs,
    fill_uniforms,
    gamma_constants,
    seed_states,
)
from clhd.systems.contrastive.model.contrastive import ContrastiveModel
from clhd.systems.contrastive.model.latents import DISCRETE, GAUSSIAN, SAMPLERS, UNIFORM, Latent
from clhd.systems.contrastive.simulation.point import Point

BitArray = NDArray[np.uint64]

# Lanes of one group: a multiple of the 32 numbers that LLVM takes at once. Rows of 256 lanes lay 2048 bytes apart, and
# every second one had the same address modulo 4096, so loads waited for stores to other rows: on Zen 4 a step of two
# features took 19.2 ns with 256 lanes, and 15.6 to 16.3 with 64, 96, 128 or 160.
LANES = 128
# Discrete laws are padded to at least this many atoms, so that most share one compiled kernel.
_MIN_ATOMS = 3
_SQRT_12 = math.sqrt(12.0)
# Code in kernels, beside those of `SAMPLERS`, of a latent that is its scale with a random sign.
SIGN = len(SAMPLERS)
# Signs of latents that one word of random bits has beside a uniform number.
SIGNS = 12


@kernel
def sample_latents(state: BitArray, samplers: IntArray, group: Any) -> None:
    """Draw the latents of all samples into ``group.c``; signs are bits that the normal numbers left."""
    for m in range(len(group.c)):
        for j in range(len(samplers)):
            if samplers[j] == SIGN:
                place = m * len(samplers) + j
                fill_signs(group.bits[place // SIGNS], place % SIGNS, group.scale[j], group.c[m, j])
            else:
                _sample_latent(state, samplers[j], group, m, j)


@kernel
def _sample_latent(state: BitArray, sampler: int, group: Any, sample: int, j: int) -> None:
    """Draw the latent of one feature of one sample for each lane, into ``group.c[sample, j]``."""
    uniform = group.uniform
    c = group.c[sample, j]
    if sampler == DISCRETE:
        fill_uniforms(state, uniform)
        for i in range(LANES):
            # Choose atom k if cumulative[k] < uniform <= cumulative[k + 1]. Both sides of each choice are loaded
            # before it: a load that depends on the choice would not vectorise.
            u, drawn = uniform[i], group.values[j, 0, i]
            for k in range(1, group.values.shape[1]):
                atom, below = group.values[j, k, i], group.cumulative[j, k, i]
                drawn = atom if u > below else drawn
            c[i] = drawn
    elif sampler == GAUSSIAN:
        fill_normal_pairs(state, c, uniform)
        for i in range(LANES):
            c[i] *= group.scale[j, i]
    elif sampler == UNIFORM:
        fill_uniforms(state, uniform)
        for i in range(LANES):
            c[i] = group.scale[j, i] * _SQRT_12 * (uniform[i] - 0.5)
    else:
        fill_laplace(state, uniform, c)
        for i in range(LANES):
            c[i] *= group.scale[j, i]


class Lockstep(ABC):
    """Up to `LANES` replicas of points of one `family`, which advance in lockstep; a subclass has the chain.

    Parameters
    ----------
    pieces : sequence of (Point, sequence of int)
        Points and the replicas of each; lanes are filled in this order, and unused ones repeat the first.
    further : int
        Number of orthonormal directions without a latent, beside the features, along which the overlap is followed
        too, by the chains of one unit. It is 0 until their `restart`.

    Raises
    ------
    ValueError
        If the pieces hold more than `LANES` replicas, none, or points of different families.
    """

    def __init__(self, pieces: Sequence[tuple[Point, Sequence[int]]], further: int = 0) -> None:
        families = {family(point) for point, _ in pieces}
        self._further = further
        self.lanes = sum(len(replicas) for _, replicas in pieces)
        if len(families) != 1 or not 0 < self.lanes <= LANES:
            raise ValueError(f"a group holds 1 to {LANES} lanes of one family, not {self.lanes} of {len(families)}")
        first = pieces[0][0]
        model = first.model
        laws = [law for point, _ in pieces for law in point.model.latents]
        atoms = max([_MIN_ATOMS, *(len(law.atoms()[0]) for law in laws if law.is_discrete)])
        atoms = atoms if atoms == _MIN_ATOMS else 1 << (atoms - 1).bit_length()  # few sizes: each is compiled anew
        self._group = aligned_zeros(1, self._choose_type(model, atoms))[0]
        self._state = aligned_zeros((4, LANES), np.uint64)
        self._group["cumulative"][:] = 2.0  # an atom that no uniform number reaches
        self._codes = self._list_codes(model)
        padded = [*pieces, (first, [pieces[0][1][0]] * (LANES - self.lanes))]
        begin = 0
        for point, replicas in padded:
            if len(replicas) > 0:
                self._fill(slice(begin, begin + len(replicas)), point, replicas)
                begin += len(replicas)
        self._start(padded)

    def _fill(self, lanes: slice, point: Point, replicas: Sequence[int]) -> None:
        """Write the constants and the stream states of the lanes of one point."""
        model, n, group = point.model, point.dimension, self._group
        for name, value in self._list_constants(model, n).items():
            group[name][..., lanes] = value
        self._fill_chi_squares(lanes, model, n)
        for j, law in enumerate(model.latents):
            group["scale"][j, lanes] = law.scale
            if law.is_discrete:
                values, weights = law.atoms()
                self._group["values"][j, : len(values), lanes] = values[:, None]
                self._group["cumulative"][j, : len(values), lanes] = (np.cumsum(weights) - weights)[:, None]
        self._state[:, lanes] = seed_states(point.key, replicas)

    @abstractmethod
    def _choose_type(self, model: ContrastiveModel, atoms: int) -> np.dtype[np.void]:
        """Return the record type of the group."""

    @abstractmethod
    def _list_codes(self, model: ContrastiveModel) -> tuple[Any, ...]:
        """Return what the kernel branches on."""

    @abstractmethod
    def _list_constants(self, model: ContrastiveModel, n: int) -> dict[str, Any]:
        """Return the constants of a point that all its lanes share, by their names in the record."""

    @abstractmethod
    def _fill_chi_squares(self, lanes: slice, model: ContrastiveModel, n: int) -> None:
        """Write the constants of the chi-square numbers of the lanes of one point."""

    @abstractmethod
    def _start(self, pieces: Sequence[tuple[Point, Sequence[int]]]) -> None:
        """Draw the initial state; lanes with a fixed start also draw, so a group may have both kinds."""

    @abstractmethod
    def advance(self, steps: int) -> None:
        """Make `steps` steps of SGD in every lane, without the GIL."""

    @abstractmethod
    def order_parameters(self) -> FloatArray:
        """Return a copy of the order parameters of the lanes in use, shape (lanes, order parameter)."""


def draw_random_start(state: BitArray, q: FloatArray, n: int) -> FloatArray:
    """Draw the order parameters of a random vector with n standard normal coordinates, for each lane.

    Parameters
    ----------
    state : array of shape (4, lanes)
    q : array of shape (feature, lanes)
        Receives the coordinates along the features.
    n : int
        Number of dimensions.

    Returns
    -------
    array of shape (lanes,)
        Squared length of the rest of the vector: a chi-square number with n - p degrees of freedom.
    """
    normal, spare, d, c, chi_square = np.empty((5, LANES))
    for row in q:
        fill_normal_pairs(state, row, spare)
    fill_normal_pairs(state, normal, spare)
    gamma_constants(np.full(LANES, float(n - len(q))), d, c)
    fill_chi_squares(state, normal, d, c, spare, chi_square)
    return chi_square


def family(point: Point) -> tuple[Hashable, ...]:
    """Return what points must share to advance in one group: the dimension and everything that kernels branch on.

    A parameter that is missing here is for all lanes of a group that of the first point.
    """
    model = point.model
    return (
        point.dimension,
        model.activation,
        model.loss,
        model.views,
        model.units,
        model.centred,
        model.decorrelation_function,
        model.background,
        model.constraint,
        tuple(choose_sampler(law) for law in model.latents),
    )


def choose_samplers(model: ContrastiveModel, words: int) -> IntArray:
    """Return the code of how each latent is drawn; signs need so many words of random bits in each step."""
    if model.samples * model.features <= SIGNS * words:
        return np.array([choose_sampler(law) for law in model.latents])
    return np.array([SAMPLERS[law.sampler] for law in model.latents])


def choose_sampler(law: Latent) -> int:
    """Return the code of how a latent is drawn: `SIGN` for two symmetric atoms, else its sampler's."""
    if law.is_discrete:
        values, weights = law.atoms()
        if len(values) == 2 and values[0] == -values[1] and weights[0] == weights[1]:
            return SIGN
    return SAMPLERS[law.sampler]

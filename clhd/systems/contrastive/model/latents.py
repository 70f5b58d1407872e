"""Laws of the latent variable c of one feature: moments, atoms for the theory, and the sampler for the simulation.

| symbol | name | unit or scale |
|---|---|---|
| m = E c^2 | ``second_moment`` | squared signal amplitude of the feature |
| k = E c^4 / m^2 | ``kurtosis`` | 1 (two symmetric atoms) or more; 3 is the Gaussian's |
| E c^3 / m^(3/2) | ``skewness`` | any finite number |

Every law is a frozen value. A discrete law is its atoms and weights. A continuous law is a scale times a standard law;
its atoms are a quadrature rule. A new law is one class here, and, if it is continuous, a branch in each of the two
samplers of ``clhd.systems.contrastive.simulation``: `draw_latent` of ``full_step.py``, `_sample_latent` of
``lockstep.py``.
"""

import math
from dataclasses import dataclass, field, fields
from functools import cache
from itertools import product
from typing import Any, ClassVar

import numpy as np

from clhd.core.arrays import FloatArray
from clhd.core.checks import parse_number, parse_vector
from clhd.errors import InputError

# Codes in kernels of the names in `Latent.sampler`.
DISCRETE, GAUSSIAN, UNIFORM, LAPLACE = range(4)
SAMPLERS = {"discrete": DISCRETE, "gaussian": GAUSSIAN, "uniform": UNIFORM, "laplace": LAPLACE}


@dataclass(frozen=True, kw_only=True)
class Latent:
    """Base of all latent laws.

    A subclass defines `atoms` (of a discrete law, or a quadrature rule of a continuous one), and `sampler`, the name of
    the simulation's method of drawing it. Mean and symmetry follow from the atoms.
    """

    sampler: ClassVar[str] = "discrete"

    @property
    def is_discrete(self) -> bool:
        """True if `atoms` is the law itself, False if it is a quadrature rule."""
        return self.sampler == "discrete"

    @property
    def scale(self) -> float:
        """Root of the second moment: a continuous law is this number times its standard law."""
        return math.sqrt(self.moment(2))

    def atoms(self) -> tuple[FloatArray, FloatArray]:
        """Return ``(values, weights)``, both of shape (atoms,), the weights summing to 1."""
        raise TypeError("Latent is a base class: use ThreePoint, Gaussian, Uniform, Laplace, TwoPoint or Atoms")

    def moment(self, order: int) -> float:
        """Return E c^order from the atoms (exact for discrete laws, to quadrature error for continuous ones)."""
        values, weights = self.atoms()
        return float(weights @ values**order)

    @property
    def mean(self) -> float:
        """E c; as small as rounding, it is a zero mean whose decimal input was not exact."""
        mean, (values, _) = self.moment(1), self.atoms()
        return mean if abs(mean) > 1e-12 * np.abs(values).max() else 0.0

    @property
    def is_symmetric(self) -> bool:
        """True if c and -c have the same law, to rounding."""
        values, weights = self.atoms()
        order = np.argsort(values)
        values, weights = values[order], weights[order]
        return np.allclose(values, -values[::-1], rtol=1e-12, atol=0) and np.allclose(
            weights, weights[::-1], rtol=1e-12, atol=0
        )

    def canonical(self) -> str:
        """Return the law as text, exact to the last bit: its parameters that differ from their defaults, as hex."""
        changed = []
        for spec in fields(self):
            value = getattr(self, spec.name)
            if value != spec.default:
                changed.append(f"{spec.name}={canonical_value(value)}")
        return f"{type(self).__name__}({','.join(changed)})"


def canonical_value(value: Any) -> str:
    """Return `value` as text that differs for any two values: floats as hex, tuples element by element."""
    if isinstance(value, float):
        return value.hex()
    if isinstance(value, tuple):
        return f"({','.join(map(canonical_value, value))})"
    if isinstance(value, Latent):
        return value.canonical()
    return str(value)


def _set(instance: Any, **values: Any) -> None:
    """Store checked values on a frozen dataclass."""
    for name, value in values.items():
        object.__setattr__(instance, name, value)


@dataclass(frozen=True, kw_only=True)
class _OneMoment(Latent):
    """Base of the laws with mean zero that have the parameter `second_moment`."""

    second_moment: float = 1.0

    def __post_init__(self) -> None:
        _set(self, second_moment=parse_number("second_moment", self.second_moment, minimum=0))

    def moment(self, order: int) -> float:
        return self.second_moment if order == 2 else super().moment(order)


@dataclass(frozen=True, kw_only=True)
class ThreePoint(_OneMoment):
    """c in {-a, 0, a} with a = sqrt(second_moment * kurtosis) and P(c = +-a) = 1 / (2 kurtosis).

    Every pair (second_moment >= 0, kurtosis >= 1) is reached exactly. Kurtosis 1 is the Rademacher law, 3 has the
    Gaussian's fourth moment, and a large one is a sparse latent.

    Raises
    ------
    ClhdError
        If second_moment < 0 or kurtosis < 1.
    """

    kurtosis: float = 1.0

    def __post_init__(self) -> None:
        super().__post_init__()
        _set(self, kurtosis=parse_number("kurtosis", self.kurtosis, minimum=1))

    def atoms(self) -> tuple[FloatArray, FloatArray]:
        a = math.sqrt(self.second_moment * self.kurtosis)
        outer = 0.5 / self.kurtosis
        if self.kurtosis == 1.0:
            return np.array([-a, a]), np.array([0.5, 0.5])
        return np.array([-a, 0.0, a]), np.array([outer, 1 - 2 * outer, outer])


@dataclass(frozen=True, kw_only=True)
class Gaussian(_OneMoment):
    """c ~ N(0, second_moment). Raises ClhdError if second_moment < 0."""

    sampler: ClassVar[str] = "gaussian"

    def atoms(self) -> tuple[FloatArray, FloatArray]:
        values, weights = _standard_gaussian_rule()
        return self.scale * values, weights


@dataclass(frozen=True, kw_only=True)
class Uniform(_OneMoment):
    """c uniform on [-b, b], b = sqrt(3 second_moment); kurtosis 9/5. Raises ClhdError if second_moment < 0."""

    sampler: ClassVar[str] = "uniform"

    def atoms(self) -> tuple[FloatArray, FloatArray]:
        values, weights = _standard_uniform_rule()
        return self.scale * values, weights


@dataclass(frozen=True, kw_only=True)
class Laplace(_OneMoment):
    """c with density exp(-|c| / b) / (2 b), b = sqrt(second_moment / 2); kurtosis 6.

    Raises ClhdError if second_moment < 0.
    """

    sampler: ClassVar[str] = "laplace"

    def atoms(self) -> tuple[FloatArray, FloatArray]:
        values, weights = _standard_laplace_rule()
        return self.scale * values, weights


@dataclass(frozen=True, kw_only=True)
class TwoPoint(_OneMoment):
    """The mean-zero law on two points with the given second moment and skewness.

    With skewness g and s = sqrt(4 + g^2), the upper atom sqrt(m) (s + g) / 2 has probability 2 / (s (s + g)); the lower
    atom -sqrt(m) (s - g) / 2 has the rest. The kurtosis is 1 + g^2.

    Raises
    ------
    ClhdError
        If second_moment < 0 or |skewness| > 1e6, where the rarer atom has probability below 1e-12 and no simulation
        would ever draw it.
    """

    skewness: float = 0.0

    def __post_init__(self) -> None:
        super().__post_init__()
        _set(self, skewness=parse_number("skewness", self.skewness, minimum=-1e6, maximum=1e6))

    @property
    def is_symmetric(self) -> bool:
        return self.skewness == 0.0

    def atoms(self) -> tuple[FloatArray, FloatArray]:
        g = abs(self.skewness)
        s = math.hypot(2.0, g)
        far, near = (s + g) / 2, 2 / (s + g)  # near = (s - g) / 2 without cancellation
        values = self.scale * np.array([-near, far])
        weights = np.array([1 - 2 / (s * (s + g)), 2 / (s * (s + g))])
        return (values, weights) if self.skewness >= 0 else (-values[::-1], weights[::-1])


@dataclass(frozen=True, kw_only=True)
class Atoms(Latent):
    """Any finite list of atoms: c = values[i] with probability weights[i].

    Parameters
    ----------
    values, weights : sequences of the same length
        Finite, different values; positive weights that sum to 1 (within 1e-9; they are then normalised).

    Raises
    ------
    ClhdError
        If the lengths differ, a value is repeated or not finite, or the weights are not probabilities.
    """

    values: tuple[float, ...] = field(default=())
    weights: tuple[float, ...] = field(default=())

    def __post_init__(self) -> None:
        values = parse_vector("values", self.values)
        weights = parse_vector("weights", self.weights, length=len(values))
        if len(values) == 0:
            raise InputError("values = (): must hold at least one atom")
        if len(np.unique(values)) != len(values):
            raise InputError(f"values = {self.values!r}: must be different from each other")
        if np.any(weights <= 0) or abs(weights.sum() - 1) > 1e-9:
            raise InputError(f"weights = {self.weights!r}: must be positive and sum to 1")
        order = np.argsort(values)
        _set(
            self,
            values=tuple((values[order] + 0.0).tolist()),
            weights=tuple((weights[order] / weights.sum()).tolist()),
        )

    def atoms(self) -> tuple[FloatArray, FloatArray]:
        return np.array(self.values), np.array(self.weights)


def product_atoms(latents: tuple[Latent, ...]) -> tuple[FloatArray, FloatArray]:
    """Return the atoms of the vector c of independent latents: values (atoms, feature) and weights (atoms,)."""
    rules = [law.atoms() for law in latents]
    values = np.array(list(product(*(v for v, _ in rules))))
    weights = np.array([math.prod(ws) for ws in product(*(w for _, w in rules))])
    return values, weights


# For averages F of tanh and erf the rules below give E[F(c q)] and E[c F(c q)] to about 1e-9, for overlaps up to q = 2
# (standard laws), also with a second feature, which moves the poles of tanh along the line of c. The worst case is the
# Gaussian law with tanh, without noise, at q = 2: the error is 4e-7, and 3e-9 with a noise variance of 0.02.


def _with_unit_variance(values: FloatArray, weights: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Normalise the weights of a rule with cut tails, and scale its nodes so that the second moment is exactly 1.

    Statements of the theory about the second moment then hold to rounding for continuous laws, too.
    """
    weights = weights / weights.sum()
    return values / math.sqrt(weights @ values**2), weights


@cache
def _standard_gaussian_rule() -> tuple[FloatArray, FloatArray]:
    # For the Gaussian weight the trapezoid rule converges exponentially, even where the poles of tanh spoil
    # Gauss-Hermite rules. The probability beyond 6.4 is 2e-10.
    values: FloatArray = 0.2 * np.arange(-32.0, 33.0)
    return _with_unit_variance(values, np.exp(-0.5 * values**2))


@cache
def _standard_uniform_rule() -> tuple[FloatArray, FloatArray]:
    nodes, weights = np.polynomial.legendre.leggauss(40)
    return math.sqrt(3) * nodes, weights / 2


@cache
def _standard_laplace_rule() -> tuple[FloatArray, FloatArray]:
    # Gauss-Legendre on pieces of each half line (the density has a kink at 0); the tail beyond 26 scales is e^-26.
    nodes, weights = np.polynomial.legendre.leggauss(12)
    edges = np.array([0.0, 1.5, 3.5, 7.0, 13.0, 26.0])
    half = np.diff(edges) / 2
    x = (edges[:-1, None] + half[:, None] * (1 + nodes)).ravel()
    w = (half[:, None] * weights).ravel() * np.exp(-x)
    values = np.concatenate([-x[::-1], x]) / math.sqrt(2)
    return _with_unit_variance(values, np.concatenate([w[::-1], w]))

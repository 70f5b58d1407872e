"""The right-hand side of the limiting ODE: drift terms g, A, D, velocity of the order parameters, Jacobian.

With q = overlap, r = squared norm, eta = learning rate, lam = weight decay,

    dq_j/dt = eta (g_j + A q_j - lam q_j),        dr/dt = 2 eta (g . q + A r - lam r) + eta^2 D,

and on the sphere (r = 1)  dq_j/dt = eta (g_j - q_j g . q) - eta^2 D q_j / 2, dr/dt = 0. g, A (by Stein's lemma) and D
follow from the pair averages of the loss, summed over the atoms of the latents, or, if the loss does not factorise over
the samples, from averages over a set of points. With the orthogonal background g stands for g - A_b q
(`backgrounds.py`), and A is the alignment of both sources of noise.

| symbol | name | shape | unit or scale |
|---|---|---|---|
| q | ``overlap``, the first entries of a ``state`` | (feature,) | of w_i xi_i |
| r | ``squared_norm``, the last entry of a ``state`` | | of w_i^2 |
| g | ``g`` | (feature,) | drift along the features |
| A | ``alignment`` | | drift along the weights |
| D | ``gradient_variance`` | | noise of one coordinate |
"""

import math

import numpy as np

from clhd.core.arrays import FloatArray
from clhd.core.kernels import kernel
from clhd.errors import InputError
from clhd.systems.contrastive.model.activations import RELU
from clhd.systems.contrastive.model.contrastive import ContrastiveModel
from clhd.systems.contrastive.model.losses import LOSSES
from clhd.systems.contrastive.theory.averages.atoms import FoldedAtoms, fold_atoms, interpolate_atoms, place_nodes
from clhd.systems.contrastive.theory.averages.backgrounds import Sources, combine_terms, noise_sources, rule_at_state
from clhd.systems.contrastive.theory.averages.pair_averages import PairRule, average_atoms, pair_rule
from clhd.systems.contrastive.theory.averages.point_sets import average_points, draw_points

# Step of finite differences over nine points: their truncation error is below the rounding error of the averages.
_STEP = 0.02
_HALF_STENCIL = 4
# At |q|^2 = r without noise, a pre-activation can lie on the kink of relu; just beyond, the velocity is its limit.
BEYOND = 1.0 + 1e-14


class Flow:
    """The ODE of one model: drift terms, velocity and Jacobian of the state (overlap, squared norm).

    Parameters
    ----------
    model : ContrastiveModel
        Any model without an L1 penalty. Laws of noise and features do not matter: all have the limit of Gaussian ones.
    gradient_variance_of : ContrastiveModel, optional
        Diagnostic: takes D from this model, to separate its effect from the drift's.
    scrambling : int
        Number of the point set (`draw_points`) for a loss that does not factorise.

    Attributes
    ----------
    model : ContrastiveModel
    features : int
        p.
    rule : PairRule
        Rule of the pair averages; without pairs if the loss does not factorise.
    sources : Sources
        Estimator and sources of the noise.
    atoms : FoldedAtoms
        Atoms of the latents.
    points : PointSet or None
        Point set, if the loss does not factorise.

    Raises
    ------
    ClhdError
        If the model has an L1 penalty, whose limit is not an ODE of the order parameters, or as for its `loss_terms`.
    """

    def __init__(
        self, model: ContrastiveModel, gradient_variance_of: ContrastiveModel | None = None, *, scrambling: int = 0
    ) -> None:
        if model.l1_penalty > 0:
            raise InputError(
                f"l1_penalty = {model.l1_penalty!r}: must be 0 here, because with an L1 penalty the limit is "
                "a partial differential equation for the weights and no ODE for the order parameters"
            )
        self.model = model
        self.features = model.features
        self.rule = pair_rule(model)
        self.sources = noise_sources(model)
        self.atoms = fold_atoms(model)
        self.points = None if model.loss_terms.factorises else draw_points(model, scrambling=scrambling)
        self._variance = None if gradient_variance_of is None else Flow(gradient_variance_of, scrambling=scrambling)

    @property
    def has_pair_averages(self) -> bool:
        """True if g, A and D all come from the pair averages of `rule`."""
        return self.points is None and self._variance is None

    def terms(self, overlap: FloatArray, squared_norm: float) -> tuple[FloatArray, float, float]:
        """Return the drift terms at one state.

        Parameters
        ----------
        overlap : array of shape (feature,)
            q.
        squared_norm : float
            r >= 0.

        Returns
        -------
        (g, A, D) : array of shape (feature,), float, float
            For relu at r = 0, where A depends on the direction, its value at q = 0.
        """
        g, alignment, gradient_variance, _ = self._all_terms(overlap, squared_norm)
        if self._variance is not None:
            gradient_variance = self._variance.terms(overlap, squared_norm)[2]
        return g, alignment, gradient_variance

    def base_alignment(self, overlap: FloatArray, squared_norm: float) -> float:
        """Return A_b of the orthogonal background at one state; 0 for the isotropic one."""
        return self._all_terms(overlap, squared_norm)[3]

    def _all_terms(self, overlap: FloatArray, squared_norm: float) -> tuple[FloatArray, float, float, float]:
        """Return (g, A, D, A_b)."""
        model, g, code, base = self.model, np.empty(self.features), self.sources.loss, 0.0
        q, r = np.ascontiguousarray(overlap, dtype=np.float64), float(squared_norm)
        if self.points is None:
            alignment, gradient_variance, base = drift_terms(self.sources, self.rule, self.atoms, q, r, g)
        else:
            alignment, gradient_variance = average_points(
                code,
                model.unit.code,
                model.unit.coefficient_array,
                model.softmax_temperature,
                model.noise_variance,
                model.noise_covariance,
                self.points,
                q,
                r,
                g,
            )
        return g, alignment, gradient_variance, base

    def velocity(self, state: FloatArray) -> FloatArray:
        """Return the time derivative of a state (overlap, squared norm), shape (feature + 1,), per unit of time.

        On the sphere the squared norm of the state is taken as 1 and its derivative is 0. Else a squared norm below 0,
        or for relu below |q|^2, is an error of an integration, and is taken as this bound, for relu as just beyond it.
        """
        state = np.asarray(state, dtype=np.float64)
        overlap, squared_norm = state[:-1], max(float(state[-1]), 0.0)
        if self.model.unit.code == RELU and squared_norm < (inside := float(overlap @ overlap)):
            squared_norm = inside * BEYOND
        return self._velocity_at(overlap, 1.0 if self.model.is_sphere else squared_norm)

    def _velocity_at(self, overlap: FloatArray, squared_norm: float) -> FloatArray:
        """Return the velocity, whose equation on the sphere is taken beside the sphere as well."""
        model, eta = self.model, self.model.learning_rate
        g, alignment, gradient_variance = self.terms(overlap, squared_norm)
        velocity = np.zeros(self.features + 1)
        if model.is_sphere:
            velocity[:-1] = eta * (g - overlap * (g @ overlap)) - 0.5 * eta**2 * gradient_variance * overlap
        else:
            growth = alignment - model.weight_decay
            velocity[:-1] = eta * (g + growth * overlap)
            velocity[-1] = 2 * eta * (g @ overlap + growth * squared_norm) + eta**2 * gradient_variance
        return velocity

    def jacobian(self, state: FloatArray) -> FloatArray:
        """Return the Jacobian d velocity_i / d state_j, to about 1e-9, by finite differences of order 8.

        With the orthogonal background they are taken in q and l^2 = r - |q|^2, because the velocity is known for
        l^2 >= 0 only, and l^2 is small where the weights are almost a feature: d/dq_j at fixed r is d/dq_j at fixed
        l^2, less 2 q_j d/dl^2.

        Parameters
        ----------
        state : array of shape (feature + 1,)
            Overlap and squared norm.

        Returns
        -------
        array of shape (feature + 1, feature + 1), or (feature, feature) on the sphere
            On the sphere the squared norm is not a variable. NaN for relu at r = 0, where the velocity has no
            derivative.
        """
        state = np.array(state, dtype=np.float64)
        squared_norm = 1.0 if self.model.is_sphere else state[-1]
        variables = self.features if self.model.is_sphere else self.features + 1
        is_orthogonal = self.sources.is_orthogonal
        variable = state.copy()
        inside = float(state[:-1] @ state[:-1])
        variable[-1] = max(squared_norm - inside, 0.0) if is_orthogonal else squared_norm
        columns = self.features + 1 if is_orthogonal else variables
        widths = self._difference_steps(squared_norm, inside)
        if np.any(widths[:columns] == 0.0):
            return np.full((variables, variables), np.nan)
        jacobian = np.zeros((self.features + 1, self.features + 1))
        for j in range(columns):
            points = _points(variable[j], widths[j], is_norm=j == self.features)
            weights = _derivative_weights(points - variable[j])
            for point, weight in zip(points, weights, strict=True):
                moved = variable.copy()
                moved[j] = point
                norm = moved[-1] + (moved[:-1] @ moved[:-1] if is_orthogonal else 0.0)
                jacobian[:, j] += weight * self._velocity_at(moved[:-1], max(float(norm), 0.0))
        if is_orthogonal:
            jacobian[:, :-1] -= np.outer(jacobian[:, -1], 2 * state[:-1])
        return jacobian[:variables, :variables]

    def _difference_steps(self, squared_norm: float, inside: float) -> FloatArray:
        """Return a step per variable (of sqrt r, or l, for the last) over which the averages are smooth, or 0.

        `inside` is |q|^2.
        """
        reach = np.maximum(1.0, np.abs(self.atoms.values).max(axis=0))
        noise = np.sqrt(self.model.noise_variance)
        steps: FloatArray = _STEP / np.append(reach, max(1.0, noise))
        steps *= min(1.0, self.model.softmax_temperature)  # the softmax varies with h^2 / T
        if self.model.unit.code == RELU:  # only the noise smooths the kink; its scale is sqrt r, or less near a feature
            scale = np.sqrt(squared_norm)
            if self.sources.is_orthogonal and noise > 0:
                base = self.sources.base_variance / noise**2
                scale = np.sqrt(max(squared_norm - base * inside, 0.0))
            steps *= scale * np.append(np.full(self.features, min(noise, 1.0)), 1.0)
        return steps


def _points(value: float, step: float, *, is_norm: bool) -> FloatArray:
    """Return nine values of one variable around `value`.

    The averages are smooth and even in sqrt r, so the values of the squared norm are squares of equidistant points.
    Near 0 they start at 0: a polynomial in r then covers both signs of sqrt r.
    """
    offsets: FloatArray = step * np.linspace(-_HALF_STENCIL, _HALF_STENCIL, 2 * _HALF_STENCIL + 1)
    if not is_norm:
        return offsets + value
    roots: FloatArray = offsets - offsets[0] + max(math.sqrt(value) + offsets[0], 0.0)
    return roots**2


def _derivative_weights(offsets: FloatArray) -> FloatArray:
    """Return the weights of the values at `offsets` in the derivative at 0, exact for polynomials of degree 8."""
    scale = float(np.abs(offsets).max())
    right = np.zeros(len(offsets))
    right[1] = 1.0 / scale
    powers = np.vander(offsets / scale, increasing=True).T
    return np.asarray(np.linalg.solve(powers, right), dtype=np.float64)


@kernel
def drift_terms(
    sources: Sources, rule: PairRule, atoms: FoldedAtoms, overlap: FloatArray, squared_norm: float, g: FloatArray
) -> tuple[float, float, float]:
    """Write g of shape (feature,) and return (A, D, A_b), from averages by the direct rule.

    Parameters
    ----------
    sources : Sources
        Estimator and sources of the noise.
    rule : PairRule
        Rule of the pair averages.
    atoms : FoldedAtoms
        Atoms of the latents.
    overlap, squared_norm : array of shape (feature,), float
        q and r.
    g : array of shape (feature,)
        Receives the drift along the features.
    """
    count, features, pairs = len(atoms.values), len(overlap), len(rule.pairs)
    means = np.zeros(count)
    for atom in range(count):
        for j in range(features):
            means[atom] += atoms.values[atom, j] * overlap[j]
    rule_here = rule_at_state(sources, rule, overlap, squared_norm)
    nodes, step = place_nodes(rule_here, means, squared_norm)
    averages = np.empty((len(nodes), pairs))
    average_atoms(rule_here, nodes, squared_norm, averages)
    if step > 0.0:
        averages = interpolate_atoms(averages, step, means)
    mean, moment = np.zeros(pairs), np.zeros((features, pairs))
    for atom in range(count):
        add_atom(atoms, atom, rule.signs, averages[atom], mean, moment)
    return combine_terms(sources, mean, moment, overlap, g)


@kernel
def add_atom(
    atoms: FoldedAtoms, atom: int, signs: FloatArray, averages: FloatArray, mean: FloatArray, moment: FloatArray
) -> None:
    """Add one atom and its mirror image to the latent mean and first latent moment of the pair averages."""
    weight, mirror = atoms.weights[atom], atoms.mirror_weights[atom]
    for k in range(len(mean)):
        mean[k] += (weight + mirror * signs[k]) * averages[k]
    for j in range(len(moment)):
        value, row = atoms.values[atom, j], moment[j]
        for k in range(len(mean)):
            row[k] += value * (weight - mirror * signs[k]) * averages[k]


def check_pair_averages(model: ContrastiveModel) -> None:
    """Raise ClhdError for a loss whose averages do not factorise over the samples: tables cannot hold them."""
    if not model.loss_terms.factorises:
        allowed = " or ".join(["covariance", *(name for name, loss in LOSSES.items() if loss.factorises)])
        raise InputError(
            f"loss = {model.loss!r}: must be {allowed} where many trajectories are integrated at once, "
            "because its averages must factorise over the samples"
        )

"""Pure states, in which a unit has learned one feature, and the growth of its rivals there.

At a pure state one overlap q_j is not zero. It is stable within (q_j, r) if a unit that sees feature j alone flows into
it, and against a rival k if the rival's growth rate is negative,

    eta (m_k G_j + A - lam) < 0,        on the sphere    eta (m_k G_j - g_j q_j - eta D / 2) < 0,

with G_j, A and D at the pure state. The rate depends on the second moment of the rival, but on the whole law of feature
j: here higher moments decide a *local* stability. For equal second moments the rate vanishes if feature j is Gaussian,
because rotating the features into each other leaves the law of the data unchanged.

For h(z) = z + c z^3 at noise covariance 0, equal second moments and a three-point latent of kurtosis k the rate is

    eta (8 a c m^2 q^2 (3 - k) + 6 c^2 q^4 m^3 k (5 - k)),        a = 1 + 3 c r s2,

because g_j = 2 E[c_j H H'(c_j q)] with H(x) = a x + c x^3, and every overlap decays at the rate g_j / q_j at rest. For
small overlaps the rate has the sign of c (3 - k): a saturating unit (c < 0, as tanh) keeps sub-Gaussian winners (k < 3)
and loses super-Gaussian ones, an expanding unit (c > 0) the reverse. For larger overlaps the border is not at k = 3.

| symbol | name | unit or scale |
|---|---|---|
| (q_j, r) | pure state | |
| | growth rate of the strongest rival, ``rival_rate`` | 1 / time |
| k | ``kurtosis`` of feature j | |
"""

from dataclasses import dataclass, replace

import numpy as np

from clhd.core.checks import parse_count
from clhd.errors import InputError
from clhd.systems.contrastive.model.contrastive import ContrastiveModel
from clhd.systems.contrastive.theory.states.fixed_points import silent_rates, state_eigenvalues
from clhd.systems.contrastive.theory.states.root_search import search_single


@dataclass(frozen=True)
class PureState:
    """The pure state of one feature.

    Attributes
    ----------
    overlap, squared_norm : float
        q_j > 0 and r.
    own_rate : float
        Largest real part of the eigenvalues within (q_j, r), per unit of time.
    rival_rate : float
        Growth rate of the strongest rival, per unit of time; minus infinity if there is none.
    """

    overlap: float
    squared_norm: float
    own_rate: float
    rival_rate: float

    @property
    def largest_rate(self) -> float:
        """Largest real part of all eigenvalues: the state is stable if it is negative."""
        return max(self.own_rate, self.rival_rate)


def find_pure_state(model: ContrastiveModel, feature: int) -> PureState | None:
    """Find the pure state of a unit that sees one feature alone, and the growth rates of the other features there.

    Parameters
    ----------
    model : ContrastiveModel
        With latents of mean zero.
    feature : int
        j, from 1.

    Returns
    -------
    PureState or None
        The state of largest overlap that is stable within (q_j, r); None if the feature is not learned.

    Raises
    ------
    ClhdError
        If there is no such feature, or a latent has a mean other than 0.
    """
    if parse_count("feature", feature, minimum=1) > model.features:
        raise InputError(f"feature = {feature!r}: must be at most {model.features}")
    if not model.has_zero_mean_latents:
        raise InputError("latents: all must have mean 0 for pure states")
    alone = replace(model, latents=(model.latents[feature - 1],))
    found = []
    for overlap, squared_norm in search_single(alone):
        full = np.zeros(model.features)
        full[feature - 1] = overlap
        own = max(value.real for value in state_eigenvalues(alone, np.array([overlap]), squared_norm))
        rivals = silent_rates(model, full, squared_norm)
        found.append(PureState(float(abs(overlap)), float(squared_norm), own, float(rivals.max(initial=-np.inf))))
    stable = [state for state in found if state.own_rate < 0]
    return max(stable, key=lambda state: state.overlap, default=None)

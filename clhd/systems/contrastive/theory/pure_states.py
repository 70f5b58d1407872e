"""Pure states: where a unit has learned one feature, and whether its rivals stay silent there.

At a pure state one overlap q_j is not zero. Within (q_j, r) it is stable if it is what a unit that sees feature j alone
comes to; against a rival k it is stable if the rival's growth rate is negative,

    eta (m_k G_j + A - lam) < 0,        on the sphere    eta (m_k G_j - g_j q_j - eta D / 2) < 0,

with G_j, A and D at the pure state. Of the rival only the second moment enters, of feature j its whole law: this is
where higher moments act on a *local* stability. For equal second moments the rate vanishes if feature j is Gaussian,
because rotating the features into each other leaves the law of the data unchanged.

For h(z) = z + c z^3 at noise covariance 0, equal second moments and a three-point latent of kurtosis k the rate is

    eta (8 a c m^2 q^2 (3 - k) + 6 c^2 q^4 m^3 k (5 - k)),        a = 1 + 3 c r s2,

because g_j = 2 E[c_j H H'(c_j q)] with H(x) = a x + c x^3, and every overlap decays at the rate g_j / q_j at rest. For
small overlaps the sign is that of c (3 - k): a saturating unit (c < 0, as tanh) keeps sub-Gaussian winners (k < 3)
and drops super-Gaussian ones, an expanding unit (c > 0) the reverse. Larger overlaps move the border away from k = 3.

| symbol | name | unit or scale |
|---|---|---|
| (q_j, r) | pure state | |
| | growth rate of the strongest rival, ``rival_rate`` | 1 / time |
| k | ``kurtosis`` of feature j | |
"""

from dataclasses import dataclass, replace

import numpy as np

from clhd.core.checks import parse_count
from clhd.errors import ClhdError
from clhd.systems.contrastive.model.contrastive import ContrastiveModel
from clhd.systems.contrastive.theory.fixed_points import silent_rates, state_eigenvalues
from clhd.systems.contrastive.theory.root_search import search_single


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
    """The pure state that a unit comes to which sees one feature alone, and the growth of the others there.

    Parameters
    ----------
    model : ContrastiveModel
        With latents of mean zero.
    feature : int
        j, from 1.

    Returns
    -------
    PureState or None
        None if the feature is not learned. Of several that are stable within (q_j, r) the one of largest overlap.

    Raises
    ------
    ClhdError
        If there is no such feature, or a latent has another mean.
    """
    if parse_count("feature", feature, minimum=1) > model.features:
        raise ClhdError(f"feature = {feature!r}: must be at most {model.features}")
    if not model.has_zero_mean_latents:
        raise ClhdError("latents: all must have mean 0 for pure states")
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

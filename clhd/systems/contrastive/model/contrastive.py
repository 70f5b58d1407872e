"""`ContrastiveModel`: the parameters of one system, from which simulation and theory both start.

| symbol | name | unit or scale |
|---|---|---|
| p | ``len(latents)`` | features |
| eta | ``learning_rate`` | per unit of time (n steps) |
| lam, lam1 | ``weight_decay``, ``l1_penalty`` | of one weight |
| rho | ``noise_correlation`` | -1 ... 1, of the augmentation noise of two views |
| s2 | ``noise_variance`` | base + augmentation noise variance, per coordinate |
| kappa | ``noise_covariance`` | base + rho * augmentation noise variance, per coordinate |
| T, M | ``temperature``, ``negatives`` | of the infonce loss: of h_u h_v, samples |
| B, d | ``batch``, ``units`` | of the covariance loss: samples in one step, units |
| lam_c | ``decorrelation`` | of the covariance loss: weight of the penalty on covariances of different units |
| V | ``views`` | 2 + number of negatives; 2 B with the covariance loss |
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clhd.core.checks import parse_choice, parse_count, parse_number
from clhd.core.text import format_html_table
from clhd.errors import InputError
from clhd.systems.contrastive.model.activations import RELU, Activation, find_activation, parse_activation
from clhd.systems.contrastive.model.latents import Latent, canonical_value, product_atoms
from clhd.systems.contrastive.model.losses import BATCH_LOSSES, DECORRELATIONS, LOSS_NAMES, LOSSES, Loss

BACKGROUNDS = ("isotropic", "orthogonal")
CONSTRAINTS = ("none", "sphere")
NOISE_LAWS = ("gaussian", "rademacher", "student_t")
FEATURE_LAWS = ("gaussian", "rademacher", "sparse")
# Theory and simulation count a larger squared norm as a divergence; ordinary states are of order one.
DIVERGENCE_LIMIT = 1e8
MOST_NEGATIVES = 64
MOST_SAMPLES, MOST_UNITS = 64, 4
_MAX_FEATURES, _MAX_CONTINUOUS_FEATURES = 6, 3


@dataclass(frozen=True, kw_only=True)
class ContrastiveModel:
    """One nonlinear unit, or a few, trained online on pairs of noisy views: frozen, validated, hashable.

    Parameters
    ----------
    latents : sequence of Latent
        Law of the latent variable of each feature: 1 to 6 discrete laws, or 1 to 3 if one is continuous.
    activation : str or sequence of float
        "linear", "tanh", "erf", "relu", or the coefficients of a polynomial, lowest power first.
    loss : str
        "bilinear", "spectral", "infonce" or "covariance".
    learning_rate : float
        eta > 0.
    weight_decay : float
        lam >= 0, strength of the L2 regulariser; 0 with the sphere constraint.
    base_noise_variance, augmentation_noise_variance : float
        Variance of the noise shared by the two views of a sample, and of the noise added to each view; >= 0, per
        coordinate.
    background : str
        "isotropic", or "orthogonal": the base noise has no component along the features.
    noise_correlation : float
        rho in [-1, 1]: correlation of the augmentation noise of the two views.
    constraint : str
        "none", or "sphere": the squared norm |w|^2 / n is held at 1.
    l1_penalty : float
        lam1 >= 0, strength of the L1 part of the elastic net; 0 with the sphere constraint.
    noise_law : str
        Law of the noise of one coordinate: "gaussian", "rademacher" or "student_t".
    noise_degrees_of_freedom : float, optional
        Required with Student-t noise and allowed only there: > 2, so that the variance is finite.
    feature_law : str
        Law of the entries of the features: "gaussian", "rademacher" or "sparse".
    feature_fraction : float, optional
        Required with sparse features and allowed only there: fraction f in (0, 1] of non-zero entries.
    temperature : float, optional
        Allowed only with the infonce loss: T > 0, 1 by default.
    negatives : int, optional
        Allowed only with the infonce loss: M, number of negative samples in one step, 1 to 64, 1 by default.
    batch : int, optional
        Allowed only with the covariance loss: B, number of samples in one step, 1 to 64, at least 2 if centred; 2 by
        default.
    centred : bool, optional
        Allowed only with the covariance loss: True (the default) if the means over the batch are subtracted from the
        outputs.
    units : int
        d, number of units, 1 to 4; more than 1 only with the covariance loss.
    decorrelation : float
        lam_c >= 0, weight of the penalty on the covariances of different units; 0 with one unit.
    decorrelation_function : str
        The penalty of one covariance C: "square", g(C) = C^2.

    Raises
    ------
    ClhdError
        If a value is not allowed; the message names the first such value and the allowed ones.
    """

    latents: Sequence[Latent]
    activation: str | Sequence[float] = "tanh"
    loss: str = "bilinear"
    learning_rate: float = 0.5
    weight_decay: float = 0.0
    base_noise_variance: float = 0.5
    augmentation_noise_variance: float = 0.5
    noise_correlation: float = 0.0
    constraint: str = "none"
    l1_penalty: float = 0.0
    noise_law: str = "gaussian"
    noise_degrees_of_freedom: float | None = None
    feature_law: str = "gaussian"
    feature_fraction: float | None = None
    temperature: float | None = None
    negatives: int | None = None
    background: str = "isotropic"
    batch: int | None = None
    centred: bool | None = None
    units: int = 1
    decorrelation: float = 0.0
    decorrelation_function: str = "square"

    def _repr_html_(self) -> str:
        """The parameters as a table, for a notebook; those that have no meaning in this model are left out."""
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        return format_html_table("ContrastiveModel", {name: v for name, v in values.items() if v is not None})

    def __post_init__(self) -> None:
        checked: dict[str, Any] = {
            "latents": _parse_latents(self.latents),
            "activation": parse_activation(self.activation),
            "loss": parse_choice("loss", self.loss, LOSS_NAMES),
            "learning_rate": parse_number("learning_rate", self.learning_rate, above=0),
            "noise_correlation": parse_number("noise_correlation", self.noise_correlation, minimum=-1, maximum=1),
            "constraint": parse_choice("constraint", self.constraint, CONSTRAINTS),
            "noise_law": parse_choice("noise_law", self.noise_law, NOISE_LAWS),
            "feature_law": parse_choice("feature_law", self.feature_law, FEATURE_LAWS),
            "background": parse_choice("background", self.background, BACKGROUNDS),
            "units": _parse_limited("units", self.units, MOST_UNITS),
            "decorrelation_function": parse_choice(
                "decorrelation_function", self.decorrelation_function, DECORRELATIONS
            ),
        }
        non_negative = ("base_noise_variance", "augmentation_noise_variance", "decorrelation")
        for name in ("weight_decay", "l1_penalty", *non_negative):
            checked[name] = parse_number(name, getattr(self, name), minimum=0)
        for name, value in checked.items():
            object.__setattr__(self, name, value)
        self._parse_law_parameter("noise_degrees_of_freedom", "noise_law", "student_t", above=2)
        self._parse_law_parameter("feature_fraction", "feature_law", "sparse", above=0, maximum=1)
        self._parse_infonce()
        self._parse_covariance()
        for name in ("weight_decay", "l1_penalty"):
            if self.constraint == "sphere" and getattr(self, name) != 0:
                raise InputError(f"{name} = {getattr(self, name)!r}: must be 0 with constraint = 'sphere'")

    def _parse_law_parameter(self, name: str, law: str, owner: str, **limits: float) -> None:
        """Check a parameter that the law `owner` requires and other laws do not have."""
        value, chosen = getattr(self, name), getattr(self, law)
        if chosen != owner and value is not None:
            raise InputError(f"{name} = {value!r}: is only for {law} = {owner!r}, and {law} is {chosen!r}")
        if chosen == owner:
            object.__setattr__(self, name, parse_number(name, value, **limits))

    def _refuse_parameters_of(self, owner: str, names: Iterable[str]) -> None:
        """Raise ClhdError if one of the parameters that only the loss `owner` has is given."""
        for name in names:
            value = getattr(self, name)
            if isinstance(value, np.ndarray) or value != type(self).__dataclass_fields__[name].default:
                raise InputError(f"{name} = {value!r}: is only for loss = {owner!r}, and loss is {self.loss!r}")

    def _parse_infonce(self) -> None:
        """Check temperature and negatives; with infonce each is 1 by default."""
        if self.loss != "infonce":
            self._refuse_parameters_of("infonce", ("temperature", "negatives"))
            return
        temperature = 1.0 if self.temperature is None else parse_number("temperature", self.temperature, above=0)
        negatives = 1 if self.negatives is None else _parse_limited("negatives", self.negatives, MOST_NEGATIVES)
        object.__setattr__(self, "temperature", temperature)
        object.__setattr__(self, "negatives", negatives)

    def _parse_covariance(self) -> None:
        """Check the parameters of the covariance loss; its batch is 2 and centred by default."""
        if self.loss != "covariance":
            self._refuse_parameters_of("covariance", ("batch", "centred", "units", "decorrelation"))
            return
        centred = True if self.centred is None else self.centred
        if not isinstance(centred, bool | np.bool_):
            raise InputError(f"centred = {centred!r}: must be true or false")
        batch = 2 if self.batch is None else _parse_limited("batch", self.batch, MOST_SAMPLES)
        if centred and batch < 2:
            raise InputError(f"batch = {self.batch!r}: must be at least 2 with centred = true")
        if self.units == 1 and self.decorrelation != 0:
            raise InputError(f"decorrelation = {self.decorrelation!r}: must be 0 with one unit")
        object.__setattr__(self, "centred", bool(centred))
        object.__setattr__(self, "batch", batch)

    @property
    def features(self) -> int:
        """Number of features p."""
        return len(self.latents)

    @property
    def views(self) -> int:
        """Number of views V in one step.

        Views 0 and 1 are the positive pair, and each other view is a negative sample. With the covariance loss, views
        2 b and 2 b + 1 are those of sample b of the batch.
        """
        return 2 + (self.negatives or 1) if self.batch is None else 2 * self.batch

    @property
    def samples(self) -> int:
        """Number of samples in one step: the positive pair and the negatives, or those of the batch."""
        return 1 + (self.negatives or 1) if self.batch is None else self.batch

    @property
    def softmax_temperature(self) -> float:
        """Temperature T of the infonce loss; for other losses 1, which kernels ignore."""
        return self.temperature or 1.0

    @property
    def noise_variance(self) -> float:
        """Variance s2 per coordinate of the noise of one view."""
        return self.base_noise_variance + self.augmentation_noise_variance

    @property
    def noise_covariance(self) -> float:
        """Covariance kappa per coordinate of the noise of the two views of a sample; |kappa| <= s2."""
        return self.base_noise_variance + self.noise_correlation * self.augmentation_noise_variance

    @property
    def is_sphere(self) -> bool:
        """True if the squared norm is held at 1."""
        return self.constraint == "sphere"

    @property
    def has_symmetric_latents(self) -> bool:
        """True if the sign of each latent may be flipped without changing its law."""
        return all(law.is_symmetric for law in self.latents)

    @property
    def has_zero_mean_latents(self) -> bool:
        """True if E c_j = 0 for every feature."""
        return all(law.mean == 0 for law in self.latents)

    @cached_property
    def unit(self) -> Activation:
        """Activation in the form that kernels take."""
        return find_activation(self.activation)  # type: ignore[arg-type]  # __post_init__ made it a tuple

    @property
    def loss_terms(self) -> Loss:
        """Loss in the form that the theory takes.

        Raises
        ------
        ClhdError
            If the theory does not know the loss: several units, or infonce with the orthogonal background or relu.
        """
        if self.units > 1:
            raise InputError(
                f"units = {self.units}: must be 1 here, because the averages over a batch do not close for several "
                "units"
            )
        if self.loss == "infonce" and self.background != "isotropic":
            raise InputError(
                f"background = {self.background!r}: must be 'isotropic' for the theory of loss = 'infonce', whose "
                "points have a fixed covariance of the noise"
            )
        if self.loss == "infonce" and self.unit.code == RELU:
            raise InputError(
                "activation = 'relu': must be a smooth one for the theory of loss = 'infonce', because its averages "
                "over a finite set of points would jump at the kink"
            )
        return LOSSES[self.loss] if self.centred is None else BATCH_LOSSES[self.centred]

    def latent_atoms(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return values (atoms, feature) and weights (atoms,) of the latent vector c."""
        return product_atoms(tuple(self.latents))

    def canonical(self) -> str:
        """Return the model as text, exact to the last bit: its name and the parameters that differ from their defaults.

        This text keys the random streams, so a parameter with a default may be added later without changing results.
        """
        changed = [
            f"{spec.name}={canonical_value(getattr(self, spec.name))}"
            for spec in fields(self)
            if getattr(self, spec.name) != spec.default
        ]
        return f"ContrastiveModel({','.join(changed)})"


def check_model(model: Any) -> None:
    """Raise ClhdError unless `model` is a `ContrastiveModel`: its features alone are no model."""
    if not isinstance(model, ContrastiveModel):
        raise InputError(f"model = {model!r:.100}: must be a clhd.ContrastiveModel")


def _parse_limited(name: str, value: Any, most: int) -> int:
    """Return a whole number from 1 to `most`."""
    count = parse_count(name, value, minimum=1)
    if count > most:
        raise InputError(f"{name} = {value!r}: must be a whole number from 1 to {most}")
    return count


def _parse_latents(value: Any) -> tuple[Latent, ...]:
    if isinstance(value, str) or not isinstance(value, Iterable | Latent):
        raise InputError(f"latents = {value!r}: must be a list of latent laws, such as ThreePoint(second_moment=1.5)")
    laws = (value,) if isinstance(value, Latent) else tuple(value)
    for law in laws:
        if not isinstance(law, Latent):
            raise InputError(f"latents: {law!r} must be a latent law, such as ThreePoint(second_moment=1.5)")
    most = _MAX_FEATURES if all(law.is_discrete for law in laws) else _MAX_CONTINUOUS_FEATURES
    if not 1 <= len(laws) <= most:
        raise InputError(
            f"latents: {len(laws)} laws given, must be 1 to {_MAX_FEATURES} discrete ones "
            f"(1 to {_MAX_CONTINUOUS_FEATURES} if one of them is continuous)"
        )
    return laws

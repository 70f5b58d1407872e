"""`Point`: one parameter combination of the simulation, checked, with the key of its random streams."""

from dataclasses import dataclass

from clhd.errors import ClhdError
from clhd.model.checks import parse_choice, parse_count, parse_number, parse_vector
from clhd.model.contrastive import ContrastiveModel
from clhd.model.latents import canonical_value
from clhd.simulation.features import check_features

ENGINES = ("projected", "full")
# |q|^2 may pass r by rounding when a user computes both from one cosine similarity of 1.
_ROUNDING = 1e-12


@dataclass(frozen=True, kw_only=True)
class Point:
    """What a run of SGD depends on, but for the replica and the output times.

    Parameters
    ----------
    model : ContrastiveModel
    dimension : int
        n, at least p + 2.
    overlap : sequence of float, shape (feature,), or None
        Overlap of the initial weights; None for random ones, w ~ N(0, squared_norm I).
    squared_norm : float
        Squared norm of the initial weights (their variance if they are random); 1 on the sphere.
    seed : int
        Root seed, >= 0.
    engine : str
        "projected" or "full".

    Raises
    ------
    ClhdError
        If a value is not allowed, or the projected engine is asked for what only the full one can do.
    """

    model: ContrastiveModel
    dimension: int
    overlap: tuple[float, ...] | None
    squared_norm: float = 1.0
    seed: int = 0
    engine: str = "projected"

    def __post_init__(self) -> None:
        model = self.model
        least = model.features + 2
        object.__setattr__(self, "dimension", parse_count("dimension", self.dimension, minimum=least))
        object.__setattr__(self, "seed", parse_count("seed", self.seed, minimum=0))
        object.__setattr__(self, "squared_norm", parse_number("squared_norm", self.squared_norm, minimum=0))
        parse_choice("engine", self.engine, ENGINES)
        if model.is_sphere and self.squared_norm != 1:
            raise ClhdError(f"squared_norm = {self.squared_norm!r}: must be 1 with constraint = 'sphere'")
        if self.overlap is not None:
            overlap = parse_vector("overlap", self.overlap, length=model.features)
            if overlap @ overlap > self.squared_norm * (1 + _ROUNDING):
                raise ClhdError(
                    f"overlap = {self.overlap!r}: its square, {overlap @ overlap:.6g}, "
                    f"must not exceed squared_norm = {self.squared_norm:g}"
                )
            object.__setattr__(self, "overlap", tuple((overlap + 0.0).tolist()))
        if self.engine == "projected":
            self._check_projected()
        else:
            check_features(model, self.dimension)

    def _check_projected(self) -> None:
        """Refuse what the order parameters alone do not determine."""
        model = self.model
        for name, value, allowed in (
            ("l1_penalty", model.l1_penalty, 0.0),
            ("noise_law", model.noise_law, "gaussian"),
            ("feature_law", model.feature_law, "gaussian"),
        ):
            if value != allowed:
                raise ClhdError(f"{name} = {value!r}: the projected engine needs {allowed!r}; use engine = 'full'")

    @property
    def key(self) -> str:
        """The point as text, exact to the last bit: with the replica it seeds the random stream of a run."""
        start = "random" if self.overlap is None else canonical_value(self.overlap)
        return (
            f"{self.model.canonical()}|dimension={self.dimension}|overlap={start}"
            f"|squared_norm={self.squared_norm.hex()}|engine={self.engine}|seed={self.seed}"
        )

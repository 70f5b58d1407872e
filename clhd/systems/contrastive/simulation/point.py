"""`Point`: one parameter combination of the simulation, checked, with the key of its random streams."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from clhd.core.arrays import FloatArray
from clhd.core.checks import parse_choice, parse_count
from clhd.errors import InputError
from clhd.systems.contrastive.model.contrastive import ContrastiveModel, check_model
from clhd.systems.contrastive.model.latents import canonical_value
from clhd.systems.contrastive.model.state import parse_units_norm, parse_units_overlap
from clhd.systems.contrastive.simulation.features import check_features

ENGINES = ("projected", "conditioned", "full")


@dataclass(frozen=True, kw_only=True)
class Point:
    """The parameters of a run of SGD, except for the replica and the output times.

    Parameters
    ----------
    model : ContrastiveModel
    dimension : int
        n, at least p + d + 1.
    overlap : sequence of float, shape (feature,), or of rows, shape (unit, feature), or None
        Overlap of the initial weights, a row for each unit if there are several; None for random weights,
        w ~ N(0, squared_norm I).
    squared_norm : float, or sequence of rows, shape (unit, unit)
        Squared norm of the initial weights (their variance if they are random), 1 on the sphere; of several units with
        a fixed overlap also their Gram matrix.
    seed : int
        Root seed, >= 0.
    engine : str
        "projected", "conditioned" or "full".

    Raises
    ------
    ClhdError
        If a value is not allowed, or the engine cannot simulate the model and another one can.
    """

    model: ContrastiveModel
    dimension: int
    overlap: Sequence[Any] | FloatArray | None
    squared_norm: Any = 1.0
    seed: int = 0
    engine: str = "projected"

    def __post_init__(self) -> None:
        model = self.model
        check_model(model)
        least = model.features + model.units + 1
        object.__setattr__(self, "dimension", parse_count("dimension", self.dimension, minimum=least))
        object.__setattr__(self, "seed", parse_count("seed", self.seed, minimum=0))
        object.__setattr__(self, "squared_norm", parse_units_norm(model, self.squared_norm))
        parse_choice("engine", self.engine, ENGINES)
        if self.overlap is not None:
            object.__setattr__(self, "overlap", parse_units_overlap(model, self.overlap, self.squared_norm))
        elif not isinstance(self.squared_norm, float):
            raise InputError(f"squared_norm = {self.squared_norm!r}: must be a number for random weights")
        self._check_engine()
        check_features(model, self.dimension)

    def _check_engine(self) -> None:
        """Raise ClhdError if the engine relies on a law or a penalty that the model does not have."""
        model, needed = self.model, dict[str, Any]()
        if self.engine != "full":
            needed["noise_law"] = "gaussian"
        if self.engine == "projected":  # only then are the order parameters a Markov chain of their own
            needed["l1_penalty"] = 0.0
        if self.engine == "conditioned":
            needed["units"] = 1
        for name, allowed in needed.items():
            value = getattr(model, name)
            if value != allowed:
                raise InputError(f"{name} = {value!r}: the {self.engine} engine needs {allowed!r}; use engine = 'full'")

    @property
    def key(self) -> str:
        """Return the point as text, exact to the last bit; with the replica it seeds the random stream of a run."""
        start = "random" if self.overlap is None else canonical_value(self.overlap)
        return (
            f"{self.model.canonical()}|dimension={self.dimension}|overlap={start}"
            f"|squared_norm={canonical_value(self.squared_norm)}|engine={self.engine}|seed={self.seed}"
        )

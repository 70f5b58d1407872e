"""`System`: all that a sweep knows of the science: what can be varied, a simulation, a theory, and words for people.

| word | meaning |
|---|---|
| half | the simulation or the theory of a system; both have the interface `Half` |
| values | one value for each parameter that is not left at its default, by name |
| point | a checked, hashable object that a half makes of values; the ``key`` of a simulated point names it exactly |
| cost | predicted seconds of one run, and which runs can share a kernel call |

A system is a subclass of `System`. It either sets `simulation` and `theory` to halves of its own, which compute many
points in one call, or it defines the plain functions `simulate` and `predict` (or `predict_run`).
"""

import re
from collections.abc import Mapping, Sequence
from difflib import SequenceMatcher
from functools import cached_property
from types import SimpleNamespace
from typing import Any, Protocol

import numpy as np

from clhd.core.arrays import FloatArray
from clhd.errors import InputError
from clhd.systems.declarations import Cost, Output, Outputs, Parameter, Result, Value, Words, describe
from clhd.systems.plain import PlainHalf

TIME = describe("time", "t")


class Half(Protocol):
    """The simulation or the theory of a system.

    Attributes
    ----------
    version : int
        Raised when the numbers change; a store of another version is refused.
    per_replica : bool
        Of a theory: True if it is exact for the start of each replica, so that each run has a prediction of its own.
    """

    @property
    def version(self) -> int: ...

    @property
    def per_replica(self) -> bool: ...

    def outputs(self, constants: Mapping[str, Value]) -> Outputs:
        """What `compute` returns; no variables if there is nothing to compute with these constants.

        The theory's prediction of the standard deviation of X, times sqrt(size), is called ``X_fluctuation``.
        """

    def point(self, values: Mapping[str, Value], seed: int) -> Any:
        """A checked, hashable point; raises ClhdError where values do not go together."""

    def cost(self, point: Any, time: FloatArray) -> Cost:
        """The predicted cost of one run, or of one prediction."""

    def compute(self, points: Sequence[Any], time: FloatArray, replicas: Sequence[int]) -> Result:
        """Compute the same replicas of many points, on one thread; a theory ignores replicas unless `per_replica`."""


class NoHalf:
    """A simulation or a theory that does not exist, and so computes nothing: the sweep never asks it for points."""

    version = 1
    per_replica = False

    def outputs(self, constants: Mapping[str, Value]) -> Outputs:
        return Outputs(variables={})

    def point(self, values: Mapping[str, Value], seed: int) -> Any:
        raise NotImplementedError

    def cost(self, point: Any, time: FloatArray) -> Cost:
        raise NotImplementedError

    def compute(self, points: Sequence[Any], time: FloatArray, replicas: Sequence[int]) -> Result:
        raise NotImplementedError


class System:
    """What can be swept.

    Attributes
    ----------
    title : str
        What the system is, in a few words: the head of figures and of the report.
    parameters : mapping of name to Parameter
    outputs : mapping of name to Output
        What `simulate`, `predict` and `predict_run` return; not used by a system with halves of its own.
    time : mapping or None
        Words of the output times (see `describe`); None if the system has no time, and experiments no ``times``.
    size : str
        The parameter n by which the spread of the theory scales; X_fluctuation / sqrt(n) is the predicted standard
        deviation of X. Empty if there is none.
    limit : str
        What the theory is the limit of, such as "limit of infinite dimension"; empty if it is no limit.
    quantity : str
        The output that figures draw unless the experiment chooses another; by default the first.
    components : str
        The parameter that counts the components for which a parameter can have values of its own, such as "features".
    equations : str
        The equations as plain text, for the report.
    sources : tuple of str
        Where they come from, one line each.
    claims, figures : mapping of name to str
        "MODULE:NAME" of each `clhd.claims.claim.Claim`, and of each function that draws a figure from a summary.
    version, theory_version : int
        Of `simulate` and `predict`: raised when the numbers change. Of a system in a file beside the experiment the
        results remember the file, so the numbers may stay.
    """

    title: str = ""
    parameters: Mapping[str, Parameter] = {}
    outputs: Mapping[str, Output] = {}
    time: Words | None = TIME
    size: str = ""
    limit: str = ""
    quantity: str = ""
    components: str = ""
    equations: str = ""
    sources: tuple[str, ...] = ()
    claims: Mapping[str, str] = {}
    figures: Mapping[str, str] = {}
    version: int = 1
    theory_version: int = 1

    def check(self, values: SimpleNamespace) -> None:
        """Raise ClhdError if parameters do not go together; by default, all do.

        It is called with the parameters of each half, and ends where it asks for one that the half does not have.
        """

    def coordinates(self, values: Mapping[str, Any]) -> Mapping[str, tuple[Sequence[Any], Words]]:
        """Values and words of each dim of the outputs, except the time. By default there are no others."""
        return {}

    def estimate_seconds(self, values: SimpleNamespace, time: FloatArray) -> float:
        """Predicted cost of one call of `simulate`; it decides how many runs a block has, and changes no result."""
        return 0.01

    def estimate_theory_seconds(self, values: SimpleNamespace, time: FloatArray) -> float:
        """Predicted cost of one call of `predict`, or of `predict_run`."""
        return 0.01

    def simulate(self, values: SimpleNamespace, time: FloatArray, random: np.random.Generator) -> Mapping[str, Any]:
        """Simulate one run.

        Parameters
        ----------
        values : namespace
            The parameters; one with values for each component is a tuple.
        time : array
            Output times.
        random : numpy.random.Generator
            The random numbers of this run; there must be no others.

        Returns
        -------
        mapping of name to array
            Each output of the simulation, of the shape of its dims.

        Raises
        ------
        NotConvergedError
            If there is no answer. Any other exception fails the run; the other runs go on.
        """
        raise NotImplementedError

    def predict(self, values: SimpleNamespace, time: FloatArray) -> Mapping[str, Any]:
        """Predict one point: each output of the theory; parameters, results and errors are those of `simulate`."""
        raise NotImplementedError

    def predict_run(self, values: SimpleNamespace, time: FloatArray, random: np.random.Generator) -> Mapping[str, Any]:
        """Predict one run, instead of `predict`: a theory that is exact for the random start of each run.

        `random` begins where the generator of the same run began in `simulate`, so the same calls draw the same start.
        """
        raise NotImplementedError

    @cached_property
    def simulation(self) -> Half:
        """The simulation; by default the function `simulate` for each run."""
        return self._make_half("simulate") if self.defines("simulate") else NoHalf()

    @cached_property
    def theory(self) -> Half:
        """The theory; by default the function `predict` for each point, or `predict_run` for each run."""
        if self.defines("predict_run"):
            return self._make_half("predict_run")
        return self._make_half("predict") if self.defines("predict") else NoHalf()

    def defines(self, function: str) -> bool:
        """True if the class has its own version of a function of `System`."""
        return getattr(type(self), function) is not getattr(System, function)

    def _make_half(self, function: str) -> PlainHalf:
        simulates = function == "simulate"
        of_half = "in_simulation" if simulates else "in_theory"
        own = {name: parameter for name, parameter in self.parameters.items() if getattr(parameter, of_half)}
        return PlainHalf(
            name=type(self).__name__,
            version=self.version if simulates else self.theory_version,
            parameters=own,
            others=frozenset(self.parameters.keys() - own.keys()),
            keyed=frozenset(name for name, parameter in self.parameters.items() if parameter.in_simulation),
            components=self.components,
            variables={name: output for name, output in self.outputs.items() if getattr(output, of_half)},
            find_coordinates=self.coordinates,
            check=self.check,
            estimate_seconds=self.estimate_seconds if simulates else self.estimate_theory_seconds,
            function=getattr(self, function),
            has_replicas=function != "predict",
            per_replica=function == "predict_run",
        )

    def find_parameter(self, name: str, constants: Mapping[str, Any]) -> Parameter:
        """Return the declaration of a parameter, also of that of one component, such as ``kurtosis_2``.

        Raises
        ------
        ClhdError
            If the system has no such parameter, or the point no such component.
        """
        if name in self.parameters:
            return self.parameters[name]
        base, _, index = name.rpartition("_")
        parameter = self.parameters.get(base)
        if parameter is not None and parameter.per_component and re.fullmatch("[1-9][0-9]{0,8}", index):
            counter = self.parameters.get(self.components)
            count = constants.get(self.components, counter and counter.default) or 1
            if isinstance(count, int) and int(index) > count:
                raise InputError(f"{name}: there is no {self.component} {index}, because {self.components} = {count}")
            return parameter
        near = sorted(self.parameters, key=lambda known: -SequenceMatcher(None, known, name).ratio())[:3]
        raise InputError(f"{name}: is no parameter of this system; the nearest are {', '.join(near) or 'none'}")

    @property
    def component(self) -> str:
        """One of the components, such as "feature"."""
        return self.components.removesuffix("s")

    def half(self, kind: str) -> Half:
        """The half that a stage, "simulation" or "theory", computes."""
        return self.simulation if kind == "simulation" else self.theory

"""`Declaration`: what results say of the system that made them, so that they can be read where it is not installed.

A store and a summary hold it in the attribute ``declaration``. It is data: nothing of it is ever imported or run.
"""

from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel, ConfigDict

from clhd.systems.declarations import Output, Outputs, Parameter, Value
from clhd.systems.protocol import NoHalf, System


class StoredParameter(BaseModel):
    """What readers need of a `Parameter`."""

    model_config = ConfigDict(extra="forbid", strict=True)

    kind: str = "any"
    choices: list[str] = []
    default: int | float | str | list[float] | None = None
    meaning: str = ""
    symbol: str = ""
    units: str = "1"
    per_component: bool = False
    in_theory: bool = True
    in_simulation: bool = True


class Declaration(BaseModel):
    """What readers need of a `System`; the fields are explained there.

    Parameters
    ----------
    source : str
        Digest of the file of a system that is no installed one, else empty.
    simulates, predicts : bool
        True if the experiment has a simulation, and a theory.
    per_replica : bool
        True if the theory predicts each replica.
    distributions : mapping of output to dim
        The outputs that are distribution functions.
    may_be_nan : list of str
        The outputs for which NaN can be a result.
    """

    model_config = ConfigDict(extra="forbid", strict=True)

    title: str
    time: dict[str, str] | None
    size: str
    limit: str
    quantity: str
    components: str
    equations: str
    sources: list[str]
    source: str
    simulates: bool
    predicts: bool
    per_replica: bool
    parameters: dict[str, StoredParameter]
    distributions: dict[str, str]
    may_be_nan: list[str]


def declare(system: System, constants: Mapping[str, Value], source: str) -> Declaration:
    """Return the declaration of a system, for an experiment with some constants.

    Parameters
    ----------
    system : System
    constants : mapping
        Of the experiment.
    source : str
        Digest of the system's file; empty for an installed system.
    """
    simulated, predicted = (half.outputs(constants).variables for half in (system.simulation, system.theory))
    outputs = {**predicted, **simulated}
    names = tuple(StoredParameter.model_fields)
    return Declaration(
        title=system.title,
        time=None if system.time is None else dict(system.time),
        size=system.size,
        limit=system.limit,
        quantity=system.quantity,
        components=system.components,
        equations=system.equations,
        sources=list(system.sources),
        source=source,
        simulates=bool(simulated),
        predicts=bool(predicted),
        per_replica=system.theory.per_replica,
        parameters={
            name: StoredParameter(**{key: _as_json(getattr(parameter, key)) for key in names})
            for name, parameter in system.parameters.items()
        },
        distributions={name: out.distribution_along for name, out in outputs.items() if out.distribution_along},
        may_be_nan=[name for name, output in outputs.items() if output.may_be_nan],
    )


def _as_json(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value


class StoredHalf(NoHalf):
    """A half as a store remembers it: its outputs and its version, but nothing that computes."""

    def __init__(self, outputs: Outputs, version: int, *, per_replica: bool) -> None:
        self._outputs, self.version, self.per_replica = outputs, version, per_replica

    def outputs(self, constants: Mapping[str, Value]) -> Outputs:
        return self._outputs


def restore_system(declaration: Declaration, kind: str, outputs: Outputs, version: int) -> System:
    """Return a system that says what a declaration says, with the outputs of one stage.

    Parameters
    ----------
    declaration : Declaration
    kind : str
        Stage of the store, "simulation" or "theory".
    outputs : Outputs
        What the store holds, moments undone.
    version : int
        Of the half that filled the store.
    """
    system = System()
    for word in ("title", "time", "size", "limit", "quantity", "components", "equations"):
        setattr(system, word, getattr(declaration, word))
    system.sources = tuple(declaration.sources)
    system.parameters = {name: _restore_parameter(stored) for name, stored in declaration.parameters.items()}
    half = StoredHalf(outputs, version, per_replica=declaration.per_replica and kind == "theory")
    setattr(system, kind, half)
    return system


def _restore_parameter(stored: StoredParameter) -> Parameter:
    """A parameter without its limits: what stands in results was checked when it was computed."""
    table: dict[str, Any] = {key: tuple(value) if isinstance(value, list) else value for key, value in stored}
    return Parameter(**table)


def restore_output(name: str, dims: tuple[str, ...], words: Mapping[str, Any], declaration: Declaration) -> Output:
    """Return an output of a store."""
    return Output(
        dims=dims,
        words={str(key): str(value) for key, value in words.items()},
        distribution_along=declaration.distributions.get(name),
        may_be_nan=name in declaration.may_be_nan,
    )

"""`Experiment`: what to compute, read from a YAML file, checked once, frozen.

| key | type | meaning |
|---|---|---|
| system | text | what is swept: an installed system, or FILE.py:CLASS beside the file |
| description | text | for people |
| constants | name: value | parameters that all points share |
| axes | name: values | parameters that vary: lists, ranges, or several parameters together |
| times | list or range | output times, in the system's unit; left out if the system has no time |
| replicas | count or table | independent runs of each point: a number, or a target, see `clhd.sweep.spec.rounds` |
| seed | count | root of all random streams |
| keep | text | whether the store holds every replica, or moments of blocks of replicas |
| figure | text | a figure of clhd or of the system, or none |
| quantity | text | which output the figure draws; by default the one that the system names |
| refine | table | where the grid is refined, see `clhd.sweep.spec.rounds` |

All mistakes of a file are reported at once, one line each: file, key, value found, what is allowed.

The results of an experiment are stages, each in a store of its own, ``results/EXPERIMENT/STAGE.zarr``.
"""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import numpy as np
from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    PrivateAttr,
    ValidationError,
    field_validator,
    model_validator,
)
from pydantic_core.core_schema import ValidationInfo

from clhd.core.checks import parse_count, parse_number
from clhd.core.text import format_html_table, format_value
from clhd.sweep.spec.grid import Axis, check_labels, describe_axis, is_plain_name, parse_axis, parse_numbers
from clhd.sweep.spec.rounds import (
    LABEL,
    Refinement,
    Sampling,
    StageKind,
    check_refinement,
    check_sampling,
    parse_sampling,
)
from clhd.sweep.spec.validation import (
    Context,
    check_table,
    collect,
    count_components,
    get_context,
    get_system,
    list_outputs,
    list_simulated,
    number_components,
    parameter_finder,
    parse_constant,
    refine_axes,
    write_out,
)
from clhd.sweep.spec.yaml_file import MUST_BE_GIVEN, ExperimentError, describe_mistakes, read_yaml
from clhd.systems.declarations import Value
from clhd.systems.protocol import System
from clhd.systems.registry import Reference, is_file_name, load_system, refer_to
from clhd.systems.stored import Declaration

StageName = Literal["simulation", "theory", "summary"]
# The stages that compute points, and all stages in their order.
KINDS: tuple[StageKind, ...] = ("simulation", "theory")
STAGES: tuple[StageName, ...] = (*KINDS, "summary")
# With keep: moments. As many as one kernel call computes, which is the least that can be computed alone.
REPLICAS_PER_BLOCK = 256
_KEEP = ("replicas", "moments")
_MOST_VALUES = 8  # of an axis in a notebook; of more, the first two and the last are shown
_FIGURES_OF_CLAIMS = "figures"
# Names of arrays that every store and summary holds beside outputs and parameters.
_LEDGER = frozenset({
    "time", "quantile", "status", "attempts", "seconds", "run", "error_type", "error_message", "crossing",
})  # fmt: skip


class Experiment(BaseModel):
    """What to compute; the fields are the keys of the table above, and `name`, by default that of the file."""

    model_config = ConfigDict(extra="forbid", frozen=True, arbitrary_types_allowed=True)

    system: str = Field(description="what is swept: an installed system, or FILE.py:CLASS beside the experiment")
    description: str = Field(default="", description="for people")
    constants: dict[str, Value] = Field(default_factory=dict, description="parameters that all points share")
    refine: Refinement | None = Field(  # before the axes, which it refines
        default=None, description="where the grid is refined, and how far"
    )
    axes: tuple[Axis, ...] = Field(
        default=(), description="parameters that vary, in the order of the dims of the store"
    )
    times: tuple[float, ...] = Field(
        default=None,
        validate_default=True,
        description="output times; must be given unless the system has no time",
    )
    sampling: Sampling = Field(  # type: ignore[assignment]
        alias="replicas",
        default=None,
        description="independent runs of each point; must be given if there is a simulation",
    )
    seed: int = Field(default=0, description="root of all random streams", json_schema_extra={"minimum": 0})
    keep: str = Field(
        default="replicas",
        description=f"what the store holds: replicas, or moments of each block of {REPLICAS_PER_BLOCK} replicas",
        json_schema_extra={"enum": [*_KEEP]},
    )
    figure: str = Field(
        default="", description="how it is drawn; by default the figure of the experiment's name, or lines"
    )
    quantity: str = Field(default="", description="output that the figure draws; by default the one the system names")
    name: str = Field(
        default="experiment",
        description="name of the results; by default that of the file",
        json_schema_extra={"pattern": "^[a-z][a-z0-9_]*$"},
    )

    _folder: Path | None = PrivateAttr(default=None)
    _reference: Reference | None = PrivateAttr(default=None)

    @model_validator(mode="before")
    @classmethod
    def _check_size(cls, table: Mapping[str, Any]) -> Mapping[str, Any]:
        """Refuse an experiment that is too large before any value of a range is made."""
        check_table(table, REPLICAS_PER_BLOCK)
        return {"replicas": None, **table}  # so that a message names the key, and not the field

    @field_validator("system")
    @classmethod
    def _check_system(cls, value: str, info: ValidationInfo) -> str:
        context = get_context(info)
        if context.check:
            load_system(context.refer_to(value))
        elif not is_file_name(value) and not is_plain_name(value):
            raise ValueError("must be the name of a system, or FILE.py:CLASS")
        return value

    @field_validator("constants", mode="before")
    @classmethod
    def _parse_constants(cls, value: Any, info: ValidationInfo) -> dict[str, Value]:
        if not isinstance(value, Mapping):
            raise ValueError("must be a table of name: value")
        find = parameter_finder(info, value)
        components = count_components(get_system(info) or get_context(info).recalled, value)
        return write_out(collect(value, lambda name, entry: parse_constant(name, entry, find(name), components)))

    @field_validator("axes", mode="before")
    @classmethod
    def _parse_axes(cls, value: Any, info: ValidationInfo) -> tuple[Axis, ...]:
        if not isinstance(value, Mapping):
            raise ValueError("must be a table of name: values")
        find = parameter_finder(info, info.data.get("constants"))  # None if they are wrong
        axes = tuple(collect(value, lambda name, entry: parse_axis(name, entry, find)).values())
        if get_context(info).check:  # an older store may hold such values, and must stay readable
            collect({axis.name: axis for axis in axes}, lambda _, axis: check_labels(axis))
        names = [*(info.data.get("constants") or {}), *(name for axis in axes for name in axis.parameters)]
        repeated = sorted({name for name in names if names.count(name) > 1})
        if repeated:
            raise ValueError("\n".join(f"{name}: is set twice, as an axis and elsewhere" for name in repeated))
        refine = info.data.get("refine")
        return axes if refine is None or refine.coarse else refine_axes(axes, refine, find)

    @field_validator("times", mode="before")
    @classmethod
    def _parse_times(cls, value: Any, info: ValidationInfo) -> tuple[float, ...]:
        system = get_system(info)
        if value is None and (system is None or system.time is None):
            return (0.0,)
        if value is None:
            raise ValueError(MUST_BE_GIVEN)
        if system is not None and system.time is None and value != [0.0]:
            raise ValueError("must be left out, for the system has no time")
        times = [parse_number("a time", entry, minimum=0) for entry in parse_numbers("times", value)]
        if not times or np.any(np.diff(times) <= 0):
            raise ValueError("must be one or more times, 0 or later, in strictly increasing order")
        return tuple(times)

    @field_validator("seed", mode="before")
    @classmethod
    def _parse_seed(cls, value: Any) -> int:
        return parse_count("seed", value, minimum=0)

    @field_validator("sampling", mode="before")
    @classmethod
    def _parse_sampling(cls, value: Any, info: ValidationInfo) -> Sampling:
        check = get_context(info).check
        if not check or list_simulated(info) != []:
            if value is None and check:
                raise ValueError(MUST_BE_GIVEN)
            sampling = parse_sampling(value or 0, minimum=1 if check else 0)
            if check and sampling.until:
                check_sampling(sampling, list_simulated(info), info.data.get("times"))
            return sampling
        if value:
            raise ValueError("must be left out, for there is no simulation")
        return Sampling(0, 0)

    @field_validator("keep")
    @classmethod
    def _check_keep(cls, value: str, info: ValidationInfo) -> str:
        if value not in _KEEP:
            raise ValueError(f"must be one of {', '.join(_KEEP)}")
        sampling = info.data.get("sampling") or Sampling(0, 0)
        odd = [count for count in (sampling.start, sampling.most) if count % REPLICAS_PER_BLOCK]
        if value == "moments" and odd:
            raise ValueError(f"needs a multiple of {REPLICAS_PER_BLOCK} replicas, not replicas = {odd[0]}")
        return value

    @field_validator("quantity")
    @classmethod
    def _check_quantity(cls, value: str, info: ValidationInfo) -> str:
        system, constants = get_system(info), info.data.get("constants")
        if value and system is not None and constants is not None:
            names = [name for outputs in list_outputs(system, constants) for name in outputs.variables]
            if value not in names:
                raise ValueError(f"must be one of {', '.join(dict.fromkeys(names))}")
        return value

    @field_validator("name")
    @classmethod
    def _check_name(cls, value: str) -> str:
        if not is_plain_name(value):
            raise ValueError(
                "must be lower-case letters, digits and _, starting with a letter, at most 100 of them; by default it "
                "is the name of the file"
            )
        if value == _FIGURES_OF_CLAIMS:
            raise ValueError("is the folder of the figures of the claims; choose another")
        return value

    @model_validator(mode="after")
    def _check_dims(self, info: ValidationInfo) -> "Experiment":
        """Refuse the name of an axis that another array of the results has."""
        for axis in self.axes:
            if not axis.is_single and _is_taken(axis.name, self, info):
                raise ValueError(f"axes.{axis.name}: is the name of something else in the results; choose another")
        return self

    @model_validator(mode="after")
    def _check_rounds(self, info: ValidationInfo) -> "Experiment":
        """Refuse replicas in rounds on which nothing decides."""
        sampling, refine = self.sampling, self.refine
        decides = refine is not None and refine.kind == "simulation" and refine.level != LABEL
        if get_context(info).check and sampling.is_open and not sampling.until and not decides:
            raise ValueError(
                f"replicas.most = {sampling.most}: is for points with too large an error; give until, or refine by a "
                "simulated quantity, or a number of replicas"
            )
        return self

    @model_validator(mode="after")
    def _check_refine(self, info: ValidationInfo) -> "Experiment":
        system = get_system(info, self.system)
        if self.refine is not None and system is not None:
            start = self.sampling.start
            mistakes = [*check_refinement(self.refine, self.axes, self.times, self.constants, system, start)]
            if mistakes:
                raise ValueError("\n".join(f"refine.{line}" for line in mistakes))
        return self

    @property
    def reference(self) -> Reference:
        """The reference to the system, by which workers find it; raises ClhdError if its file cannot be read."""
        return self._reference or refer_to(self.system, self._folder)

    @property
    def replicas(self) -> int:
        """Replicas for which each point has a place: all that it gets, or the most."""
        return self.sampling.most

    @property
    def has_rounds(self) -> bool:
        """True if results decide what else is wanted."""
        return self.refine is not None or bool(self.sampling.until)

    @property
    def has_simulation(self) -> bool:
        """False if the experiment is theory alone."""
        return self.replicas > 0

    def _repr_html_(self) -> str:
        rows = {"system": self.system, "description": self.description}
        rows |= {f"axis {axis.name}": f"{len(axis)}: {_format_values(axis)}" for axis in self.axes}
        rows |= {name: format_value(value) for name, value in self.constants.items()}
        if self.times:
            rows["times"] = f"{len(self.times)}, up to {format_value(self.times[-1])}"
        rows["points"] = f"{math.prod(len(axis) for axis in self.axes):,}"
        sampling = self.sampling
        at_least = f"{sampling.start:,} to " if sampling.is_open else ""
        rows |= {"replicas": f"{at_least}{sampling.most:,}", "seed": str(self.seed)}
        return format_html_table(f"Experiment {self.name}", {name: text for name, text in rows.items() if text})

    def typed_like(self, held: "Experiment", declaration: Declaration | None) -> "Experiment":
        """The experiment, if it was read without its system, with values in the form in which `held` has them.

        A range has whole numbers where `held` has some, and a list of one value for each component is written out. The
        declaration is that of the results which hold `held`; those of earlier versions have none.
        """
        known = {axis.name: axis for axis in held.axes}
        axes = tuple(axis.typed_like(known.get(axis.name, axis)) for axis in self.axes)
        constants: dict[str, Value] = {}
        for name, value in self.constants.items():
            parameter = declaration.parameters.get(name) if declaration else None
            is_list = isinstance(value, tuple) and name not in held.constants and f"{name}_1" in held.constants
            if parameter is not None:
                is_list = isinstance(value, tuple) and parameter.per_component and parameter.kind != "curve"
            constants |= number_components(name, value) if is_list else {name: value}
        return self.model_copy(update={"axes": axes, "constants": constants})

    def resolved(self) -> dict[str, Any]:
        """Return the experiment as plain values, which JSON can hold and `parse_experiment` reads back."""
        return (
            {
                "name": self.name,
                "system": self.system,
                "description": self.description,
                "constants": {name: list(v) if isinstance(v, tuple) else v for name, v in self.constants.items()},
                "axes": {axis.name: describe_axis(axis) for axis in self.axes},
                "times": list(self.times),
                "replicas": self.sampling.resolved(),
                "seed": self.seed,
                "keep": self.keep,
                "figure": self.figure,
            }
            | ({"quantity": self.quantity} if self.quantity else {})
            | ({"refine": self.refine.resolved()} if self.refine else {})
        )


def _format_values(axis: Axis) -> str:
    labels = [axis.label(position).removeprefix(f"{axis.name}=") for position in range(len(axis))]
    return ", ".join(labels if len(labels) <= _MOST_VALUES else [*labels[:2], "...", labels[-1]])


def _is_taken(name: str, experiment: Experiment, info: ValidationInfo) -> bool:
    """Return True if the stores or the summary of an experiment may hold an array of this name."""
    if name in _LEDGER or name.startswith(("replica", "theory", "until_")):
        return True
    system = get_system(info, experiment.system)
    if system is None:
        return False
    return name in system.parameters or any(
        name in outputs.coordinates or name.startswith(tuple(outputs.variables))
        for outputs in list_outputs(system, experiment.constants)
    )


def read_experiment(path: str | Path, *, check: bool = True, recalled: System | None = None) -> Experiment:
    """Read an experiment from a YAML file.

    Parameters
    ----------
    path : path
    check : bool
        False takes parameters as they stand and loads no system.
    recalled : System, optional
        With `check` false: the system as results remember it, which gives the form of the parameters.

    Returns
    -------
    Experiment
        Frozen: ``name``, ``system``, ``constants``, ``axes``, ... `run_experiment` takes it.

    Raises
    ------
    InputError
        With one line for each mistake: file, key, value found, what is allowed.
    """
    path = Path(path)
    table = {"name": path.stem, **read_yaml(path)}
    if "experiments" in table and "system" not in table:
        raise ExperimentError(f"{path}: is a list of experiments; name the file of one of them")
    return parse_experiment(table, str(path), check=check, folder=path.parent, recalled=recalled)


def parse_experiment(
    table: Mapping[str, Any],
    source: str = "experiment",
    *,
    check: bool = True,
    folder: Path | None = None,
    recalled: System | None = None,
) -> Experiment:
    """Return the experiment that plain values describe, as `Experiment.resolved` returns them.

    Raises
    ------
    ExperimentError
        With one line for each mistake, each starting with `source`.
    """
    context = Context(check, folder, recalled)
    try:
        experiment = Experiment.model_validate(dict(table), context=context)
    except ValidationError as error:
        known = [field.alias or name for name, field in Experiment.model_fields.items()]
        raise ExperimentError(describe_mistakes(error, source, known)) from None
    if experiment.refine is not None and not experiment.refine.coarse:
        experiment = experiment.model_copy(update={"refine": experiment.refine.keep_coarse(experiment.axes)})
    experiment._folder, experiment._reference = folder, context.references.get(experiment.system)
    return experiment


def stage_path(folder: Path, stage: StageName) -> Path:
    """Return the path of the store of a stage; the folder holds the results of one experiment, as ``results/grid``."""
    return folder / f"{stage}.zarr"

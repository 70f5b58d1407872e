"""`Config`: the list of experiments that `make` runs, read from config/config.yaml.

| key | meaning |
|---|---|
| results | folder of all results, by default "results" |
| experiments | files of the experiments, in the order in which they run |
| claims | file of the claims, if there are any |

Paths are relative to the folder in which the command runs, which is the root of the project.

`format_schema`: the JSON schema of an experiment file, with which editors complete and check it.

It comes from `Experiment` and the parameters of all installed systems, and is committed as
config/experiment.schema.json. A schema checks single values; rules for whole experiments are checked when a file is
read.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from clhd.core.text import cut_lines
from clhd.sweep.spec.experiment import Experiment, read_experiment
from clhd.sweep.spec.rounds import SAMPLING_SCHEMA, describe_schema
from clhd.sweep.spec.yaml_file import ExperimentError, describe_mistakes, read_yaml
from clhd.systems.declarations import Parameter
from clhd.systems.registry import find_system, list_systems


class Config(BaseModel):
    """A list of experiments; keys are those of the table above."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    results: Path = Field(default=Path("results"), description="folder of all results")
    experiments: tuple[Path, ...] = Field(description="files of the experiments", min_length=1)
    claims: Path | None = Field(default=None, description="file of the claims that are judged by them")

    @field_validator("results", "claims")
    @classmethod
    def _check_path(cls, value: Path | None) -> Path | None:
        if value is not None:
            _check_plain(value)
        return value

    @field_validator("experiments")
    @classmethod
    def _check_names(cls, value: tuple[Path, ...]) -> tuple[Path, ...]:
        for path in value:
            _check_plain(path)
        names = [path.stem for path in value]
        repeated = sorted({name for name in names if names.count(name) > 1})
        if repeated:
            raise ValueError(f"must have different names, but {', '.join(repeated)} is listed twice")
        return value


def _check_plain(path: Path) -> None:
    """Refuse a path that a command takes for an option, Snakemake for a wildcard, or a terminal for a control code."""
    text = str(path)
    if text.startswith("-") or "{" in text or "}" in text or not text.isprintable():
        raise ValueError(f"{text!r:.60} must be a path of printable characters, without braces, that begins with no -")


@dataclass(frozen=True)
class ConfigContent:
    """A config with all of its experiments."""

    results: Path
    experiments: dict[str, Experiment]
    files: dict[str, Path]
    claims: Path | None


def read_config(path: str | Path, *, check: bool = True) -> ConfigContent:
    """Return a config with all its experiments, read from files; raises as `parse_config` does."""
    table = read_yaml(Path(path))
    if "system" in table and "experiments" not in table:
        raise ExperimentError(f"{path}: is an experiment; name a list of experiments")
    return parse_config(table, str(path), check=check)


def parse_config(table: dict[str, Any], source: str, *, check: bool = True) -> ConfigContent:
    """Return a config with all its experiments; `table` is the content of its file, and `source` names it in messages.

    Raises
    ------
    ExperimentError
        With one line for each mistake in the table or in any of the files.
    """
    try:
        config = Config.model_validate(table)
    except ValidationError as error:
        raise ExperimentError(describe_mistakes(error, source, Config.model_fields)) from None
    experiments: dict[str, Experiment] = {}
    files: dict[str, Path] = {}
    mistakes = []
    for file in config.experiments:
        try:
            experiment = read_experiment(file, check=check)
        except ValueError as error:
            mistakes.append(str(error))
            continue
        if experiment.name in experiments:
            mistakes.append(f"{file}: name = {experiment.name!r}: is that of {files[experiment.name]} as well")
        experiments[experiment.name] = experiment
        files[experiment.name] = file
    if mistakes:
        raise ExperimentError(cut_lines("\n".join(mistakes).splitlines()))
    return ConfigContent(config.results, experiments, files, config.claims)


def format_config_schema() -> str:
    """Return the JSON schema of a config, as it is committed."""
    schema: dict[str, Any] = Config.model_json_schema()
    return json.dumps(schema, indent=2) + "\n"


_RANGE_SCHEMA: dict[str, Any] = {
    "type": "object",
    "description": "count values from start to stop, both included; spacing linear (default) or log",
    "properties": {
        "start": {"type": "number"},
        "stop": {"type": "number"},
        "count": {"type": "integer", "minimum": 1},
        "spacing": {"enum": ["linear", "log"]},
    },
    "required": ["start", "stop", "count"],
    "additionalProperties": False,
}
_NUMBERS_SCHEMA: dict[str, Any] = {
    "oneOf": [
        {"type": "array", "items": {"type": ["number", "string"]}, "minItems": 1},
        _RANGE_SCHEMA,
    ]
}
_TOGETHER_SCHEMA: dict[str, Any] = {
    "type": "object",
    "description": "parameters that vary together: lists of one length",
    "properties": {"together": {"type": "object", "additionalProperties": _NUMBERS_SCHEMA}},
    "required": ["together"],
    "additionalProperties": False,
}
_WRITTEN: dict[str, dict[str, Any]] = {
    "constants": {"type": "object"},
    "axes": {"type": "object", "additionalProperties": {"oneOf": [*_NUMBERS_SCHEMA["oneOf"], _TOGETHER_SCHEMA]}},
    "times": _NUMBERS_SCHEMA,
    "refine": describe_schema(),
    "replicas": SAMPLING_SCHEMA,
}


def build_schema() -> dict[str, Any]:
    """Return the JSON schema of an experiment file; parameters come from the systems."""
    schema = Experiment.model_json_schema()
    schema.pop("$defs")
    for name, written in _WRITTEN.items():  # a file writes values in another form than `Experiment`
        kept = schema["properties"][name]
        schema["properties"][name] = {
            key: kept[key] for key in ("default", "description", "title") if key in kept
        } | written
    found: dict[str, list[dict[str, Any]]] = {}
    systems = {name: find_system(name) for name in list_systems()}
    schema["properties"]["system"] |= {
        "anyOf": [{"enum": [*systems]}, {"type": "string", "pattern": r"^[^:]+\.py:\w+$"}]
    }
    for system in systems.values():
        for parameter_name, parameter in system.parameters.items():
            entries, entry = found.setdefault(parameter_name, []), _describe_parameter(parameter)
            if entry not in entries:
                entries.append(entry)
    # Systems may have different parameters of the same name, such as `theory`.
    constants = {name: entries[0] if len(entries) == 1 else {"anyOf": entries} for name, entries in found.items()}
    lists = {
        name: entry
        for name, entry in constants.items()
        if any(name in system.parameters and system.parameters[name].per_component for system in systems.values())
    }
    patterns = {f"^{name}_[1-9]$": entry for name, entry in lists.items()}
    constants |= {name: {"anyOf": [entry, {"type": "array", "items": entry}]} for name, entry in lists.items()}
    known = {"properties": constants, "patternProperties": patterns, "additionalProperties": False}
    # A system of a file has parameters of its own.
    schema["if"] = {"properties": {"system": {"enum": [*systems]}}, "required": ["system"]}
    schema["then"] = {"properties": {"constants": known}}
    return schema


def _describe_parameter(parameter: Parameter) -> dict[str, Any]:
    words = [{"enum": list(parameter.choices)}] if parameter.choices else []
    kinds: dict[str, dict[str, Any]] = {
        "number": {"anyOf": [{"type": "number"}, *words]} if words else {"type": "number"},
        "count": {"type": "integer"},
        "choice": {"enum": list(parameter.choices)},
        "curve": {"oneOf": [{"enum": list(parameter.choices)}, {"type": "array", "items": {"type": "number"}}]},
        "any": {},  # the system checks it
    }
    entry = {"description": parameter.meaning, **kinds[parameter.kind]}
    limits = (("minimum", parameter.minimum), ("maximum", parameter.maximum), ("exclusiveMinimum", parameter.above))
    entry |= {word: limit for word, limit in limits if np.isfinite(limit)}
    if parameter.default is not None:
        entry["default"] = parameter.default
    return entry


def format_schema() -> str:
    """Return the schema as it is committed."""
    return json.dumps(build_schema(), indent=2) + "\n"

"""The JSON schema of an experiment file, with which editors complete and check it.

It comes from `Experiment` and the parameters of all installed systems, and is committed as
config/experiment.schema.json. A schema checks single values; rules for whole experiments are checked when a file is
read.
"""

import json
from typing import Any

import numpy as np

from clhd.sweep.spec.experiment import Experiment
from clhd.systems.declarations import Parameter
from clhd.systems.registry import find_system, list_systems

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
    patterns = {
        f"^{name}_[1-9]$": entry
        for name, entry in constants.items()
        if any(name in system.parameters and system.parameters[name].per_component for system in systems.values())
    }
    schema["properties"]["constants"] |= {
        "properties": constants,
        "patternProperties": patterns,
        "additionalProperties": False,
    }
    return schema


def _describe_parameter(parameter: Parameter) -> dict[str, Any]:
    kinds: dict[str, dict[str, Any]] = {
        "number": {"type": "number"},
        "count": {"type": "integer"},
        "choice": {"enum": list(parameter.choices)},
        "curve": {"oneOf": [{"enum": list(parameter.choices)}, {"type": "array", "items": {"type": "number"}}]},
        "any": {},
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

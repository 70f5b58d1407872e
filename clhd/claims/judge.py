"""`judge_claims`: the letter's statements, each with a verdict from the summaries of experiments; results/claims.json.

| word | meaning |
|---|---|
| claim | a statement, its judge, the roles that experiments play in it, and the thresholds that it needs |
| judge | a function of summaries (by role) and thresholds (by name) that returns a `Judgement` |
| config/claims.yaml | of each claim: which experiment plays which role, and the values of its thresholds |

Thresholds are fixed in the config before anything runs, and judges compute nothing anew: claims are made again from the
summaries in seconds. A new claim is one module with a `Claim`, and one entry in
`CLAIMS`.
"""

import json
import math
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from clhd.claims.claim import Claim, Part, Threshold
from clhd.claims.verdict import Estimate
from clhd.core.checks import parse_number
from clhd.core.text import cut_line
from clhd.errors import ClhdError
from clhd.sweep.results.summary_reader import Summary, read_summary
from clhd.sweep.spec.yaml_file import read_yaml
from clhd.systems.contrastive.claims import (
    attraction,
    convergence,
    correlation,
    learnability,
    matrix,
    noise,
    reduction,
    weights,
)

CLAIMS: dict[str, Claim] = {  # in the order of the report
    "C1": weights.WEIGHTS,
    "C2": reduction.REDUCTION,
    "C3": convergence.CONVERGENCE,
    "C4": learnability.LEARNABILITY,
    "C5": attraction.ATTRACTION,
    "C6": noise.NOISE,
    "C7": correlation.CORRELATION,
}
# Beside the claims in config/claims.yaml: all of them, coarsely, in many cases (`claims.matrix`).
MATRIX = "matrix"


@dataclass(frozen=True)
class ClaimSettings:
    """What config/claims.yaml says of one claim, or of the matrix: experiments by role, thresholds by name."""

    experiments: Mapping[str, str]
    thresholds: Mapping[str, Threshold]


def read_claims(path: str | Path, experiments: Iterable[str]) -> dict[str, ClaimSettings]:
    """Read the settings of the claims.

    Parameters
    ----------
    path : path
        A YAML file such as config/claims.yaml.
    experiments : names
        Of the experiments that there are.

    Raises
    ------
    ClhdError
        With one line for each mistake: file, key, value found, what is allowed.
    """
    table, known = read_yaml(Path(path)), set(experiments)
    mistakes: list[str] = []
    settings = {}
    for name, entry in table.items():
        if name not in CLAIMS and name != MATRIX:
            mistakes.append(f"{name}: is no claim; the claims are {', '.join(CLAIMS)}, and {MATRIX}")
            continue
        if not isinstance(entry, dict) or set(entry) != {"experiments", "thresholds"}:
            mistakes.append(f"{name}: must hold experiments and thresholds, and nothing else")
            continue
        roles, thresholds = (
            _parse_table(entry[key], f"{name}.{key}", mistakes) for key in ("experiments", "thresholds")
        )
        needed: Mapping[str, str]
        optional: Mapping[str, str] = {}
        meanings: Mapping[str, str]
        if name == MATRIX:
            needed, optional, meanings = matrix.EXPERIMENTS, matrix.OPTIONAL_EXPERIMENTS, matrix.THRESHOLDS
        else:
            needed, meanings = CLAIMS[name].experiments, CLAIMS[name].thresholds
        roles = {role: found for role, found in roles.items() if role not in optional or str(found) in known}
        mistakes += _compare_keys(roles, needed, f"{name}.experiments", optional)
        mistakes += _compare_keys(thresholds, meanings, f"{name}.thresholds")
        mistakes += [
            f"{name}.experiments.{role} = {experiment!r}: must be one of {', '.join(sorted(known))}"
            for role, experiment in roles.items()
            if not isinstance(experiment, str) or experiment not in known
        ]
        values: dict[str, Threshold] = {}
        for key, value in thresholds.items():
            try:
                values[key] = _parse_threshold(f"{name}.thresholds.{key}", value, is_range=key.endswith("_range"))
            except ClhdError as error:
                mistakes.append(str(error))
        settings[name] = ClaimSettings(roles, values)
    if mistakes:
        raise ClhdError("\n".join(f"{path}: {cut_line(mistake)}" for mistake in mistakes))
    return settings


def _parse_table(value: Any, key: str, mistakes: list[str]) -> dict[str, Any]:
    if isinstance(value, dict):
        return value
    mistakes.append(f"{key} = {value!r}: must be a table of name: value")
    return {}


def _compare_keys(
    found: Mapping[str, Any], needed: Mapping[str, str], key: str, optional: Iterable[str] = ()
) -> list[str]:
    missing = [f"{key}.{name}: must be given: {needed[name]}" for name in needed if name not in found]
    return missing + [f"{key}.{name}: is no key here" for name in found if name not in {*needed, *optional}]


def _parse_threshold(key: str, value: Any, *, is_range: bool) -> Threshold:
    if not is_range:
        return parse_number(key, value)
    if not isinstance(value, list) or len(value) != 2:
        raise ClhdError(f"{key} = {value!r}: must be two numbers, low and high")
    low, high = (parse_number(key, number) for number in value)
    if low > high:
        raise ClhdError(f"{key} = {value!r}: must be two numbers, the first not greater than the second")
    return low, high


def judge_claims(settings: Mapping[str, ClaimSettings], results: Path) -> dict[str, Any]:
    """Judge every claim from the summaries of its experiments.

    Parameters
    ----------
    settings : mapping of claim to ClaimSettings
        From `read_claims`.
    results : Path
        Folder of all results.

    Returns
    -------
    dict
        ``{"claims": [{"id", "statement", "verdict", "evidence", "thresholds", "rests_on", "parts"}, ...]}`` in plain
        values; ``parts`` only where a claim has some. What is not a number is None.

    Raises
    ------
    ClhdError
        If a summary is not there, or lacks what a judge needs.
    """
    entries = []
    for name, setting in settings.items():
        if name == MATRIX:
            continue
        claim = CLAIMS[name]
        summaries = read_summaries(setting, results)
        with _naming_experiments(name, setting):
            judgement = claim.judge(summaries, setting.thresholds)
        entry: dict[str, Any] = {
            "id": name,
            "statement": claim.statement,
            "verdict": judgement.verdict,
            "evidence": judgement.evidence,
            "thresholds": dict(setting.thresholds),
            "experiments": dict(setting.experiments),
            "rests_on": _describe_basis(summaries.values()),
        }
        if judgement.parts:
            entry["parts"] = [_describe_part(part) for part in judgement.parts]
        entries.append(make_plain(entry))
    return {"claims": entries}


def judge_cases(setting: ClaimSettings, results: Path) -> dict[str, Any]:
    """Judge every statement in every case, coarsely; results/claims_matrix.json.

    Parameters
    ----------
    setting : ClaimSettings
        The entry `MATRIX` of what `read_claims` returned.
    results : Path
        Folder of all results.

    Returns
    -------
    dict
        That of `claims.matrix.judge_matrix`, with thresholds, experiments and what it rests on, in plain values.

    Raises
    ------
    ClhdError
        As `judge_claims` does.
    """
    summaries = read_summaries(setting, results)
    with _naming_experiments(MATRIX, setting):
        judged = matrix.judge_matrix(summaries, setting.thresholds)
    judged |= {"thresholds": dict(setting.thresholds), "experiments": dict(setting.experiments)}
    plain: dict[str, Any] = make_plain(judged | {"rests_on": _describe_basis(summaries.values())})
    return plain


@contextmanager
def _naming_experiments(name: str, setting: ClaimSettings) -> Iterator[None]:
    """Say of what a judge did not find in which experiments it looked."""
    try:
        yield
    except KeyError as error:
        roles = ", ".join(f"{role} = {experiment}" for role, experiment in setting.experiments.items())
        raise ClhdError(f"{name}: an experiment ({roles}) lacks {error}, which its judge needs") from error


def read_summaries(setting: ClaimSettings, results: Path) -> dict[str, Summary]:
    """The summaries of the experiments of one claim, by role."""
    return {role: read_summary(results / name / "summary.zarr") for role, name in setting.experiments.items()}


def _describe_part(part: Part) -> dict[str, Any]:
    return {"id": part.id, "statement": part.statement, "verdict": part.verdict, "evidence": part.evidence}


def _describe_basis(summaries: Iterable[Summary]) -> dict[str, Any]:
    """What a claim rests on: points, runs that were ok, seeds, stores, and the code that summarised them."""
    found = {summary.name: summary for summary in summaries}
    return {
        "points": sum(summary.points for summary in found.values()),
        "replicas": sum(summary.totals.get("ok", 0) for summary in found.values()),
        "seed": {name: summary.experiment["seed"] for name, summary in found.items() if summary.has_simulation},
        "stores": [f"{name}/summary.zarr" for name in found],
        "code": sorted({str(summary.dataset.attrs["code"]) for summary in found.values()}),
    }


def make_plain(value: Any) -> Any:
    """A value as JSON holds it: arrays as lists, and None for what is not a finite number."""
    if isinstance(value, Estimate):
        return make_plain(value.as_dict())
    if isinstance(value, Mapping):
        return {str(key): make_plain(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [make_plain(entry) for entry in value]
    if hasattr(value, "tolist"):
        return make_plain(value.tolist())
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return str(value) if isinstance(value, str) else value


def write_claims(claims: Mapping[str, Any], path: Path) -> Path:
    """Write claims.json, or claims_matrix.json, in one step, and return its path."""
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(f".{path.name}.new")
    unfinished.write_text(json.dumps(claims, indent=2) + "\n", encoding="utf-8")
    unfinished.replace(path)
    return path

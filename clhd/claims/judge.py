"""`judge_claims`: a verdict on each claim, from the summaries of experiments; results/claims.json.

| word | meaning |
|---|---|
| claim | a statement, its judge, the roles that experiments play in it, and the thresholds that it needs |
| table | a `CaseTable`: several statements, judged coarsely in many cases; results/claims_ID.json |
| judge | a function of summaries (by role) and thresholds (by name) that returns a verdict with its numbers |
| claims file | of each claim: which experiment plays which role, and the values of its thresholds |

The systems of the experiments list the claims. Thresholds stand in the claims file before anything runs, and judges
compute nothing anew: all verdicts are made again from the summaries in seconds.
"""

import json
import math
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from clhd.claims.claim import CaseTable, Claim, Summaries, Threshold
from clhd.claims.verdict import Estimate
from clhd.core.checks import parse_number
from clhd.core.files import write_file
from clhd.core.text import cut_line, cut_lines
from clhd.errors import ClhdError, InputError
from clhd.sweep.results.summary_reader import Summary, read_summary
from clhd.sweep.run.children import map_in_children
from clhd.sweep.spec.experiment import Experiment
from clhd.sweep.spec.yaml_file import read_yaml
from clhd.systems.protocol import System
from clhd.systems.registry import Reference, explain_error, import_named, load_system, locate


@dataclass(frozen=True)
class ClaimSettings:
    """A claim or table, and what the claims file says of it."""

    claim: Claim | CaseTable
    system: System  # which lists it
    experiments: Mapping[str, str]  # by role
    thresholds: Mapping[str, Threshold]


def read_claims(path: str | Path, experiments: Mapping[str, Experiment]) -> dict[str, ClaimSettings]:
    """Read a claims file, such as config/claims.yaml, and find its claims.

    The experiments are all that can play a role. Their systems list the claims.

    Raises
    ------
    ClhdError
        With one line for each mistake: file, key, value found, what is allowed.
    """
    table, finder = read_yaml(Path(path)), _Finder(experiments.values())
    mistakes: list[str] = []
    settings = {}
    for name, entry in table.items():
        try:
            claim, system = finder.find(name)
        except ClhdError as error:
            mistakes.append(f"{name}: {error}")
            continue
        if not isinstance(entry, dict) or set(entry) != {"experiments", "thresholds"}:
            mistakes.append(f"{name}: must hold experiments and thresholds, and nothing else")
            continue
        roles = _parse_roles(entry["experiments"], f"{name}.experiments", claim, set(experiments), mistakes)
        thresholds = _parse_thresholds(entry["thresholds"], f"{name}.thresholds", claim, mistakes)
        settings[name] = ClaimSettings(claim, system, roles, thresholds)
    figures = list_figures(settings)
    mistakes += [f"figure {name} is drawn twice" for name in dict.fromkeys(figures) if figures.count(name) > 1]
    if mistakes:
        raise InputError(cut_lines([f"{path}: {cut_line(mistake)}" for mistake in mistakes]))
    return settings


class _Finder:
    """Finds claims by id through the systems of experiments."""

    def __init__(self, experiments: Iterable[Experiment]) -> None:
        self._systems: dict[Reference, System] = {}
        self._unknown: dict[str, str] = {}  # why a system could not be loaded
        for experiment in experiments:
            try:
                self._systems[experiment.reference] = load_system(experiment.reference)
            except ClhdError as error:
                self._unknown[experiment.system] = str(error).splitlines()[0]

    def find(self, claim_id: str) -> tuple[Claim | CaseTable, System]:
        """Return a claim or table and the system that lists it; raise ClhdError if there is none, or two different."""
        found = [(reference.name, system) for reference, system in self._systems.items() if claim_id in system.claims]
        targets = {locate(system.claims[claim_id], system) for _, system in found}
        if not targets:
            known = dict.fromkeys(name for system in self._systems.values() for name in system.claims)
            allowed = f"must be one of {', '.join(known)}" if known else "their systems have no claims"
            raise InputError("; ".join(["is no claim of these experiments", allowed, *self._unknown.values()]))
        if len(targets) > 1:
            names = " and ".join(name for name, _ in found)
            raise InputError(f"the systems {names} have different claims of this name; rename one")
        system = found[0][1]
        claim = import_named(system.claims[claim_id], system)
        if not isinstance(claim, Claim | CaseTable):
            raise InputError(f"{system.claims[claim_id]!r} must be a clhd.claims.claim.Claim, or a CaseTable")
        return claim, system


def _parse_roles(
    value: Any, key: str, claim: Claim | CaseTable, known: set[str], mistakes: list[str]
) -> dict[str, str]:
    """The experiment of each role; mistakes are added to a list."""
    optional = claim.optional_experiments
    roles = _parse_table(value, key, mistakes)
    roles = {role: found for role, found in roles.items() if role not in optional or str(found) in known}
    mistakes += _compare_keys(roles, claim.experiments, key, optional)
    mistakes += [
        f"{key}.{role} = {experiment!r}: must be one of {', '.join(sorted(known))}"
        for role, experiment in roles.items()
        if not isinstance(experiment, str) or experiment not in known
    ]
    return roles


def _parse_thresholds(value: Any, key: str, claim: Claim | CaseTable, mistakes: list[str]) -> dict[str, Threshold]:
    """The value of each threshold; mistakes are added to a list."""
    table = _parse_table(value, key, mistakes)
    mistakes += _compare_keys(table, claim.thresholds, key)
    thresholds: dict[str, Threshold] = {}
    for name, entry in table.items():
        try:
            thresholds[name] = _parse_threshold(f"{key}.{name}", entry, is_range=str(name).endswith("_range"))
        except ClhdError as error:
            mistakes.append(str(error))
    return thresholds


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
        raise InputError(f"{key} = {value!r}: must be two numbers, low and high")
    low, high = (parse_number(key, number) for number in value)
    if low > high:
        raise InputError(f"{key} = {value!r}: must be two numbers, the first not greater than the second")
    return low, high


def list_figures(settings: Mapping[str, ClaimSettings]) -> list[str]:
    """Return the names of the figures of all claims and tables, which are drawn in results/figures."""
    return [figure for name, setting in settings.items() for figure in setting.claim.list_figures(name)]


def list_files(settings: Mapping[str, ClaimSettings]) -> list[str]:
    """Return the names of the files that `clhd claims` writes: claims.json, and claims_ID.json of each table."""
    tables = [name for name, setting in settings.items() if isinstance(setting.claim, CaseTable)]
    return ["claims.json", *(f"claims_{name}.json" for name in tables)]


def judge_claims(settings: Mapping[str, ClaimSettings], results: Path) -> dict[str, Any]:
    """Judge every claim from the summaries of its experiments.

    Returns
    -------
    dict
        ``{"claims": [{"id", "statement", "verdict", "evidence", "thresholds", "experiments", "rests_on", "meanings",
        "figures", "parts"}, ...]}`` in plain values. ``parts`` exists only where a claim has some. A number that is not
        finite is None.

    Raises
    ------
    ClhdError
        If a summary does not exist, or lacks what a judge needs.
    """
    claims = [(name, setting.claim) for name, setting in settings.items() if isinstance(setting.claim, Claim)]
    return {"claims": map_in_children(lambda pair: _judge(*pair, settings[pair[0]], results), claims)}


def _judge(name: str, claim: Claim, setting: ClaimSettings, results: Path) -> dict[str, Any]:
    """The entry of one claim."""
    summaries = read_summaries(setting, results)
    with _naming_experiments(name, setting):
        judgement = claim.judge(summaries, setting.thresholds)
    entry: dict[str, Any] = {
        "id": name,
        "statement": claim.statement,
        "verdict": judgement.verdict,
        "evidence": judgement.evidence,
    } | _describe_setting(name, setting, summaries)
    if judgement.parts:
        entry["parts"] = [vars(part) for part in judgement.parts]
    plain: dict[str, Any] = make_plain(entry)
    return plain


def judge_tables(settings: Mapping[str, ClaimSettings], results: Path) -> dict[str, dict[str, Any]]:
    """Judge every table: each of its statements in each of its cases.

    Returns
    -------
    dict of id to dict
        What the judge returned, with thresholds, experiments and what they rest on, in plain values.
    """
    tables = {}
    for name, setting in settings.items():
        if isinstance(setting.claim, CaseTable):
            summaries = read_summaries(setting, results)
            with _naming_experiments(name, setting):
                judged = dict(setting.claim.judge(summaries, setting.thresholds))
            tables[name] = make_plain(judged | _describe_setting(name, setting, summaries))
    return tables


@contextmanager
def _naming_experiments(name: str, setting: ClaimSettings) -> Iterator[None]:
    """Turn the KeyError of a judge into a line that names the experiments, and any other of an author's into one."""
    with explain_error(f"claim {name}", str(getattr(setting.claim.judge, "__module__", ""))):
        try:
            yield
        except KeyError as error:
            roles = ", ".join(f"{role} = {experiment}" for role, experiment in setting.experiments.items())
            raise InputError(f"{name}: an experiment ({roles}) lacks {error}, which its judge needs") from error


def read_summaries(setting: ClaimSettings, results: Path) -> dict[str, Summary]:
    """Return the summaries of the experiments of one claim, by role."""
    return {role: read_summary(results / name / "summary.zarr") for role, name in setting.experiments.items()}


def _describe_setting(name: str, setting: ClaimSettings, summaries: Summaries) -> dict[str, Any]:
    """Thresholds and experiments with their meanings, what the verdict rests on, and the names of the figures."""
    claim = setting.claim
    meanings = {**claim.experiments, **claim.optional_experiments}
    return {
        "thresholds": dict(setting.thresholds),
        "experiments": dict(setting.experiments),
        "rests_on": _describe_basis(summaries.values()),
        "meanings": {
            "thresholds": dict(claim.thresholds),
            "experiments": {role: meanings[role] for role in setting.experiments},
        },
        "figures": list(claim.list_figures(name)),
    }


def _describe_basis(summaries: Iterable[Summary]) -> dict[str, Any]:
    """Points, runs that were ok, seeds and stores behind a verdict, and the code that summarised them."""
    found = {summary.name: summary for summary in summaries}
    return {
        "points": sum(summary.points for summary in found.values()),
        "replicas": sum(summary.totals.get("ok", 0) for summary in found.values()),
        "seed": {name: summary.experiment["seed"] for name, summary in found.items() if summary.has_simulation},
        "stores": [f"{name}/summary.zarr" for name in found],
        "summaries": {name: summary.identity for name, summary in found.items()},
        "code": sorted({str(summary.dataset.attrs["code"]) for summary in found.values()}),
    }


def find_basis(judged: Iterable[Mapping[str, Any]]) -> dict[str, str]:
    """Return the identities of the summaries behind claims and tables, by experiment."""
    return {name: identity for entry in judged for name, identity in entry["rests_on"]["summaries"].items()}


def make_plain(value: Any) -> Any:
    """Return a value as JSON holds it: arrays as lists, and None for a number that is not finite."""
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
    """Write claims.json, or the file of a table, in one step, and return its path."""
    path.parent.mkdir(parents=True, exist_ok=True)
    write_file(path, json.dumps(claims, indent=2) + "\n")
    return path

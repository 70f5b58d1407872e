"""The content that an experiment file may have, and the one clear line about any other content."""

import json
import textwrap
from pathlib import Path
from typing import Any

import pytest
import yaml

from clhd.errors import ClhdError
from clhd.sweep.plan.check import check_experiment
from clhd.sweep.plan.stage import Stage
from clhd.sweep.spec.config import Config, format_config_schema, format_schema, read_config
from clhd.sweep.spec.experiment import Experiment, parse_experiment, read_experiment
from clhd.sweep.spec.grid import Axis, Grid, parse_axis, parse_place
from clhd.systems.contrastive.sweeps.parameters import PARAMETERS
from clhd.systems.declarations import Parameter
from clhd.systems.registry import list_systems
from tests.sweep.conftest import MakeExperiment

ROOT = Path(__file__).parents[2]
GOOD = """
system: toy
axes:
  slope: [0, 1]
times: [0, 1]
replicas: 2
"""


def write(path: Path, text: str) -> Path:
    path.write_text(text, encoding="utf-8")
    return path


def read_all(path: Path) -> None:
    check_experiment(read_experiment(path), str(path))


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("slope: [0, 1]", "slope: [0, 1", "line 5, column 6: expected ',' or ']', but got ':'"),
        ("replicas: 2", "replicas: 2\n---\na: 1", "expected a single document in the stream, but found another"),
        ("slope: [0, 1]", "slope: [0, 1]\n  slope: [2]", "line 5, column 3: the key 'slope' is given twice"),
        ("replicas: 2", "replicas: 2\nreplica: 3", "unknown key 'replica'; did you mean 'replicas'?"),
        ("replicas: 2", "", "replicas: must be given"),
        ("replicas: 2", "replicsa: 2", "unknown key 'replicsa'; did you mean 'replicas'?"),
        (
            "system: toy",
            "system: toy\nconstants: {simulation: none}",
            "replicas = 2: must be left out, for there is no simulation",
        ),
        ("replicas: 2", "replicas: many", "replicas = 'many': must be a number"),
        ("replicas: 2", "replicas: 0", "replicas = 0: must be a whole number, 1 or more"),
        ("replicas: 2", "replicas: 2\nkeep: all", "keep = 'all': must be one of replicas, moments"),
        (
            "replicas: 2",
            "replicas: 300\nkeep: moments",
            "keep = 'moments': needs a multiple of 256 replicas, not replicas = 300",
        ),
        ("replicas: 2", "replicas: 2\nseed: 0.5", "seed = 0.5: must be a whole number, 0 or more"),
        (
            "system: toy",
            "system: toys",
            f"system = 'toys': must be one of {', '.join(sorted({*list_systems(), 'toy'}))}, or FILE.py:CLASS",
        ),
        ("slope: [0, 1]", "slope: []", "axes.slope = []: must hold at least one value"),
        ("slope: [0, 1]", "slope: {start: 0, stop: 1, count: 1}", "slope.count = 1: a range from 0 to 1 has both ends"),
        ("slope: [0, 1]", "slope: 3", "axes.slope = 3: must be a list, or a range"),
        ("slope: [0, 1]", "slope: [0, 1, 1.0]", "axes.slope: slope=1 is listed twice"),
        (
            "slope: [0, 1]",
            "slope: [0.3, 0.30000000000000004]",
            "axes.slope: 0.3 and 0.30000000000000004 are equal to 12 digits; keep one of them",
        ),
        ("slope: [0, 1]", "slope: [0, steep]", "axes.slope = 'steep': must be a number"),
        ("slope: [0, 1]", "slope: [0, .nan]", "axes.slope = nan: must be a finite number"),
        ("slope: [0, 1]", "slpe: [0, 1]", "axes.slpe: is no parameter of this system; the nearest are slope"),
        ("slope: [0, 1]", "colour: [red, green]", "axes.colour = 'green': must be one of blue, red"),
        ("slope: [0, 1]", "features: [1, 2]", "axes.features: cannot be an axis"),
        ("slope: [0, 1]", "weight_2: [1, 2]", "axes.weight_2: there is no feature 2, because features = 1"),
        ("slope: [0, 1]", "slope: {start: 0, stop: 1}", "axes.slope: a range lacks count"),
        (
            "slope: [0, 1]",
            "size: {start: 2, stop: 6, count: 9, spacing: log}",
            "axes.size: the 9 values of the range are only 5 after rounding; lower count, or list the values",
        ),
        ("slope: [0, 1]", "slope: {start: 0, stop: 1, count: 2, step: 1}", "axes.slope: a range has no key step"),
        ("slope: [0, 1]", "slope: {start: 0, stop: 1, count: 2, spacing: log}", "must start and stop above 0"),
        ("slope: [0, 1]", "p: {together: {slope: [1, 2], weight: [1]}}", "of one length, not 2 of slope, 1 of weight"),
        (
            "slope: [0, 1]",
            "p: {together: {slope: [1, 1], weight: [2, 2]}}",
            "axes.p: slope=1, weight=2 is listed twice",
        ),
        (
            "slope: [0, 1]",
            "slope: [10, 20]\n  weight: [1, 3, 4]",
            "2 of 6 points are impossible, the first at slope=20, weight=3: slope = 20.0: times weight",
        ),
        (
            "slope: [0, 1]",
            "slope: [10]\n  weight: [1, 3, 6]",
            "1 of 3 points is impossible, the first at slope=10, weight=6: slope = 10.0: times weight",
        ),
        ("slope: [0, 1]", "slope: [60]", "axes: every point is impossible, the first at slope=60: slope = 60.0: times"),
        (
            "slope: [0, 1]",
            "size: [1, 2]\n  slope: [10, 20]\n  weight: [1, 3, 4]",  # a theory without the first axis
            "4 of 12 points are impossible, the first at size=1, slope=20, weight=3: slope = 20.0: times weight",
        ),
        ("slope: [0, 1]", "slope: [0]\nconstants: {slope: 1}", "axes.slope: is set twice, as an axis and elsewhere"),
        ("times: [0, 1]", "times: [1, 0]", "times = [1, 0]: must be one or more times, 0 or later"),
        ("times: [0, 1]", "times: [-1]", "a time = -1: must be a finite number, 0 or more"),
        ("times: [0, 1]", "times: soon", "times = 'soon': must be a list, or a range"),
        ("times: [0, 1]", "times: [0]\nconstants: {weight: -1}", "constants.weight = -1: must be a finite number"),
        ("times: [0, 1]", "times: [0]\nconstants: 3", "constants = 3: must be a table of name: value"),
        (
            "times: [0, 1]",
            "times: [0]\nrefine: {quantity: height_theory, level: 0, along: slope, rounds: 1}",
            "refine.along = 'slope': must be a list",
        ),
        ("times: [0, 1]", "times: [0]\nname: My run", "name = 'My run': must be lower-case letters"),
    ],
)
def test_a_mistake_gets_one_line_with_file_key_value_and_what_is_allowed(
    tmp_path: Path, old: str, new: str, message: str
) -> None:
    assert old in GOOD
    path = write(tmp_path / "bad.yaml", GOOD.replace(old, new))
    with pytest.raises(ClhdError) as error:
        read_all(path)
    assert message in str(error.value)
    assert all(line.startswith(str(path)) for line in str(error.value).splitlines())
    assert len(str(error.value).splitlines()) == 1


def test_all_mistakes_of_a_file_are_reported_at_once(tmp_path: Path) -> None:
    text = "system: toy\naxes: {slope: [], colour: [green]}\nconstants: {weight: -1}\nreplicas: 0\ntimes: [3, 2]\nx: 1"
    with pytest.raises(ClhdError) as error:
        read_all(write(tmp_path / "bad.yaml", text))
    keys = [line.split(": ")[1].split(" = ")[0].split(";")[0] for line in str(error.value).splitlines()]
    assert keys == ["constants.weight", "axes.slope", "axes.colour", "times", "replicas", "unknown key 'x'"]


def test_a_system_that_is_wrong_asks_for_no_times(tmp_path: Path) -> None:
    with pytest.raises(ClhdError, match=r"system = 'toys'") as error:
        read_all(write(tmp_path / "bad.yaml", "system: toys\nreplicas: 2\n"))
    assert "times" not in str(error.value)


def test_files_that_are_no_table_are_refused(tmp_path: Path) -> None:
    for text, message in (("- 1\n- 2\n", "must hold a table"), ("", "must hold a table"), ("a: \x01", "is no YAML")):
        with pytest.raises(ClhdError, match=message):
            read_all(write(tmp_path / "bad.yaml", text))
    with pytest.raises(ClhdError, match=r"missing\.yaml: cannot be read: No such file"):
        read_experiment(tmp_path / "missing.yaml")


def test_a_list_in_place_of_an_experiment_gets_one_line_and_so_does_the_reverse(tmp_path: Path) -> None:
    path = write(tmp_path / "some.yaml", "experiments: [toy.yaml]")
    with pytest.raises(ClhdError) as error:
        read_experiment(path)
    assert str(error.value) == f"{path}: is a list of experiments; name the file of one of them"
    write(path, GOOD)
    with pytest.raises(ClhdError) as error:
        read_config(path)
    assert str(error.value) == f"{path}: is an experiment; name a list of experiments"


def test_numbers_in_any_notation_are_numbers(tmp_path: Path) -> None:
    text = GOOD.replace("[0, 1]", "[1e-3, 1E3, 2, +.5, 1.5e+2]", 1)
    axis = read_experiment(write(tmp_path / "a.yaml", text)).axes[0]
    assert axis.values == ((0.001,), (0.5,), (2.0,), (150.0,), (1000.0,))
    assert read_experiment(write(tmp_path / "a.yaml", GOOD + "seed: 1e3")).seed == 1000


def test_axes_ascend_and_ranges_hold_round_numbers(toy: MakeExperiment) -> None:
    axes = {
        "slope": {"start": 1, "stop": 0, "count": 11},
        "size": {"start": 1, "stop": 1000, "count": 4, "spacing": "log"},
    }
    slope, size = toy(axes=axes).axes
    assert slope.values[3] == (0.3,)
    assert size.values == ((1,), (10,), (100,), (1000,))


@pytest.mark.parametrize(
    ("entry", "values"),
    [
        ([3, "tall", 1.5, "low"], [(1.5,), (3,), ("low",), ("tall",)]),
        ({"together": {"a": [1, "x", 1, 0], "b": ["y", 0, 2, "z"]}}, [(0, "z"), (1, 2), (1, "y"), ("x", 0)]),
    ],
    ids=["alone", "together"],
)
def test_numbers_stand_before_words(entry: Any, values: list[tuple[Any, ...]]) -> None:
    axis = parse_axis("height", entry, lambda name: Parameter(kind="any", default=None, meaning=""))
    assert list(axis.values) == values


def test_parameters_that_vary_together_are_one_axis(toy: MakeExperiment) -> None:
    (axis,) = toy(axes={"pair": {"together": {"slope": [2, 1], "colour": ["red", "blue"]}}}).axes
    assert axis == Axis("pair", ("slope", "colour"), ((1.0, "blue"), (2.0, "red")))


def test_a_resolved_experiment_reads_back_as_itself(toy: MakeExperiment) -> None:
    experiment = toy(
        axes={"pair": {"together": {"slope": [2, 0.1], "colour": ["red", "blue"]}}, "size": [1, 2]},
        constants={"weight": 0.1},
    )
    table: dict[str, Any] = json.loads(json.dumps(experiment.resolved()))
    assert parse_experiment(table) == experiment
    assert parse_experiment(table, check=False).axes == experiment.axes


@pytest.mark.parametrize(
    ("name", "text"), [("experiment.schema.json", format_schema), ("config.schema.json", format_config_schema)]
)
def test_the_committed_schemas_are_those_of_the_code(monkeypatch: pytest.MonkeyPatch, name: str, text: Any) -> None:
    monkeypatch.undo()  # without the toy
    option = " --config" if name.startswith("config") else ""
    assert (ROOT / "config" / name).read_text() == text(), f"repair it: python -m clhd schema{option} > config/{name}"


@pytest.mark.parametrize("name", ["config.yaml", "paper.yaml"])
def test_the_experiments_of_the_project_are_right(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    content = read_config(Path("config") / name)
    folder = ROOT / "config" / {"config.yaml": "experiments", "paper.yaml": "paper"}[name]
    assert set(content.experiments) == {path.stem for path in folder.glob("*.yaml")}
    for experiment in content.experiments.values():
        check_experiment(experiment)


def test_a_config_reports_the_mistakes_of_all_its_files(tmp_path: Path) -> None:
    write(tmp_path / "a.yaml", GOOD.replace("replicas: 2", "replicas: 0"))
    write(tmp_path / "b.yaml", GOOD.replace("system: toy", "system: ty"))
    config = write(tmp_path / "config.yaml", f"experiments: [{tmp_path}/a.yaml, {tmp_path}/b.yaml]")
    with pytest.raises(ClhdError) as error:
        read_config(config)
    assert "a.yaml: replicas = 0" in str(error.value)
    assert "b.yaml: system = 'ty'" in str(error.value)
    with pytest.raises(ClhdError, match="must have different names, but a is listed twice"):
        read_config(write(config, "experiments: [x/a.yaml, y/a.yaml]"))
    with pytest.raises(ClhdError, match="unknown key 'figures'"):
        read_config(write(config, "experiments: [a.yaml]\nfigures: 3"))


def test_the_readme_of_the_configuration_explains_every_key() -> None:
    text = (ROOT / "config" / "README.md").read_text()
    keys = [
        *(field.alias or name for name, field in Experiment.model_fields.items()),
        *Config.model_fields,
        *PARAMETERS,
    ]
    assert [key for key in keys if f"| `{key}`" not in text] == []
    example = text.split("## An experiment\n\n")[1].split("\n\n|")[0]
    check_experiment(parse_experiment(yaml.safe_load(textwrap.dedent(example))))


def test_of_values_with_one_label_the_exact_one_is_found() -> None:
    twins = Axis("slope", ("slope",), ((0.3,), (0.30000000000000004,), (1.0,)))
    grid = Grid((twins,), {})  # a store of an earlier version may hold them
    assert parse_place(grid, {"slope": "0.30000000000000004"}) == (1,)
    assert parse_place(grid, {"slope": "0.3"}) == (0,)
    assert parse_place(grid, {"slope": "1"}) == (2,)
    neither = Axis("slope", ("slope",), ((0.29999999999999993,), (0.30000000000000004,)))
    with pytest.raises(ClhdError, match=r"slope=0\.3: stands for several points"):
        parse_place(Grid((neither,), {}), {"slope": "0.3"})


def test_an_axis_does_not_grow_by_a_value_with_the_label_of_another() -> None:
    held, new = (Axis("slope", ("slope",), ((value,), (1.0,))) for value in (0.3, 0.30000000000000004))
    assert held.merged(held) == held
    with pytest.raises(ClhdError, match=r"slope: 0\.3 and 0\.30000000000000004 are equal to 12 digits"):
        held.merged(new)


LIST = (
    "system: contrastive\nconstants: {features: 2, initial_cosine_similarity: [0.3, 0.2]}\ntimes: [0, 1]\nreplicas: 1\n"
)


def test_a_list_gives_each_component_its_value(tmp_path: Path) -> None:
    path = write(tmp_path / "list.yaml", LIST)
    read = read_experiment(path)
    assert read.constants == {"features": 2, "initial_cosine_similarity_1": 0.3, "initial_cosine_similarity_2": 0.2}
    declaration = Stage(read, "theory").declaration
    loose = read_experiment(path, check=False).typed_like(read, declaration)  # as readers compare it
    assert loose.resolved() == read.resolved()


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (
            "[0.3]",
            "constants.initial_cosine_similarity = [0.3]: must hold one value for each component, but features = 2",
        ),
        ("[0.3, 2]", "constants.initial_cosine_similarity_2 = 2: must be a number from -1 to 1"),
        (
            "[0.3, 0.2], initial_cosine_similarity_2: 0.1",
            "initial_cosine_similarity_2: is set twice, by initial_cosine",
        ),
    ],
)
def test_a_wrong_list_of_values_is_refused(tmp_path: Path, values: str, message: str) -> None:
    # The axes are right: nothing else is said of a second feature.
    path = write(tmp_path / "list.yaml", LIST.replace("[0.3, 0.2]", values) + "axes: {kurtosis_2: [1, 2]}\n")
    with pytest.raises(ClhdError) as caught:
        read_experiment(path)
    assert message in str(caught.value)
    assert "kurtosis" not in str(caught.value)

"""`find_list`: the experiments that `clhd status`, `report` and `claims` are about, with or without a list of them.

| the user names | what is listed |
|---|---|
| a list of experiments | its experiments |
| the file of an experiment | this experiment |
| nothing | the experiments of config/config.yaml, then all others of which the folder of results holds something |
"""

from collections.abc import Collection
from difflib import get_close_matches
from pathlib import Path

from clhd.errors import ClhdError, InputError, check_link
from clhd.sweep.results.products import read_stored_experiment
from clhd.sweep.spec.config import ConfigContent, parse_config
from clhd.sweep.spec.experiment import STAGES, Experiment, parse_experiment, stage_path
from clhd.sweep.spec.yaml_file import read_yaml

DEFAULT = Path("config/config.yaml")


def find_list(path: Path | None, results: Path | None) -> ConfigContent:
    """Return the experiments to show; raise ClhdError if a file is wrong, or there is neither a list nor a result.

    The path is that of a list or of an experiment, if the user names one. By default, results are in the list's folder.
    """
    if path is not None or DEFAULT.is_file():
        file = path or DEFAULT
        content = _read_file(file)
        content = ConfigContent(results or content.results, content.experiments, content.files, content.claims)
        if path is not None:
            return content
    else:
        content = ConfigContent(results or Path("results"), {}, {}, None)
    check_link(content.results)
    found = _find_experiments(content.results, content.experiments)
    experiments = content.experiments | found
    if not experiments:
        raise InputError(
            f"there is no {DEFAULT} here, and {content.results} holds no results: run an experiment with "
            "`clhd run FILE`, or begin a study with `clhd init NAME`"
        )
    files = content.files | {name: _guess_file(name) for name in found}
    for name, experiment in found.items():
        if files[name].is_file():  # the file of a system stands beside it, and may have changed
            experiment._folder = files[name].parent
    return ConfigContent(content.results, experiments, files, content.claims)


def find_experiment(text: str, results: Path | None) -> tuple[str, Path, Path]:
    """Return name, file and folder of all results of the experiment whose name, or path of its file, a user gives.

    Raises ClhdError if there is no such experiment, or its file is wrong. By default, results are in the list's folder.
    """
    path = Path(text)
    content = find_list(path if path.suffix in {".yaml", ".yml"} else None, results)
    name = next(iter(content.experiments)) if path.suffix in {".yaml", ".yml"} else text
    if name not in content.experiments:
        near = get_close_matches(name, content.experiments, 1)
        hint = f"did you mean {near[0]}?" if near else f"there are {', '.join(content.experiments)}"
        raise InputError(f"{text}: is no experiment here; {hint}")
    check_link(content.results)
    return name, content.files[name], content.results


def _read_file(path: Path) -> ConfigContent:
    """The content of a list, or of the file of one experiment."""
    table = read_yaml(path)
    if "experiments" in table or not table.keys() & Experiment.model_fields.keys():
        return parse_config(table, str(path), check=False)
    experiment = parse_experiment({"name": path.stem, **table}, str(path), check=False, folder=path.parent)
    return ConfigContent(Path("results"), {experiment.name: experiment}, {experiment.name: path}, None)


def _find_experiments(results: Path, known: Collection[str]) -> dict[str, Experiment]:
    """The other experiments of which a folder holds results, by name, as their summary or a store describes them."""
    if not results.is_dir():
        return {}
    found = {}
    for folder in sorted(results.iterdir()):
        if folder.name in known:
            continue
        for stage in reversed(STAGES):
            store = stage_path(folder, stage)
            if not store.is_dir():
                continue
            try:
                found[folder.name] = read_stored_experiment(store).model_copy(update={"name": folder.name})
                break
            except ClhdError:  # damaged: another stage may tell what it was
                continue
    return found


def _guess_file(name: str) -> Path:
    """The file of an experiment that is in no list; it need not exist."""
    files = (Path(f"{name}.yaml"), DEFAULT.parent / "experiments" / f"{name}.yaml")
    return next((file for file in files if file.is_file()), files[0])

"""Nothing in results/ is ever run, and of config/ only the file of a system: no pickle, no eval, no markup."""

import ast
import base64
import json
import pickle
import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numcodecs.pickles
import numpy as np
import pytest
import yaml
import zarr

from clhd.cli import main
from clhd.errors import ClhdError
from clhd.figures.caption import compose_caption
from clhd.sweep.results.open_results import open_results
from clhd.sweep.results.summary_reader import read_summary
from clhd.sweep.spec import yaml_file
from clhd.sweep.store.metadata import write_checksum
from clhd.sweep.store.store import Store
from tests.security.fuzz import ROOT

# The other rules hold no Python but names.
SOURCES = sorted([*(ROOT / "clhd").rglob("*.py"), ROOT / "workflow" / "rules" / "common.smk"])
_MODULES = {"pickle", "cPickle", "cloudpickle", "dill", "marshal", "shelve", "joblib", "jsonpickle", "ctypes"}
_BUILTINS = {"eval", "exec", "compile", "__import__"}
_CALLS = {
    "os.system",
    "os.popen",
    "yaml.unsafe_load",
    "yaml.full_load",
    "yaml.load_all",
    "np.fromfile",
    "runpy.run_path",
}
# What makes code of names that stand in tables of this package.
_IMPORTERS = {"clhd/__init__.py", "clhd/core/lazy.py", "clhd/systems/registry.py", "clhd/figures/plot.py"}
# A child asks the kernel by ctypes to end with its parent; what it calls does not come from any file.
_KNOWN = {"clhd/sweep/run/children.py": ["ctypes"]}
# What makes code of a file or a text, and the one place that does: for the system of an experiment.
_LOADERS = {
    "exec_module", "load_module", "spec_from_file_location", "spec_from_loader", "module_from_spec", "source_to_code",
    "SourceFileLoader", "SourcelessFileLoader", "run_path", "run_module", "get_code",
}  # fmt: skip
_RUNS_FILES = "clhd/systems/registry.py"


def name_of(node: ast.AST) -> str:
    """``a.b`` of a name or an attribute."""
    if isinstance(node, ast.Attribute):
        return f"{name_of(node.value)}.{node.attr}"
    return node.id if isinstance(node, ast.Name) else ""


def find_danger(tree: ast.AST) -> Iterator[str]:
    """What could run what it reads."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import | ast.ImportFrom):
            modules = [alias.name for alias in node.names] if isinstance(node, ast.Import) else [str(node.module)]
            yield from (module for module in modules if module.split(".")[0] in _MODULES)
        if not isinstance(node, ast.Call):
            continue
        name = name_of(node.func)
        options = {keyword.arg: ast.unparse(keyword.value) for keyword in node.keywords}
        if name in _BUILTINS | _CALLS or options.get("allow_pickle") == "True" or options.get("shell") == "True":
            yield ast.unparse(node)
        if name == "yaml.load" and options.get("Loader") not in {"_Loader", "fast_loader"}:
            yield ast.unparse(node)
        if name in {"import_module", "importlib.import_module"}:
            yield "import_module"
        if name.rpartition(".")[2] in _LOADERS or re.search(r"\]\.exec_module$", ast.unparse(node.func)):
            yield "a loader"


def read_source(path: Path) -> ast.AST:
    """A module; of a file of rules, whose keywords Python does not know, the lines that it does."""
    text = path.read_text(encoding="utf-8")
    if path.suffix == ".py":
        return ast.parse(text)
    start, end = text.find("import"), text.find("wildcard_constraints:")
    return ast.parse(text[start:end])


def test_the_fast_loader_of_yaml_makes_what_the_safe_one_makes() -> None:
    safe, fast = yaml_file._Loader, yaml_file._make_fast_loader()
    assert issubclass(fast, yaml.constructor.SafeConstructor)
    assert not issubclass(fast, yaml.constructor.FullConstructor)
    assert fast.yaml_constructors is safe.yaml_constructors
    assert not fast.yaml_multi_constructors
    assert fast.yaml_implicit_resolvers is safe.yaml_implicit_resolvers


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_no_module_could_run_what_it_reads(path: Path) -> None:
    found = [danger for danger in find_danger(read_source(path)) if danger not in {"import_module", "a loader"}]
    assert found == _KNOWN.get(str(path.relative_to(ROOT)), [])


def test_modules_are_imported_by_name_from_tables_of_the_package_alone() -> None:
    found = {str(path.relative_to(ROOT)) for path in SOURCES if "import_module" in find_danger(read_source(path))}
    assert found <= _IMPORTERS | {name for name in found if name.startswith("clhd/figures/")}


def test_one_module_alone_runs_the_file_of_a_system() -> None:
    found = {str(path.relative_to(ROOT)) for path in SOURCES if "a loader" in find_danger(read_source(path))}
    assert found == {_RUNS_FILES}


def test_the_file_of_a_system_is_found_beside_an_experiment_and_not_by_what_results_say(
    work: Callable[[], Path], capsys: pytest.CaptureFixture[str]
) -> None:
    """Results that name a file, with the file where they name it: nothing that reads them runs it."""
    folder = work()
    trap = f"from pathlib import Path\nPath({str(folder / 'hacked')!r}).touch()\n"
    for place in (folder, folder / "results", folder / "results" / "toy"):
        (place / "trap.py").write_text(trap)
    for part in ("simulation", "theory", "summary"):
        file = folder / "results" / "toy" / f"{part}.zarr" / "zarr.json"
        document = json.loads(file.read_bytes())
        attributes = document["attributes"]
        experiment, declaration = (json.loads(attributes[name]) for name in ("experiment", "declaration"))
        attributes["experiment"] = json.dumps(experiment | {"system": "trap.py:Trap", "figure": "trap"})
        attributes["declaration"] = json.dumps(declaration | {"source": "0" * 32})
        file.write_text(json.dumps(document))
        write_checksum(file.parent, document["consolidated_metadata"]["metadata"], whole=())
    open_results(folder / "results" / "toy")
    read_summary(folder / "results" / "toy" / "summary.zarr")
    for command in (
        ["run", "toy.yaml"],
        ["summarise", "toy.yaml"],
        ["plot", "toy.yaml"],
        ["claims", "judged.yaml"],
        ["why", "toy.yaml", "slope=1", "pair=weight=1", "size=4"],
        ["verify", "toy.yaml"],
        ["status", "config.yaml"],
        ["report", "config.yaml"],
    ):
        main(command)
    assert "Traceback" not in capsys.readouterr().err
    assert not (folder / "hacked").exists()


@pytest.mark.parametrize(
    "code",
    [
        "spec.loader.exec_module(module)",
        "specs[0].exec_module(module)",
        "importlib.util.spec_from_file_location(name, path)",
        "import pickle",
        "from joblib import load",
        "eval(text)",
        "yaml.load(text, Loader=yaml.Loader)",
        "yaml.unsafe_load(text)",
        "np.load(path, allow_pickle=True)",
        "subprocess.run(text, shell=True)",
    ],
)
def test_the_search_finds_what_it_looks_for(code: str) -> None:
    assert list(find_danger(ast.parse(code)))


class Payload:
    """What runs a command when it is unpickled."""

    def __init__(self, command: str) -> None:
        self.command = command

    def __reduce__(self) -> Any:
        return __import__("os").system, (self.command,)


@pytest.fixture
def unsafe_numcodecs(monkeypatch: pytest.MonkeyPatch) -> None:
    """Numcodecs as it was: by now it refuses pickles by itself, which is not what protects clhd."""
    monkeypatch.setattr(numcodecs.pickles, "ALLOW_UNSAFE_PICKLE_DECODE", True, raising=False)


def write_array_that_unpickles(path: Path, command: str) -> None:
    """An array of Zarr format 2 of text, as Zarr reads it, compressed by a pickle."""
    path.mkdir(parents=True)
    metadata = {
        "zarr_format": 2,
        "shape": [1],
        "chunks": [1],
        "dtype": "|O",
        "compressor": {"id": "pickle", "protocol": 5},
        "fill_value": "",
        "order": "C",
        "filters": [{"id": "vlen-utf8"}],
    }
    (path / ".zarray").write_text(json.dumps(metadata))
    (path / ".zattrs").write_text(json.dumps({"_ARRAY_DIMENSIONS": ["x"]}))
    (path / "0").write_bytes(pickle.dumps(Payload(command)))


@pytest.mark.usefixtures("unsafe_numcodecs")
def test_the_attack_works_on_who_opens_whatever_there_is(tmp_path: Path) -> None:
    write_array_that_unpickles(tmp_path / "trap.zarr" / "status", f"touch {tmp_path / 'hacked'}")
    (tmp_path / "trap.zarr" / ".zgroup").write_text('{"zarr_format": 2}')
    group: Any = zarr.open_group(str(tmp_path / "trap.zarr"), mode="r")
    with pytest.raises(Exception):  # noqa: B017, PT011  # after it has run
        np.asarray(group["status"][...])
    assert (tmp_path / "hacked").exists()


@pytest.mark.usefixtures("unsafe_numcodecs")
@pytest.mark.parametrize("part", ["simulation", "theory", "summary"])
@pytest.mark.parametrize("keeps", [False, True], ids=["alone", "beside ours"])
def test_a_store_that_unpickles_is_refused_by_everything_that_reads(
    work: Callable[[], Path],
    capsys: pytest.CaptureFixture[str],
    part: str,
    *,
    keeps: bool,
) -> None:
    folder = work()
    path = folder / "results" / "toy" / f"{part}.zarr"
    attributes = json.loads((path / "zarr.json").read_bytes())["attributes"]
    names = [child.name for child in path.iterdir() if child.is_dir()]
    for name in names:
        (path / name / "zarr.json").unlink()
        shutil.rmtree(path / name)
        write_array_that_unpickles(path / name, f"touch {folder / 'hacked'}")
    (path / ".zgroup").write_text('{"zarr_format": 2}')
    (path / ".zattrs").write_text(json.dumps(attributes))
    if not keeps:
        (path / "zarr.json").unlink()

    with pytest.raises(ClhdError):
        open_results(folder / "results" / "toy")
    with pytest.raises(ClhdError):
        read_summary(path) if part == "summary" else Store(path)
    for command in (["run", "toy.yaml"], ["summarise", "toy.yaml"], ["plot", "toy.yaml"], ["replay", "toy.yaml"]):
        main([*command, *(["slope=1", "weight=1"] if command[0] == "replay" else [])])
    assert main(["status", "config.yaml"]) == 0
    assert main(["report", "config.yaml"]) == 0
    assert "Traceback" not in capsys.readouterr().err
    assert not (folder / "hacked").exists()


@pytest.mark.parametrize(
    "codec",
    [
        {"name": "numcodecs.pickle", "configuration": {"protocol": 5}},
        {"name": "pickle"},
        {"name": "os.system"},
        {"name": "numcodecs.zlib", "configuration": {}},
    ],
    ids=lambda codec: codec["name"],
)
def test_codecs_that_are_not_ours_are_refused_under_a_right_checksum(
    work: Callable[[], Path], codec: dict[str, Any]
) -> None:
    path = work() / "results" / "toy" / "simulation.zarr"
    file = path / "status" / "zarr.json"
    document = json.loads(file.read_bytes())
    document["codecs"].insert(0, codec)
    file.write_text(json.dumps(document))
    write_checksum(path, [file.parent.name for file in path.glob("*/zarr.json")], whole=())  # as a forger would
    with pytest.raises(ClhdError, match=r"zarr\.json: status: codecs = "):
        Store(path)


SCRIPT = "<script>alert(1)</script><img src=x onerror=alert(2)>\"'&lt;"


def test_text_of_stores_and_files_is_no_markup_of_the_report(
    work: Callable[[], Path],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    folder = work()
    text = (folder / "toy.yaml").read_text()
    (folder / "toy.yaml").write_text(f"{text}description: {json.dumps(SCRIPT)}\n# {SCRIPT}\n")
    for part in ("simulation", "theory", "summary"):
        file = folder / "results" / "toy" / f"{part}.zarr" / "zarr.json"
        document = json.loads(file.read_bytes())
        document["attributes"]["title"] = document["attributes"]["description"] = SCRIPT
        runs = json.loads(document["attributes"].get("runs", "[]"))
        for run in runs:
            run |= {"code": SCRIPT, "machine": SCRIPT, "started": SCRIPT, "dependencies": {SCRIPT: SCRIPT}}
        document["attributes"]["runs"] = json.dumps(runs)
        file.write_text(json.dumps(document))
        write_checksum(file.parent, document["consolidated_metadata"]["metadata"], whole=())
    (folder / "results" / "toy" / "figures" / "toy.rst").write_text(
        f"**{SCRIPT}** ``{SCRIPT}``\n\n.. raw:: html\n\n {SCRIPT}"
    )
    assert main(["report", "config.yaml"]) == 0
    page = (folder / "results" / "report.html").read_text(encoding="utf-8")
    assert "&lt;script&gt;alert(1)" in page
    assert "<script" not in page
    assert "<img src=x" not in page
    assert "default-src 'none'" in page
    assert base64.b64encode(b"\x89PNG").decode()[:5] in page  # the only thing that the page shows is within it


def test_a_caption_is_no_directive(work: Callable[[], Path]) -> None:
    summary = read_summary(work() / "results" / "toy" / "summary.zarr")
    summary.dataset.attrs["experiment"]["description"] = "ok\n\n.. raw:: html\n\n   <script>alert(1)</script>\n"
    caption = compose_caption(summary, "what")
    assert not any(line.lstrip().startswith("..") for line in caption.splitlines())

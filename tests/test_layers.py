"""The layers of clhd: a part imports only from parts below it."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import clhd

PACKAGE = Path(clhd.__file__).parent

SYSTEMS = sorted(path.parent.name for path in PACKAGE.glob("systems/*/__init__.py"))


def list_layers(system: str) -> list[tuple[str, ...]]:
    """The layers within a system, from the bottom up."""
    parts = (("theory", "simulation"), ("sweeps",), ("claims",), ("figures",), ("report",))
    known = {"__init__", *(part for layer in parts for part in layer)}
    folder = PACKAGE.joinpath(*system.split("."))
    model = {path.stem for path in folder.iterdir() if path.suffix in ("", ".py")} - known  # such as model, or data
    return [*(tuple(f"{system}.{part}" for part in layer) for layer in (sorted(model), *parts)), (system,)]


# From the bottom up. A part is a module or a folder, with everything in it that is not a part of its own. Parts of one
# line do not know each other: theory and simulation are two independent ways to the same numbers.
LAYERS: tuple[tuple[str, ...], ...] = (
    ("errors",),
    ("core",),
    ("systems.declarations",),
    ("systems.check",),
    ("systems.plain",),
    ("systems.protocol",),
    ("systems.mistakes",),
    ("systems.registry", "systems.stored", "systems.skeleton"),
    ("sweep.spec",),
    ("sweep.plan",),
    ("sweep.store",),
    ("sweep.cluster",),
    ("sweep.run",),
    ("sweep.results",),
    ("sweep",),
    ("claims",),
    ("figures",),
    *(layer for name in SYSTEMS for layer in list_layers(f"systems.{name}")),
    ("report",),
    ("show", "publish"),
    ("study",),
    ("commands",),
    ("cli",),
    ("helper",),
    ("__main__",),
)
# Within the theory of the contrastive unit, also from the bottom up.
FOLDERS = ("averages", "units", "flow", "diffusion", "states", "weights")
LAYER_OF = {part: number for number, parts in enumerate(LAYERS) for part in parts}


def find_part(parts: tuple[str, ...]) -> str | None:
    """The part to which a module belongs: the longest name that begins its own; None if there is none."""
    names = [".".join(parts[:length]) for length in range(len(parts), 0, -1)]
    return next((name for name in names if name in LAYER_OF), None)


def find_violations(package: Path) -> list[str]:
    """One line per import that goes up or sideways, and per module that belongs to no part."""
    violations = []
    for path in sorted(package.rglob("*.py")):
        parts = path.relative_to(package).with_suffix("").parts
        if parts in {("__init__",), ("systems", "__init__")}:
            continue
        own, place = find_part(parts), path.relative_to(package.parent)
        if own is None:
            violations.append(f"{place}: belongs to no layer")
            continue
        for line, target in list_imports(path, (package.name, *parts), package.name):
            part = find_part(target)
            if part is None:
                violations.append(f"{place}:{line}: {own} imports {'.'.join(target) or package.name}, of no layer")
            elif part != own and LAYER_OF[part] >= LAYER_OF[own]:
                violations.append(f"{place}:{line}: {own} imports {part}, which is not in a layer below")
    return violations


def list_imports(path: Path, parts: tuple[str, ...], package: str) -> Iterator[tuple[int, tuple[str, ...]]]:
    """Yield (line, path of names) of each import of `package`, without the name of the package itself."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            targets = [alias.name.split(".") for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            # The package of a module is its path without the last part, also when that is __init__.
            base = list(parts[: len(parts) - node.level]) if node.level else []
            base += node.module.split(".") if node.module else []
            targets = [[*base, alias.name] for alias in node.names]
        else:
            continue
        for target in targets:
            if target[0] == package:
                yield node.lineno, tuple(target[1:])


def find_what_is_not_a_re_export(path: Path) -> list[str]:
    """One line per statement of an __init__ that is no docstring, import or ``__all__``, nor there to import late."""
    return [
        f"{path.name}:{node.lineno}: {ast.unparse(node).splitlines()[0]}"
        for node in ast.parse(path.read_text(encoding="utf-8")).body
        if not (
            isinstance(node, ast.Import | ast.ImportFrom)
            or (isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant))
            or (isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) in {"__all__", "__version__", "_HOMES"})
            or (isinstance(node, ast.FunctionDef) and node.name in {"__getattr__", "__dir__"})
            or (
                isinstance(node, ast.If)
                and ast.unparse(node.test) == "TYPE_CHECKING"
                and all(isinstance(line, ast.ImportFrom) for line in node.body)
            )
        )
    ]


def test_every_part_imports_only_from_parts_below_it() -> None:
    assert find_violations(PACKAGE) == []


def test_no_system_imports_another() -> None:
    folders = [path.name for path in (PACKAGE / "systems").iterdir() if (path / "__init__.py").is_file()]
    for name in folders:
        for path in (PACKAGE / "systems" / name).rglob("*.py"):
            parts = ("clhd", *path.relative_to(PACKAGE).with_suffix("").parts)
            found = {target[1] for _, target in list_imports(path, parts, "clhd") if target[:1] == ("systems",)}
            assert not found & (set(folders) - {name}), path


def test_a_folder_of_the_theory_imports_only_from_folders_below_it() -> None:
    theory = PACKAGE / "systems" / "contrastive" / "theory"
    seen = set()
    for path in theory.glob("*/*.py"):
        parts = path.relative_to(PACKAGE).with_suffix("").parts
        for line, target in list_imports(path, ("clhd", *parts), "clhd"):
            if target[:3] == parts[:3]:
                assert FOLDERS.index(target[3]) <= FOLDERS.index(parts[3]), f"{path}:{line}"
                seen.add(parts[3])
    assert seen == set(FOLDERS)
    assert [path.name for path in theory.glob("*.py")] == ["__init__.py"]


def test_the_top_of_the_package_only_re_exports() -> None:
    assert find_what_is_not_a_re_export(PACKAGE / "__init__.py") == []


def test_every_public_name_has_one_home_that_type_checkers_see_too() -> None:
    tree = ast.parse((PACKAGE / "__init__.py").read_text(encoding="utf-8"))
    (block,) = [node for node in tree.body if isinstance(node, ast.If)]
    seen = {
        alias.name: node.module for node in ast.walk(block) if isinstance(node, ast.ImportFrom) for alias in node.names
    }
    assert seen == clhd._HOMES
    assert sorted(seen) == clhd.__all__
    for name in clhd.__all__:
        assert getattr(clhd, name).__name__ == name
    with pytest.raises(AttributeError, match="has no attribute 'nothing'"):
        _ = clhd.nothing


def test_the_check_reads_every_module_there_is() -> None:
    assert len(list(PACKAGE.rglob("*.py"))) > 100
    assert {part.split(".")[0] for part in LAYER_OF} >= {
        path.stem
        for path in PACKAGE.iterdir()
        if path.is_dir() and not path.is_symlink() and path.name != "__pycache__"
    }


@pytest.mark.parametrize(
    ("module", "statement", "message"),
    [
        ("core/checks", "import clhd.sweep.spec", "core imports sweep.spec"),
        ("core/checks", "from clhd.sweep.plan.stage import Stage", "core imports sweep.plan"),
        ("core/checks", "from clhd.sweep import plan", "core imports sweep.plan"),
        ("core/checks", "from ..sweep.run import tasks", "core imports sweep.run"),
        ("core/checks", "def f():\n    from clhd.cli import main", "core imports cli"),
        ("sweep/plan/stage", "from clhd.sweep.store.store import Store", "sweep.plan imports sweep.store"),
        ("sweep/store/store", "from clhd.systems.contrastive import sweeps", "imports systems.contrastive.sweeps"),
        ("systems/contrastive/theory/ode", "from clhd.systems.contrastive.simulation.sgd import step", "simulation"),
        ("systems/contrastive/simulation/sgd", "import clhd.systems.contrastive.theory as t", "theory"),
        ("systems/registry", "from clhd.sweep.spec import grid", "systems.registry imports sweep.spec"),
        ("errors", "from clhd.core import checks", "errors imports core"),
        ("core/checks", "from clhd import ContrastiveModel", "core imports ContrastiveModel, of no layer"),
        ("core/checks", "import clhd", "core imports clhd, of no layer"),
        ("attic", "x = 1", "belongs to no layer"),
    ],
)
def test_an_upward_or_sideways_import_is_reported(tmp_path: Path, module: str, statement: str, message: str) -> None:
    path = tmp_path / "clhd" / f"{module}.py"
    path.parent.mkdir(parents=True)
    path.write_text(statement)
    (violation,) = find_violations(tmp_path / "clhd")
    assert message in violation


@pytest.mark.parametrize(
    ("module", "statement"),
    [
        ("systems/contrastive/theory/ode", "from clhd.systems.contrastive.model.latents import Latent"),
        ("systems/contrastive/theory/ode", "from clhd.systems.contrastive.theory.averages import average"),
        ("systems/contrastive/theory/ode", "from .averages import average"),
        ("cli", "from clhd import sweep, claims"),
        ("errors", "import clhdish.theory, numpy"),
    ],
)
def test_a_downward_import_and_one_within_the_part_are_allowed(tmp_path: Path, module: str, statement: str) -> None:
    path = tmp_path / "clhd" / f"{module}.py"
    path.parent.mkdir(parents=True)
    path.write_text(statement)
    assert find_violations(tmp_path / "clhd") == []


def test_code_at_the_top_of_the_package_is_reported(tmp_path: Path) -> None:
    path = tmp_path / "__init__.py"
    path.write_text('"""Doc."""\nfrom clhd.core import x\n__all__ = ["x"]\nx = 2\ndef f(): pass\n')
    assert find_what_is_not_a_re_export(path) == ["__init__.py:4: x = 2", "__init__.py:5: def f():"]

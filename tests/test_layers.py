"""The house of clhd: a room (package or module directly under clhd/) imports only from floors below it."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import clhd

PACKAGE = Path(clhd.__file__).parent

# From the ground up. Rooms on one floor do not know each other: theory and simulation are two independent stages to
# the same numbers.
FLOORS: tuple[tuple[str, ...], ...] = (
    ("errors",),
    ("model",),
    ("theory", "simulation"),
    ("systems",),
    ("sweep",),
    ("analysis",),
    ("figures",),
    ("report",),
    ("commands",),
    ("cli",),
    ("__main__",),
)
FLOOR_OF = {room: number for number, rooms in enumerate(FLOORS) for room in rooms}


def find_violations(package: Path) -> list[str]:
    """One line per import that goes up or sideways, and per module that stands on no floor."""
    violations = []
    for path in sorted(package.rglob("*.py")):
        parts = (package.name, *path.relative_to(package).with_suffix("").parts)
        if parts == (package.name, "__init__"):
            continue
        room, place = parts[1], path.relative_to(package.parent)
        if room not in FLOOR_OF:
            violations.append(f"{place}: the room {room} stands on no floor")
            continue
        for line, target in imported_rooms(path, parts, package.name):
            if target != room and FLOOR_OF.get(target, len(FLOORS)) >= FLOOR_OF[room]:
                violations.append(f"{place}:{line}: {room} imports {target}, which is not on a floor below it")
    return violations


def imported_rooms(path: Path, parts: tuple[str, ...], package: str) -> Iterator[tuple[int, str]]:
    """Yield (line, room) of each import of `package`; the room of the package itself is called by its name."""
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
                is_room = len(target) > 1 and target[1] in FLOOR_OF
                yield node.lineno, target[1] if is_room else package


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


def test_every_room_imports_only_from_floors_below_it() -> None:
    assert find_violations(PACKAGE) == []


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
    assert len(list(PACKAGE.rglob("*.py"))) > 10
    assert {path.name for path in PACKAGE.iterdir() if path.is_dir() and path.name != "__pycache__"} <= set(FLOOR_OF)


@pytest.mark.parametrize(
    ("module", "statement", "message"),
    [
        ("model/latents", "import clhd.theory", "model imports theory"),
        ("model/latents", "from clhd.systems.contrastive.theory.ode import integrate", "model imports theory"),
        ("model/latents", "from clhd import theory", "model imports theory"),
        ("model/latents", "from ..theory import ode", "model imports theory"),
        ("model/losses/__init__", "from ...simulation import sgd", "model imports simulation"),
        ("model/latents", "def f():\n    from clhd.cli import main", "model imports cli"),
        ("theory/ode", "from clhd.systems.contrastive.simulation.sgd import step", "theory imports simulation"),
        ("simulation/sgd", "import clhd.model, clhd.theory as t", "simulation imports theory"),
        ("systems/contrastive", "from clhd.sweep import grid", "systems imports sweep"),
        ("errors", "from clhd.model import latents", "errors imports model"),
        ("theory/ode", "from clhd import ContrastiveModel", "theory imports clhd"),
        ("theory/ode", "import clhd", "theory imports clhd"),
        ("attic", "x = 1", "attic stands on no floor"),
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
        ("theory/ode", "from clhd.systems.contrastive.model.latents import Latent"),
        ("theory/ode", "from clhd.systems.contrastive.theory.averages import average"),
        ("theory/ode", "from .averages import average"),
        ("cli", "from clhd import sweep, analysis"),
        ("errors", "import clhdish.theory, numpy"),
    ],
)
def test_a_downward_import_and_one_within_the_room_are_allowed(tmp_path: Path, module: str, statement: str) -> None:
    path = tmp_path / "clhd" / f"{module}.py"
    path.parent.mkdir(parents=True)
    path.write_text(statement)
    assert find_violations(tmp_path / "clhd") == []


def test_code_at_the_top_of_the_package_is_reported(tmp_path: Path) -> None:
    path = tmp_path / "__init__.py"
    path.write_text('"""Doc."""\nfrom clhd.model import x\n__all__ = ["x"]\nx = 2\ndef f(): pass\n')
    assert find_what_is_not_a_re_export(path) == ["__init__.py:4: x = 2", "__init__.py:5: def f():"]

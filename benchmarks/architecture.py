"""Measures the size of the code, and counts the files that a point crosses from YAML to figure.

`python -m benchmarks.architecture` prints them for docs/decisions/layers.md.
"""

import ast
import os
import sys
import tempfile
import threading
from pathlib import Path
from types import FrameType
from typing import Any

import clhd
from clhd.figures.plot import plot_experiment

PACKAGE = Path(clhd.__file__).parent
EXPERIMENT = """
system: contrastive
constants: {second_moment: 1.5, learning_rate: 0.3, weight_decay: 0.6, initial_overlap: 0.3}
axes: {kurtosis: [1, 3], dimension: [20, 40]}
times: [0, 1]
replicas: 4
"""


def find_crossed() -> list[Path]:
    """The files of the package of which a function is called while a tiny experiment becomes a figure."""
    crossed: set[str] = set()

    def note(frame: FrameType, event: str, argument: Any) -> None:
        if event == "call" and frame.f_code.co_name != "<module>":
            crossed.add(frame.f_code.co_filename)

    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        Path("small.yaml").write_text(EXPERIMENT)
        threading.setprofile(note)
        sys.setprofile(note)
        clhd.run_experiment("small.yaml")
        plot_experiment("results/small/summary.zarr", "results/small/figures")
        sys.setprofile(None)
        threading.setprofile(None)  # type: ignore[arg-type]
        os.chdir("/")
    return sorted(Path(name) for name in crossed if name.startswith(str(PACKAGE)))


def measure_functions() -> list[tuple[int, str]]:
    """Lines and name of every function, the longest first."""
    found = []
    for path in PACKAGE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.FunctionDef):
                length = (node.end_lineno or node.lineno) - node.lineno + 1
                found.append((length, f"{path.relative_to(PACKAGE.parent)}: {node.name}"))
    return sorted(found, reverse=True)


def count_lines(pattern: str) -> int:
    """Lines of all files of the package that match."""
    return sum(len(path.read_text(encoding="utf-8").splitlines()) for path in PACKAGE.rglob(pattern))


def main() -> None:
    crossed = find_crossed()
    of_sweep = [path for path in crossed if path.is_relative_to(PACKAGE / "sweep")]
    files = [path for path in (PACKAGE / "sweep").rglob("*.py") if path.name != "__init__.py"]
    print(f"lines of Python: {count_lines('*.py')}; of HTML and CSS: {count_lines('*.html') + count_lines('*.css')}")
    print(f"files that a point crosses from YAML to figure: {len(crossed)}")
    print(f"of them in clhd/sweep: {len(of_sweep)} of {len(files)}")
    print("longest functions:", *(f"{lines} lines, {name}" for lines, name in measure_functions()[:5]), sep="\n  ")


if __name__ == "__main__":
    main()

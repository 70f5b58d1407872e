"""Small experiments of every built-in system, whose bits must not change when the code is rebuilt.

`python -m tests.golden.results` runs them and writes golden.npz anew: only after a change that is meant to change bits,
which then raises a version number of the system.
"""

import json
import tempfile
from importlib.metadata import version
from pathlib import Path

import llvmlite.binding
import numpy as np
from numpy.typing import NDArray

import clhd

FOLDER = Path(__file__).parent
RECORD = FOLDER / "golden.npz"
NAMES = sorted(path.stem for path in (FOLDER / "experiments").glob("*.yaml"))
# What else a store holds differs from run to run: times, attempts.
_NOT_COMPARED = {"seconds", "attempts", "run", "error_type", "error_message"}


def compute(name: str, results: Path) -> dict[str, NDArray[np.float64]]:
    """Return every number of the simulation, theory and summary of one experiment, by the path of its array."""
    tree = clhd.run_experiment(FOLDER / "experiments" / f"{name}.yaml", results=results)
    return {
        f"{name}/{part}/{variable}": np.asarray(values.values)
        for part in tree.children
        for variable, values in tree[part].to_dataset().variables.items()
        if variable not in _NOT_COMPARED and values.dtype.kind in "iuf"
    }


def describe_machine() -> str:
    """Return what the bits may depend on: the processor's instructions and the versions that compile for them."""
    features = sorted(name for name, is_there in llvmlite.binding.get_host_cpu_features().items() if is_there)
    packages = {name: version(name) for name in ("numpy", "scipy", "numba", "llvmlite")}
    return json.dumps({"cpu": llvmlite.binding.get_host_cpu_name(), "features": features, "packages": packages})


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        arrays = {key: values for name in NAMES for key, values in compute(name, Path(folder)).items()}
    np.savez_compressed(RECORD, machine=np.array(describe_machine()), **arrays)


if __name__ == "__main__":
    main()

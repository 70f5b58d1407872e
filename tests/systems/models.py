"""Small systems that are written as plain functions, in files that tests write beside an experiment."""

from pathlib import Path

# height = slope * time + noise / sqrt(size), and its theory.
LINE = """
import numpy as np

import clhd


class Line(clhd.System):
    title = "a noisy line"
    size, limit = "size", "limit of large size"
    parameters = {
        "slope": clhd.Parameter(kind="number", default=1.0, meaning="slope", symbol="s"),
        "size": clhd.Parameter(kind="count", default=4, minimum=1, meaning="size", in_theory=False),
    }
    outputs = {
        "height": clhd.Output(dims=("time",), words=clhd.describe("height", "h", "m")),
        "height_fluctuation": clhd.Output(dims=("time",), words=clhd.describe("fluctuation"), in_simulation=False),
        "largest": clhd.Output(dims=(), words=clhd.describe("largest height"), in_theory=False),
    }

    def simulate(self, values, time, random):
        height = values.slope * time + random.normal(size=time.size) / np.sqrt(values.size)
        return {"height": height, "largest": height.max()}

    def predict(self, values, time):
        return {"height": values.slope * time, "height_fluctuation": np.ones(time.size)}
"""
EXPERIMENT = """
system: line.py:Line
axes: {slope: [0, 1, 2], size: [4, 16]}
times: [1, 2]
replicas: 4
"""


def write_line(folder: Path, *changes: tuple[str, str], experiment: str = EXPERIMENT) -> Path:
    """Write line.py, with changes, and line.yaml; return the path of the latter."""
    text = LINE
    for old, new in changes:
        assert text.count(old) == 1, old
        text = text.replace(old, new)
    folder.mkdir(exist_ok=True, parents=True)
    (folder / "line.py").write_text(text)
    (folder / "config.yaml").write_text("experiments: [line.yaml]\n")
    path = folder / "line.yaml"
    path.write_text(experiment)
    return path

import clhd
from benchmarks.race.sweeps.work import SECONDS, compute


class Sweep(clhd.System):
    title = "a function of two numbers"
    time = None
    parameters = {name: clhd.Parameter(kind="number", default=0.0, meaning=name) for name in ("x", "y")}
    outputs = {"value": clhd.Output(dims=(), words=clhd.describe("value"))}

    def estimate_seconds(self, values, time):
        return SECONDS

    def simulate(self, values, time, random):
        return {"value": compute(values.x, values.y)}

from concurrent.futures import ProcessPoolExecutor

from pipefunc import Pipeline, pipefunc

from benchmarks.race.sweeps import work
from benchmarks.race.sweeps.work import X, Y


@pipefunc("value", mapspec="x[i], y[j] -> value[i, j]")
def compute(x, y):
    return work.compute(x, y)


if __name__ == "__main__":
    with ProcessPoolExecutor(2) as executor:
        Pipeline([compute]).map({"x": X, "y": Y}, "run", executor=executor, chunksizes=100, resume=True)

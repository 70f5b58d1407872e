"""One linear unit finds the direction of a spike by Oja's rule; its cosine similarity follows an ODE."""

import numpy as np
from scipy.integrate import solve_ivp

import clhd


class Oja(clhd.System):
    """Samples x = sqrt(spike) c v + noise of n numbers; after each, w moves by eta/n * y * (x - y * w), y = w.x."""

    title = "Oja's rule on a spiked covariance"
    size, limit = "dimension", "limit of infinite dimension"
    equations = "dS/dt = eta S [spike (1 - S^2) - (eta/2) (1 + spike S^2)], with t = steps/n"
    parameters = {
        "spike": clhd.Parameter(kind="number", default=1.0, minimum=0, meaning="variance of the spike", symbol="s"),
        "learning_rate": clhd.Parameter(kind="number", default=0.5, above=0, meaning="learning rate", symbol="eta"),
        "start": clhd.Parameter(kind="number", default=0.3, minimum=0, maximum=1, meaning="start of S", symbol="S_0"),
        "dimension": clhd.Parameter(kind="count", default=None, minimum=2, meaning="dimension", in_theory=False),
    }
    outputs = {"cosine_similarity": clhd.Output(dims=("time",), words=clhd.describe("cosine similarity", "S"))}

    def estimate_seconds(self, values, time):
        return values.dimension * time[-1] * (5e-6 + 1e-8 * values.dimension)

    def simulate(self, values, time, random):
        n, direction, found, step = values.dimension, random.normal(size=values.dimension), [], 0
        direction[0] = 0.0  # v is the first axis: no direction differs from another
        w = np.sqrt(1 - values.start**2) * direction / np.linalg.norm(direction)
        w[0] = values.start
        for end in np.rint(time * n).astype(int):
            for _ in range(step, end):
                x = random.normal(size=n)
                x[0] += np.sqrt(values.spike) * random.normal()
                y = w @ x
                w += values.learning_rate / n * y * (x - y * w)
            found.append(w[0] / np.linalg.norm(w))
            step = end
        return {"cosine_similarity": found}

    def predict(self, values, time):
        eta, spike = values.learning_rate, values.spike

        def change(_, s):
            return eta * s * (spike * (1 - s**2) - eta / 2 * (1 + spike * s**2))

        solved = solve_ivp(change, (0, time[-1]), [values.start], t_eval=time, rtol=1e-9, atol=1e-12)
        return {"cosine_similarity": solved.y[0]}

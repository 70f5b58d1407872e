"""Integration of many trajectories of one model by a Runge-Kutta kernel that reads the pair averages from a table.

Trajectories run in chunks without the GIL (`runge_kutta.py`), each chunk on one thread. A trajectory that leaves the
table is run again with a larger table, or finally with the direct rule.

| symbol | name | shape | unit or scale |
|---|---|---|---|
| (q, r) | ``states`` | (start, feature + 1) | |
| (q, r, D) | outcome | (start, time, feature + 2) | NaN after a divergence |
| t | ``times`` | (time,) | steps per dimension |
"""

import math
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from clhd.core.arrays import FloatArray, IntArray
from clhd.core.kernels import find_pointer
from clhd.errors import InputError
from clhd.systems.contrastive.model.activations import ERF, TANH
from clhd.systems.contrastive.theory.averages.tables import PairTable, atom_shares, build_table, no_table
from clhd.systems.contrastive.theory.flow.drift import Flow, check_pair_averages, drift_terms
from clhd.systems.contrastive.theory.flow.drift_table import build_drift_table
from clhd.systems.contrastive.theory.flow.runge_kutta import (
    GIVEN_UP,
    LEFT_TABLE,
    MOST_LANDINGS,
    Equation,
    integrate_chunk,
)

# Inside a step the continuous output has up to 60 times the error of the step's end (measured for tanh and erf with
# slow modes, where steps are longest): with output times inside steps, the tolerance is smaller by this factor.
_OUTPUT_FACTOR = 0.01
# A table with its pilot trajectories costs as much as about 16 direct trajectories with 5 atoms, or 4 with very many;
# with fewer starts it does not pay. Above about 20 atoms the cost of the direct rule no longer grows with them.
_MIN_WORK_FOR_TABLE, _MAX_ATOMS_COUNTED = 80, 20
_TABLE_TOLERANCE = 1e-10
# A table of drift terms has some thousand nodes, each a right-hand side; a trajectory takes some hundred.
_MIN_FOR_DRIFT_TABLE = 60
_CHUNK = 64
# Steps of one trajectory, rejected ones included, after which it is given up.
_MAX_STEPS = 20_000


def step_tolerances(rtol: float, atol: float) -> tuple[float, float]:
    """Return tolerances of one step that keep the error at output times inside of steps near (rtol, atol)."""
    return max(_OUTPUT_FACTOR * rtol, 1e-13), _OUTPUT_FACTOR * atol


class BatchIntegrator:
    """Integrator of the ODE of one model from many starts.

    Parameters
    ----------
    flow : Flow
        The ODE.
    rtol, atol : float
        Relative and absolute tolerance.
    most_direct_steps : int
        Steps, rejected ones included, after which a trajectory without a table is given up.
    threads : int
        Number of threads that share the starts; results do not depend on it.

    Attributes
    ----------
    table : PairTable
        The largest table built so far; its ``error`` is the largest error found between its nodes.
    given_up : int array of shape (trajectory,)
        The starts of the last `integrate` that needed too many steps; their outcome is NaN from then on.

    Raises
    ------
    ClhdError
        If the loss does not factorise over the samples, or the gradient variance comes from another model.
    """

    def __init__(
        self,
        flow: Flow,
        *,
        rtol: float = 1e-9,
        atol: float = 1e-11,
        most_direct_steps: int = _MAX_STEPS,
        threads: int = 1,
    ) -> None:
        check_pair_averages(flow.model)
        if not flow.has_pair_averages:
            raise InputError("gradient_variance_of: must be None where many trajectories are integrated at once")
        self.flow, self.rtol, self.atol, self._most_direct_steps = flow, rtol, atol, most_direct_steps
        self._threads = threads
        self.table = no_table()
        self.given_up = np.empty(0, dtype=np.int64)
        self._slope = float(np.sqrt((flow.atoms.values**2).sum(axis=1).max()))

    def integrate(
        self, states: FloatArray, times: FloatArray, *, targets: FloatArray | None = None, reach: float = 0.0
    ) -> FloatArray:
        """Return the state and D of every start at every time.

        Parameters
        ----------
        states : array of shape (start, feature + 1)
            Overlaps and squared norm at time 0.
        times : array of shape (time,)
            Not negative, increasing; unit: steps per dimension.
        targets : array of shape (target, feature + 1), optional
            States at which a trajectory may end early.
        reach : float
            Distance from a target at which it ends; its state there is written at the last time, and the times between
            stay NaN.

        Returns
        -------
        array of shape (start, time, feature + 2)
            Overlaps, squared norm, gradient variance; NaN from a divergence on.
        """
        states = np.ascontiguousarray(states, dtype=np.float64)
        outcome = np.full((len(states), len(times), self.flow.features + 2), np.nan)
        goal = (np.empty((0, states.shape[1])) if targets is None else np.ascontiguousarray(targets), reach)
        pending, self.given_up = np.arange(len(states)), np.empty(0, dtype=np.int64)
        if self.table.root_last > 0:  # the table of an earlier call serves most starts, even if they are few
            pending = self._run(self.table, pending, states, times, goal, outcome)
        if self._wants_table(len(pending)):
            root_last = max(1.1 * self._largest_root(states[pending], times), 1.5 * self.table.root_last)
            while len(pending) > 0 and self._provide_table(root_last):
                pending = self._run(self.table, pending, states, times, goal, outcome)
                root_last = 1.5 * self.table.root_last
        self._run(no_table(), pending, states, times, goal, outcome)
        return outcome

    def _wants_table(self, starts: int) -> bool:
        if self.flow.sources.is_orthogonal:  # only the table of one feature's drift terms has two variables
            return (
                self.flow.rule.activation in (TANH, ERF) and self.flow.features == 1 and starts >= _MIN_FOR_DRIFT_TABLE
            )
        smooth = self.flow.rule.activation in (TANH, ERF)
        return smooth and starts * min(len(self.flow.atoms.weights), _MAX_ATOMS_COUNTED) >= _MIN_WORK_FOR_TABLE

    def _provide_table(self, root_last: float) -> bool:
        """Make `table` reach sqrt r = `root_last`; return False if no table of reasonable size does."""
        if root_last > self.table.root_last:
            if self.flow.sources.is_orthogonal:
                table = build_drift_table(self.flow, root_last, _TABLE_TOLERANCE)
            else:
                table = build_table(self.flow.rule, self._slope, root_last, _TABLE_TOLERANCE)
            if table is None:
                return False
            self.table = table
        return True

    def _largest_root(self, states: FloatArray, times: FloatArray) -> float:
        """Guess the largest sqrt r of the trajectories from the starts and from four rough trajectories."""
        norms, lengths = states[:, -1], (states[:, :-1] ** 2).sum(axis=1)
        pilots = states[[0, norms.argmin(), norms.argmax(), lengths.argmax()]]
        outcome = np.full((len(pilots), len(times), self.flow.features + 2), np.nan)
        status = np.empty(len(pilots), dtype=np.int64)
        nowhere = np.empty((0, states.shape[1]))
        integrate_chunk(
            self._equation(no_table()), pilots, times, 1e-3, 1e-5, outcome, status, nowhere, 0.0, _MAX_STEPS
        )
        return math.sqrt(max(float(norms.max()), float(np.nanmax(outcome[:, :, -2], initial=0.0))))

    def _equation(self, table: PairTable) -> Equation:
        model = self.flow.model
        is_drift = self.flow.sources.is_orthogonal
        terms = self.flow.sources, self.flow.rule, self.flow.atoms
        return Equation(
            *terms,
            drift=find_pointer(drift_terms, *terms, np.empty(0), 1.0, np.empty(0)),
            table=table,
            shares=np.ones((2, 1, 1, table.values.shape[2])) if is_drift else atom_shares(table, self.flow.atoms),
            learning_rate=model.learning_rate,
            weight_decay=model.weight_decay,
            is_sphere=model.is_sphere,
        )

    def _run(
        self,
        table: PairTable,
        pending: IntArray,
        states: FloatArray,
        times: FloatArray,
        goal: tuple[FloatArray, float],
        outcome: FloatArray,
    ) -> IntArray:
        """Integrate the pending starts, in chunks; return those that left the table."""
        equation, (rtol, atol) = self._equation(table), (self.rtol, self.atol)
        if len(times) > MOST_LANDINGS:
            rtol, atol = step_tolerances(rtol, atol)
        most_steps = _MAX_STEPS if len(table.values) > 0 else self._most_direct_steps
        status = np.empty(len(pending), dtype=np.int64)

        def run(first: int) -> None:
            part = slice(first, first + _CHUNK)
            chunk = pending[part]
            values = np.full((len(chunk), *outcome.shape[1:]), np.nan)
            integrate_chunk(equation, states[chunk], times, rtol, atol, values, status[part], *goal, most_steps)
            outcome[chunk] = values

        firsts = range(0, len(pending), _CHUNK)
        if self._threads == 1 or len(firsts) == 1:
            for first in firsts:
                run(first)
        else:
            with ThreadPoolExecutor(self._threads) as pool:
                tasks = [pool.submit(run, first) for first in firsts]
                try:
                    for task in tasks:
                        task.result()
                except BaseException:  # an interrupt waits for the chunks that have begun, and no others
                    pool.shutdown(cancel_futures=True)
                    raise
        self.given_up = np.append(self.given_up, pending[status == GIVEN_UP])
        left: IntArray = pending[status == LEFT_TABLE]
        return left

"""The adaptive Runge-Kutta kernel of `BatchIntegrator`, which integrates one trajectory after the other.

The method is the embedded pair of order 8(5, 3) of Dormand and Prince with the step control and the continuous output
of order 7 of Hairer, Norsett and Wanner (Solving Ordinary Differential Equations I, section II.10: "DOP853"). The
coefficients are attributes of `scipy.integrate.DOP853`; the code is this project's.

| symbol | name | shape | unit or scale |
|---|---|---|---|
| (q, r) | ``state`` | (feature + 1,) | |
| (q, r, D) | ``outcome`` | (start, time, feature + 2) | |
| t | ``times`` | (time,) | steps per dimension |
"""

import math
from typing import NamedTuple

import numpy as np
from scipy.integrate import DOP853

from clhd.core.arrays import FloatArray, IntArray
from clhd.core.kernels import Pointer, call_at, inlined, kernel
from clhd.systems.contrastive.model.activations import RELU
from clhd.systems.contrastive.model.contrastive import DIVERGENCE_LIMIT
from clhd.systems.contrastive.theory.averages.atoms import FoldedAtoms
from clhd.systems.contrastive.theory.averages.backgrounds import Sources, combine_terms
from clhd.systems.contrastive.theory.averages.pair_averages import PairRule
from clhd.systems.contrastive.theory.averages.stencil import STENCIL
from clhd.systems.contrastive.theory.averages.tables import PairTable, TableWork, add_from_table
from clhd.systems.contrastive.theory.flow.bounds import BLOW_UP
from clhd.systems.contrastive.theory.flow.drift import BEYOND
from clhd.systems.contrastive.theory.flow.drift_table import read_drift

FINISHED, DIVERGED, LEFT_TABLE, GIVEN_UP = range(4)
# Of at most so many output times, each ends a step, which costs half a step. For more of them, the continuous output
# is less work, although its steps are shorter by 1.8 (`step_tolerances`).
MOST_LANDINGS = 16

_STAGES = 12
# Rows 0-11: the stages of a step; 12: its end; 13-15: the extra stages of the continuous output.
_A = np.zeros((16, 16))
_A[:_STAGES, :_STAGES] = DOP853.A
_A[_STAGES, :_STAGES] = DOP853.B
_A[13:] = DOP853.A_EXTRA
_E3, _E5, _OUTPUT = np.array(DOP853.E3), np.array(DOP853.E5), np.array(DOP853.D)
_SAFETY, _MIN_FACTOR, _MAX_FACTOR = 0.9, 0.2, 10.0


class Equation(NamedTuple):
    """The ODE in the form that kernels take.

    Attributes
    ----------
    sources : Sources
        Estimator and sources of the noise.
    rule : PairRule
        Rule of the pair averages.
    atoms : FoldedAtoms
        Atoms of the latents.
    drift : Pointer
        To `drift_terms`.
    table : PairTable
        Table of the pair averages, or of the drift terms with the orthogonal background; `no_table` for the direct
        rule.
    shares : array of shape (2, atom, 1 + feature, padded pair)
        From `atom_shares`, for a table of pair averages; ones for a table of drift terms.
    learning_rate, weight_decay : float
        eta and lam.
    is_sphere : bool
        True if r stays 1.
    """

    sources: Sources
    rule: PairRule
    atoms: FoldedAtoms
    drift: Pointer
    table: PairTable
    shares: FloatArray
    learning_rate: float
    weight_decay: float
    is_sphere: bool


@kernel
def integrate_chunk(
    equation: Equation,
    states: FloatArray,
    times: FloatArray,
    rtol: float,
    atol: float,
    outcome: FloatArray,
    status: IntArray,
    targets: FloatArray,
    reach: float,
    most_steps: int,
) -> None:
    """Integrate every state from time 0; write (q, r, D) to `outcome` (start, time, feature + 2), and its status.

    A trajectory that needs more than `most_steps` steps, rejected ones included, is given up. One that comes closer
    than `reach` to one of the `targets` (target, feature + 1) ends there; its state is then written at the last output
    time. The caller fills `outcome` with NaN: other entries are not written.
    """
    size = states.shape[1]
    work = Work(
        np.empty((16, size)),
        np.empty(size),
        np.empty((7, size)),
        np.empty(len(equation.atoms.weights)),
        np.empty((equation.shares.shape[2], equation.table.values.shape[2])),
        np.empty(size - 1),
        TableWork(np.empty(STENCIL), np.empty(STENCIL)),
    )
    stages, trial, lands = work.stages, work.trial, len(times) <= MOST_LANDINGS
    # One kernel for the loop and what it repeats: numba optimises all that a kernel calls once more for each level.
    for start in range(len(states)):
        state = states[start].copy()
        status[start] = GIVEN_UP
        time, goal, done = 0.0, times[-1], 0
        variance, is_inside = _velocity(equation, state, stages[0], work)
        if not is_inside:
            status[start] = LEFT_TABLE
            continue
        if times[0] == 0.0:
            _write_output(state, variance, outcome[start, 0])
            done = 1
        if done == len(times):
            status[start] = FINISHED
            continue
        step = _first_step(equation, state, rtol, atol, work)
        was_rejected = False
        for _ in range(most_steps):
            if not step > 16.0 * np.finfo(np.float64).eps * time:
                growth = stages[0, size - 1] / max(state[size - 1], 1e-300)
                status[start] = DIVERGED if growth * time > BLOW_UP else GIVEN_UP
                break
            if lands:
                goal = times[done]
            wanted = step
            step = min(step, goal - time)
            for stage in range(1, 13):
                for j in range(size):
                    change = 0.0
                    for k in range(stage):
                        change += _A[stage, k] * stages[k, j]
                    trial[j] = state[j] + step * change
                variance, is_inside = _velocity(equation, trial, stages[stage], work)
                if not is_inside:
                    break
            if not is_inside:
                status[start] = LEFT_TABLE
                break
            error = _error_norm(state, trial, stages, step, rtol, atol)
            if not error < 1.0:  # NaN, from an overflow, counts as an error
                step *= max(_MIN_FACTOR, _SAFETY * error ** (-1 / 8)) if error < np.inf else _MIN_FACTOR
                was_rejected = True
                continue
            reached = goal if step == goal - time else time + step
            if lands:
                if reached == goal:
                    _write_output(trial, variance, outcome[start, done])
                    done += 1
            elif times[done] <= reached:
                first = done
                while done < len(times) and times[done] <= reached:
                    done += 1
                inner, values = times[first:done], outcome[start, first:done]
                if not _write_between(equation, state, trial, time, step, inner, values, work):
                    status[start] = LEFT_TABLE
                    break
            if not trial[size - 1] <= DIVERGENCE_LIMIT:
                status[start] = DIVERGED
                break
            if done == len(times):
                status[start] = FINISHED
                break
            if _is_near(trial, targets, reach):
                _write_output(trial, variance, outcome[start, -1])
                status[start] = FINISHED
                break
            factor = _MAX_FACTOR if error == 0.0 else min(_MAX_FACTOR, _SAFETY * error ** (-1 / 8))
            factor = min(factor, 1.0) if was_rejected else factor
            was_rejected = False
            time = reached
            step = max(wanted, step * factor) if step < wanted else step * factor
            for j in range(size):
                state[j] = trial[j]
                stages[0, j] = stages[12, j]


class Work(NamedTuple):
    """Work space of the kernels.

    Shapes (16, size), (size,), (7, size) for a step; (atom,), (size, padded pair), (feature,) for a velocity.
    """

    stages: FloatArray
    trial: FloatArray
    dense: FloatArray
    means: FloatArray
    sums: FloatArray
    g: FloatArray
    table: TableWork


@kernel
def _is_near(state: FloatArray, targets: FloatArray, reach: float) -> bool:
    """Return whether a target is closer than `reach`."""
    for k in range(len(targets)):
        distance = 0.0
        for j in range(len(state)):
            distance += (state[j] - targets[k, j]) ** 2
        if distance < reach * reach:
            return True
    return False


@kernel
def _write_output(state: FloatArray, variance: float, outcome: FloatArray) -> None:
    if not state[-1] <= DIVERGENCE_LIMIT:
        return
    for j in range(len(state)):
        outcome[j] = state[j]
    outcome[len(state)] = variance


@kernel
def _write_between(
    equation: Equation,
    state: FloatArray,
    trial: FloatArray,
    time: float,
    step: float,
    times: FloatArray,
    outcome: FloatArray,
    work: Work,
) -> bool:
    """Write the outcome at times inside a step from the continuous output; return False if it leaves the table."""
    size, stages, dense = len(state), work.stages, work.dense
    end, point = trial.copy(), np.empty(size)
    for stage in range(13, 16):
        for j in range(size):
            change = 0.0
            for k in range(stage):
                change += _A[stage, k] * stages[k, j]
            point[j] = state[j] + step * change
        _, is_inside = _velocity(equation, point, stages[stage], work)
        if not is_inside:
            return False
    for j in range(size):
        rise = end[j] - state[j]
        dense[0, j] = rise
        dense[1, j] = step * stages[0, j] - rise
        dense[2, j] = 2.0 * rise - step * (stages[12, j] + stages[0, j])
        for i in range(4):
            total = 0.0
            for k in range(16):
                total += _OUTPUT[i, k] * stages[k, j]
            dense[3 + i, j] = step * total
    for i in range(len(times)):
        x = (times[i] - time) / step
        for j in range(size):
            value = 0.0
            for k in range(6, -1, -1):
                value = (value + dense[k, j]) * (x if k % 2 == 0 else 1.0 - x)
            point[j] = state[j] + value
        variance, is_inside = _velocity(equation, point, stages[15], work)
        if not is_inside:
            return False
        _write_output(point, variance, outcome[i])
    return True


@kernel
def _first_step(equation: Equation, state: FloatArray, rtol: float, atol: float, work: Work) -> float:
    """Return a first step from the size of the velocity alone; the step control corrects it within a few steps."""
    size, value, slope = len(state), 0.0, 0.0
    for j in range(size):
        scale = atol + rtol * abs(state[j])
        value += (state[j] / scale) ** 2
        slope += (work.stages[0, j] / scale) ** 2
    if slope == 0.0 or value == 0.0:
        return 1e-3
    return min(0.01 * math.sqrt(value / slope), 1.0)


@kernel
def _error_norm(
    state: FloatArray, trial: FloatArray, stages: FloatArray, step: float, rtol: float, atol: float
) -> float:
    """Return the error of a step in units of the tolerance, from the embedded formulas of order 5 and 3."""
    fifth, third = 0.0, 0.0
    for j in range(len(state)):
        scale = atol + rtol * max(abs(state[j]), abs(trial[j]))
        error_5, error_3 = 0.0, 0.0
        for k in range(13):
            error_5 += _E5[k] * stages[k, j]
            error_3 += _E3[k] * stages[k, j]
        fifth += (error_5 / scale) ** 2
        third += (error_3 / scale) ** 2
    if fifth == 0.0 and third == 0.0:
        return 0.0
    return abs(step) * fifth / math.sqrt((fifth + 0.01 * third) * len(state))


# Inlined, with all functions of a look-up: a call would count references to some twenty arrays, which costs as much as
# the look-up itself (measured: 3000 trajectories per second with calls, 5000 to 6000 inlined).
@inlined
def _velocity(equation: Equation, state: FloatArray, velocity: FloatArray, work: Work) -> tuple[float, bool]:
    """Write the velocity of a state; return D, and False if the state is outside the table."""
    features = len(state) - 1
    eta = equation.learning_rate
    squared_norm = max(state[features], 0.0)
    if equation.rule.activation == RELU:  # A is infinite at r = 0, next to a state that has collapsed
        inside = 0.0
        for j in range(features):
            inside += state[j] * state[j]
        squared_norm = inside * BEYOND if squared_norm < inside else squared_norm
    squared_norm = 1.0 if equation.is_sphere else squared_norm
    if equation.table.values.shape[0] == 0:
        alignment, variance, _ = call_at(
            equation.drift,
            (equation.sources, equation.rule, equation.atoms, state[:features], squared_norm, work.g),
            (0.0, 0.0, 0.0),
        )
    elif equation.sources.is_orthogonal:
        is_inside, alignment, variance = read_drift(
            equation.table, state[0], squared_norm, work.table, equation.shares[0, 0], work.sums, work.g
        )
        if not is_inside:
            return 0.0, False
    else:
        for atom in range(len(work.means)):
            mean = 0.0
            for j in range(features):
                mean += equation.atoms.values[atom, j] * state[j]
            work.means[atom] = mean
        sums = work.sums
        sums[:] = 0.0
        if not add_from_table(equation.table, work.means, equation.shares, math.sqrt(squared_norm), work.table, sums):
            return 0.0, False
        alignment, variance, _ = combine_terms(equation.sources, sums[0], sums[1:], state[:features], work.g)
    along = 0.0
    for j in range(features):
        along += work.g[j] * state[j]
    if equation.is_sphere:
        for j in range(features):
            velocity[j] = eta * (work.g[j] - state[j] * along) - 0.5 * eta * eta * variance * state[j]
        velocity[features] = 0.0
    else:
        growth = alignment - equation.weight_decay
        for j in range(features):
            velocity[j] = eta * (work.g[j] + growth * state[j])
        velocity[features] = 2.0 * eta * (along + growth * squared_norm) + eta * eta * variance
    return variance, True

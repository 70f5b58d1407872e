"""The acts of one folder of the campaign, drawn at random, and their outcome."""

import random
from dataclasses import asdict, dataclass, field
from typing import Any

from tests.chaos.experiments import SYSTEMS

_VICTIMS = {"clhd": ("worker", "driver", "all"), "snakemake": ("worker", "driver", "shell", "snakemake", "all")}
ROLES = _VICTIMS["snakemake"]
# How many of 20 scenarios are killed at what, and how many of them twice or with threads alone.
_MOMENTS = ("any",) * 10 + ("growth",) * 3 + ("summary",) * 4 + ("creation",) * 1 + ("growing",) * 2
_SHARE_TWICE, _SHARE_THREADS = 0.2, 0.15


@dataclass(frozen=True)
class Act:
    """One run that is killed.

    Parameters
    ----------
    form : str
        base, wider, grown or longer: what the experiment asks for.
    victim : str
        worker, driver, shell, snakemake or all.
    moment : str
        any, or a key of `runs.MOMENTS`.
    share : float
        Where in that moment, in [0, 1).
    """

    form: str
    victim: str
    moment: str
    share: float


@dataclass(frozen=True)
class Scenario:
    """What is done in one folder.

    Parameters
    ----------
    number : int
    stage : str
        clhd or snakemake.
    size : str
        processes, threads, or one of the further systems: the experiment.
    start : str
        empty, or base: all of the base form is computed already.
    acts : tuple of Act
        The last one's form is what is computed in the end.
    kind : str
        What was drawn: any, creation, growth (while the store grows), growing (while what is new in it is computed) or
        summary.
    """

    number: int
    stage: str
    size: str
    start: str
    acts: tuple[Act, ...]
    kind: str = "any"

    @property
    def title(self) -> str:
        return f"{self.stage} {self.size}: " + ", ".join(f"{act.victim} at {act.moment}" for act in self.acts)


@dataclass
class Outcome:
    """What was seen. `problems` is what must not be."""

    scenario: Scenario
    kills: list[dict[str, Any]] = field(default_factory=list)
    finished_blocks: int = 0
    lost_blocks: int = 0
    torn_blocks: int = 0
    wrong: int = 0
    has_same_bits: bool = False
    manual_steps: int = 0
    orphan_seconds: list[dict[str, Any]] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    seconds: float = 0.0
    folder: str = ""

    @property
    def killed(self) -> list[dict[str, Any]]:
        """The kills that came in time: the others found that the run had ended."""
        return [kill for kill in self.kills if kill["killed"]]

    def as_table(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_table(cls, table: dict[str, Any]) -> "Outcome":
        scenario = dict(table["scenario"])
        scenario["acts"] = tuple(Act(**act) for act in scenario["acts"])
        return cls(**{**table, "scenario": Scenario(**scenario)})


def draw_scenarios(seed: int, clhd_runs: int, snakemake_runs: int) -> list[Scenario]:
    """The scenarios of a campaign, and one for each further system.

    Those drawn for a smaller campaign are not the first of a larger one's.
    """
    stages = ["clhd"] * clhd_runs + ["snakemake"] * snakemake_runs
    order = random.Random(seed)
    order.shuffle(stages)
    drawn = [_draw_scenario(random.Random(f"{seed}|{number}"), number, stage) for number, stage in enumerate(stages)]
    return drawn + [_make_system_scenario(len(drawn) + k, system) for k, system in enumerate(SYSTEMS)]


def _make_system_scenario(number: int, system: str) -> Scenario:
    """Of each further system: killed half way, and again half way of what is grown."""
    acts = (Act("base", "driver", "any", 0.5), Act("grown", "all", "any", 0.5))
    return Scenario(number, "clhd", system, "empty", acts)


def _draw_scenario(draw: random.Random, number: int, stage: str) -> Scenario:
    size = "threads" if draw.random() < _SHARE_THREADS else "processes"
    kind = draw.choice(_MOMENTS)
    victims = [victim for victim in _VICTIMS[stage] if victim != "worker"]
    if size == "processes" and kind in ("any", "growing"):  # at other moments there are no workers
        victims += ["worker"] * 2
    start = "base" if kind in ("growth", "growing") or (kind == "summary" and draw.random() < 0.5) else "empty"
    form = draw.choice(("grown", "longer")) if start == "base" else "base"
    acts = [Act(form, draw.choice(victims), "any" if kind == "growing" else kind, draw.random())]
    if kind == "growth" and draw.random() < 0.5:  # what is grown is itself half done
        start = "empty"
        acts.insert(0, Act("base", draw.choice(victims), "any", draw.random()))
    elif draw.random() < _SHARE_TWICE:
        acts.append(Act(form, draw.choice(victims), "any", draw.random()))
    return Scenario(number, stage, size, start, tuple(acts), kind)

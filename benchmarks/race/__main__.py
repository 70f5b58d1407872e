"""`make race`: clhd against what people use, on their own work, in one run; writes the tables of docs/performance.md.

The environment .venv-race holds the competitors (see the Makefile). What is not installed there is named as absent.
"""

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.kernels import describe_machine
from benchmarks.race import floor, ode, sgd, sweep
from benchmarks.race.measure import hold_to_one_core, list_versions

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "performance.md"
DIMENSIONS = (1000, 10_000)
_PACKAGES = ("torch", "jax", "diffrax", "CyRK", "pipefunc", "xyzpy", "joblib", "dask", "snakemake")


def race_sgd(options: argparse.Namespace) -> str:
    """The first table, and the floor."""
    competitors, absent = sgd.find_competitors()
    verdicts = sgd.check(competitors, sgd.CHECK_DIMENSION, options.replicas, sgd.TIME)
    entries = [sgd.race(competitors, verdicts, n, options.seconds, options.rounds) for n in DIMENSIONS]
    measured = {
        (entry.name.partition(", 256")[0], n): entry.seconds
        for n, column in zip(DIMENSIONS, entries, strict=True)
        for entry in column
    }
    table = sgd.format_table(DIMENSIONS, entries)
    return _name_absent(table, absent) + "\n\n" + floor.format_table(floor.measure_parts(9), DIMENSIONS, measured)


def race_ode(options: argparse.Namespace) -> str:
    """The second table."""
    competitors, absent = ode.find_competitors()
    entries, errors = ode.race(competitors, options.starts, 20, min(options.rounds, 3))
    return _name_absent(ode.format_table(options.starts, entries, errors), absent)


def race_sweep(options: argparse.Namespace) -> str:
    """The third table."""
    present = [name for name, competitor in sweep.COMPETITORS.items() if sweep.is_installed(competitor.package)]
    absent = [name for name in sweep.COMPETITORS if name not in present]
    return _name_absent(sweep.format_table(sweep.race(present, min(options.rounds, 3))), absent)


RACES: dict[str, Callable[[argparse.Namespace], str]] = {"sgd": race_sgd, "ode": race_ode, "sweep": race_sweep}


def _name_absent(table: str, absent: list[str]) -> str:
    return f"{table}\n\nAbsent, because not installed: {', '.join(absent)}." if absent else table


def write_page(name: str, text: str, page: Path = PAGE) -> None:
    """Replace what stands between the marks of this race."""
    begin, end = f"<!-- race {name}: begin -->", f"<!-- race {name}: end -->"
    before, found, rest = page.read_text().partition(begin)
    _, closed, after = rest.partition(end)
    if not found or not closed:
        raise SystemExit(f"{page}: has no place for the race {name}; put back the lines {begin} and {end}")
    page.write_text(f"{before}{begin}\n\n{text}\n\n{end}{after}")


def main(arguments: list[str] | None = None) -> None:
    """Run the races that are asked for."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("races", nargs="*", choices=[*RACES, []], help="by default all")
    parser.add_argument("--rounds", type=int, default=7, help="interleaved repeats, of which the least time counts")
    parser.add_argument("--seconds", type=float, default=0.5, help="least duration of a timed run of SGD")
    parser.add_argument("--replicas", type=int, default=256, help="of the test for the same answer")
    parser.add_argument("--starts", type=int, default=ode.STARTS, help="of the ODE")
    parser.add_argument("--no-page", action="store_true", help="print the tables only")
    options = parser.parse_args(arguments)
    chosen: Any = options.races or list(RACES)
    for name in sorted(chosen, key=lambda name: name != "sweep"):  # the sweep needs both cores, so it comes first
        if name != "sweep":
            hold_to_one_core()
        text = RACES[name](options)
        text += f"\n\nMeasured on: {describe_machine()}; {list_versions(_PACKAGES)}."
        print(f"{text}\n", flush=True)
        if not options.no_page:
            write_page(name, text)


if __name__ == "__main__":
    main()

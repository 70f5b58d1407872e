"""The table of `clhd status`."""

from typing import Any

from clhd.sweep.results.status import format_status

KNOWN = {"state": "complete", "wanted": 12, "ok": 12, "failed": 0, "diverged": 0, "not_converged": 0, "not_run": 0}
HELD = {"age_seconds": 70.0, "bytes": 2500, "files": 9}
DAMAGED = "results/a_long_name/simulation.zarr/zarr.json: is not what was written"


def report(name: str, **stages: dict[str, Any]) -> dict[str, Any]:
    return {"experiment": name, "path": f"results/{name}", "complete": False, **stages}


def test_columns_are_aligned_whatever_the_names_and_problems() -> None:
    table = format_status(
        [
            report("first", simulation=KNOWN | HELD, theory=KNOWN | HELD, summary=HELD | {"state": "complete"}),
            report("a_long_name", simulation={"state": "damaged", "problem": DAMAGED}),
        ]
    )
    assert table.splitlines() == [
        "experiment   stage       state     runs  ok  failed  diverged  pending    age    size",
        "first        simulation  complete    12  12       0         0        0  1 min  2.5 kB",
        "first        theory      complete    12  12       0         0        0  1 min  2.5 kB",
        "first        summary     complete                                       1 min  2.5 kB",
        f"a_long_name  simulation  damaged   {DAMAGED}",
        "a_long_name  theory      none",
        "a_long_name  summary     none",
    ]


def test_the_counts_of_a_row_add_up_to_its_runs() -> None:
    theory = KNOWN | {"ok": 7, "failed": 1, "diverged": 0, "not_converged": 3, "not_run": 1}
    head, row, _ = format_status([report("first", theory=theory)]).splitlines()
    assert "not converged" in head
    runs, *counts = map(int, row.split()[3:])
    assert runs == sum(counts) == 12

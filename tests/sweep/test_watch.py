"""`clhd status --watch`: each change once, in place on a terminal, until Ctrl-C."""

import io
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from clhd.cli import main
from clhd.sweep.results.status import watch_status

STAGE = {"state": "pending", "wanted": 4, "ok": 0, "failed": 0, "diverged": 0, "not_converged": 0, "not_run": 4}


def make_report(ok: int, age: float) -> dict[str, Any]:
    stage = STAGE | {"ok": ok, "not_run": 4 - ok, "age_seconds": age, "bytes": 9, "files": 1}
    return {"experiment": "first", "path": "results/first", "simulation": stage, "state": "pending", "complete": False}


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def play(monkeypatch: pytest.MonkeyPatch, stream: io.StringIO, reports: list[dict[str, Any]]) -> str:
    """What is shown while an experiment has one report after the other, then Ctrl-C."""
    left: Iterator[dict[str, Any]] = iter(reports)

    def find_reports() -> list[dict[str, Any]]:
        report = next(left, None)
        if report is None:
            raise KeyboardInterrupt
        return [report]

    monkeypatch.setattr("clhd.sweep.results.status.time.sleep", lambda _: None)
    with pytest.raises(KeyboardInterrupt):
        watch_status(find_reports, stream)
    return stream.getvalue()


def test_without_a_terminal_each_change_is_printed_once(monkeypatch: pytest.MonkeyPatch) -> None:
    text = play(
        monkeypatch, io.StringIO(), [make_report(0, 1), make_report(0, 3), make_report(2, 5), make_report(2, 7)]
    )
    assert text.count("experiment") == 2
    assert "\x1b" not in text
    rows = [line.split() for line in text.splitlines() if "simulation" in line]
    assert [row[4] for row in rows] == ["0", "2"]


def test_on_a_terminal_the_table_stays_in_place_and_on_the_screen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        "clhd.sweep.results.status.shutil.get_terminal_size", lambda *_, **__: os.terminal_size((40, 4))
    )
    text = play(monkeypatch, Terminal(), [make_report(0, 1), make_report(0, 3)])
    first, second = text.split("\x1b[H")[1:]
    for shown in (first, second):
        lines = shown.removesuffix("\x1b[J").splitlines()
        assert len(lines) == 3
        assert all(len(line.removesuffix("\x1b[K")) < 40 for line in lines)
        assert lines[-1].startswith("... and 3 more lines")


def test_ctrl_c_ends_it_with_its_exit_code(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text("system: saddle\ntimes: [1]\nreplicas: 1\n", encoding="utf-8")
    command = [sys.executable, "-m", "clhd", "status", "a.yaml", "--watch"]
    with subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline().endswith("Z\n")
        assert process.stdout.readline().startswith("experiment")
        time.sleep(0.1)
        process.send_signal(signal.SIGINT)
        _, told = process.communicate(timeout=60)
    assert process.returncode == 130
    assert told == "\nstopped; what was done is kept: the same command goes on from there\n"


def test_it_is_not_for_programs(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["status", "--watch", "--json"]) == 2
    assert capsys.readouterr().err == "--watch and --json: only one of them can be given\n"

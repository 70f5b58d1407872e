"""What a notebook shows: models, experiments and results as tables, and progress in place."""

import io
from pathlib import Path

import pytest

import clhd
from clhd.core import progress
from clhd.core.progress import Progress
from tests.report.page import Page


def read_html(thing: object) -> Page:
    page = Page(thing._repr_html_())  # type: ignore[attr-defined]
    assert not page.faults
    return page


def test_a_model_is_a_table_of_its_parameters() -> None:
    model = clhd.ContrastiveModel(latents=[clhd.TwoPoint(second_moment=1.5)], noise_correlation=-0.25)
    page = read_html(model)
    assert page.plain.startswith("ContrastiveModel")
    assert "noise_correlation-0.25" in page.plain
    assert "temperature" not in page.plain  # only infonce has one


def test_an_experiment_is_a_table_and_its_text_no_markup(tmp_path: Path) -> None:
    path = tmp_path / "first.yaml"
    path.write_text(
        "system: contrastive\ndescription: <script>alert(1)</script>\ntimes: [0, 5]\nreplicas: 2000\n"
        "axes: {dimension: {start: 100, stop: 1000, count: 10}}\n",
        encoding="utf-8",
    )
    page = read_html(clhd.read_experiment(path))
    assert "script" not in page.tags
    assert "<script>alert(1)</script>" in page.text
    assert "axis dimension10: 100, 200, ..., 1000" in page.plain
    assert "points10" in page.plain
    assert "replicas2,000" in page.plain


class NotebookStream(io.StringIO):
    """Stands for the standard error of a notebook: no terminal, from a module of ipykernel."""


NotebookStream.__module__ = "ipykernel.iostream"


def test_progress_in_a_notebook_stays_in_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter(range(100))
    monkeypatch.setattr(progress.time, "monotonic", lambda: next(clock))
    stream = NotebookStream()
    monkeypatch.setattr("sys.stderr", NotebookStream())  # which a notebook shows on red
    monkeypatch.setattr("sys.stdout", stream)
    shown = Progress("first simulation", 400, 10.0)
    for _ in range(3):
        shown.advance(100, 2.5)
    shown.finish("400 ok")
    text = stream.getvalue()
    assert "\x1b" not in text
    assert text.count("\n") == 1
    assert text.count("% of the work") == 3
    parts = text.rstrip("\n").split("\r")
    assert len(parts[-1]) >= len(parts[-2])  # the last line covers the bar
    assert parts[-1].startswith("first simulation: 400 ok, ")

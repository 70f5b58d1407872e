"""The figures of tiny runs."""

import pytest

import clhd
from clhd.figures.style import use_style
from clhd.sweep.results.summary_reader import read_summary
from clhd.systems.two_layers.figures import plot_modulation, plot_specialisation

EXPERIMENT = """\
system: two_layers
constants: {{token_law: {law}, units_per_token: 1, tokens: 2, pattern_count: 4}}
axes:
{axes}
times: [0, 50]
replicas: 2
name: tiny
"""


@pytest.mark.parametrize(
    ("draw", "law", "axes", "panels"),
    [
        (plot_specialisation, "patterns", "  activation: [relu, linear]\n  output_dimension: [2, 3]", 4),
        (plot_modulation, "planted", "  batch_norm: [none, mean, full]", 6),
    ],
)
def test_each_network_has_a_column(tmp_path, draw, law, axes, panels):
    path = tmp_path / "tiny.yaml"
    path.write_text(EXPERIMENT.format(law=law, axes=axes))
    clhd.run_experiment(path, results=tmp_path / "results")
    with use_style():
        figure, caption = draw(read_summary(tmp_path / "results" / "tiny" / "summary.zarr"))
        figure.canvas.draw()
    assert len(figure.axes) == panels
    assert "all runs are ok" in caption

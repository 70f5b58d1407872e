"""Parameters of one layer for its tests."""

from types import SimpleNamespace

from clhd.systems.one_layer import OneLayerSystem


def make_values(count, overlap, ratio=3.0, **others):
    """All parameters of a point; layers are small unless the test asks for more."""
    defaults = {name: parameter.default for name, parameter in OneLayerSystem.parameters.items()}
    chosen = {"pattern_count": count, "pattern_overlap": overlap, "probability_ratio": ratio, "layer_units": 300}
    return SimpleNamespace(**(defaults | chosen | others))

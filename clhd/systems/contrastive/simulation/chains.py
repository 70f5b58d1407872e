"""Which exact chain of the order parameters simulates a model."""

from clhd.systems.contrastive.model.contrastive import ContrastiveModel
from clhd.systems.contrastive.simulation.frame_chain import FrameGroup
from clhd.systems.contrastive.simulation.one_unit import UnitGroup
from clhd.systems.contrastive.simulation.projected import LaneGroup


def choose_chain(model: ContrastiveModel) -> type[LaneGroup | UnitGroup | FrameGroup]:
    """Return the class whose lanes advance replicas of a model."""
    return FrameGroup if model.units > 1 else choose_unit_chain(model)


def choose_unit_chain(model: ContrastiveModel) -> type[LaneGroup | UnitGroup]:
    """Return the class for a model of one unit; its lanes can follow a further direction."""
    return LaneGroup if is_isotropic_pair(model) else UnitGroup


def is_isotropic_pair(model: ContrastiveModel) -> bool:
    """Return True if the loss is of one positive pair and its negatives, with the isotropic background."""
    return model.loss != "covariance" and model.background == "isotropic"

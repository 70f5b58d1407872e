"""clhd: the high-dimensional limit of contrastive learning, simulated and solved."""

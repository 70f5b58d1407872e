"""Features, latents, activations, losses: what simulation and theory share."""

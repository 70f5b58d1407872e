"""Features, latents, activations and losses, shared by simulation and theory."""

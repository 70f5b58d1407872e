"""Floor 0: latents, activations, losses and the model that they make: frozen values and formulas."""

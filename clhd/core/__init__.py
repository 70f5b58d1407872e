"""Layer 0: checks, kernels, random streams and text for all other layers; nothing here names a system."""

"""Layer 0: what every other layer uses; nothing here names a system."""

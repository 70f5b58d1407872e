"""Floor 2: what can be swept; each system has parameters, a simulation and, where one exists, a theory."""

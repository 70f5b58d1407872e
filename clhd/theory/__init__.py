"""Floor 1: the high-dimensional limit: averages, ODE, fixed points, fluctuations, attraction regions."""

"""Floor 3: an experiment becomes a grid, blocks, tasks, a store and a summary. Knows of systems the protocol alone."""

"""From a grid to blocks: stages, costs, chunks."""

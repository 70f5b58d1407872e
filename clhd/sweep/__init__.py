"""An experiment becomes a grid, blocks, tasks, a store and a summary. Of systems, this folder knows the protocol."""

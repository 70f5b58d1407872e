"""The limit of infinite dimension; never imports the simulation."""

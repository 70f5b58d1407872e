"""Where blocks are computed: local processes, SLURM, any Dask cluster."""

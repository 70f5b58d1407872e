"""Floor 4: a summary becomes a figure and its caption; `plot.plot_experiment` draws, `plot.FIGURES` lists."""

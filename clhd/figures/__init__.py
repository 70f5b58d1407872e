"""Layer 4: figures of any system, from summaries, with their captions. `plot.FIGURES` lists them."""

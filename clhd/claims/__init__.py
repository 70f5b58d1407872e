"""Layer 3: statements and their verdicts, from the summaries of any system."""

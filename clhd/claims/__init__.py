"""Layer 3: the verdicts on a system's claims, from the summaries of its experiments. No system is named here."""

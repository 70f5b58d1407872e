"""What leaves the project: the numbers, tables and figures of a paper, and an archive that others can verify."""

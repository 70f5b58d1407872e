"""The report: claims, experiments and equations in one HTML file."""

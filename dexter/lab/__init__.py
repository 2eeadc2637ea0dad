"""The embedded lab: a small world with known causes, and real models trained on it."""

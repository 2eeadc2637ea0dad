"""Benchmarks of the paper's other tasks."""

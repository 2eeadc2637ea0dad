"""The benchmarks on labelled pictures."""

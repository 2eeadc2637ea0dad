"""From frames to findings: captions, claims, evidence, word attribution and reports.

A claim says that a concept raises or lowers the probability of a class. It is tested by
intervention, on pairs of pictures that differ in the concept alone, and ends with a verdict.
"""

"""The path from frames to findings: captions, claims, evidence, word attribution and reports.

A claim states that a concept raises or lowers the probability of a class. It is tested by
intervention, on pairs of pictures that differ only in the concept, and gets a verdict.
"""

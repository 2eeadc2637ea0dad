"""Runs at other places: engines place workers there, and a keeper beside the store does the rest.

docs/scaling.md has the files, the states and what happens at each crash.
"""

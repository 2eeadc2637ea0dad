"""Screening: one bank of pictures answers for every concept, for any number of classifiers.

`concepts` holds what is varied, `design` plans prompts that vary it at random, `regression`
estimates effects, `drawn` compares them with what the pictures show, and `screen` runs it all in
rounds. No database, no terminal.
"""

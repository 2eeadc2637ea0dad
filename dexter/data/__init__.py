"""Labelled pictures of the user: where they lie, what they are called, and slices of errors."""

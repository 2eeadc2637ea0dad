"""The revisions, a file for each, named by its number."""

"""The screens of reports on labelled pictures."""

"""The truth of a screening's findings: both fleets against known truth, and A/A tests."""

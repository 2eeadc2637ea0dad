"""The methods of related papers on the lab, each with its figure, cost and trivial baseline."""

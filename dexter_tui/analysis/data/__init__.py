"""The jobs on labelled pictures: slices and debiasing."""

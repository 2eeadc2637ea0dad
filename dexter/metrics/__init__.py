"""A package at the path where the reference code keeps its activation score."""

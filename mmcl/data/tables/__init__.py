"""Data sets of measurements in tables."""

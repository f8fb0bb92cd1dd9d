"""Data sets of texts and of exercises in words."""

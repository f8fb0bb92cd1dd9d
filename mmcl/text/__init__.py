"""Text utilities: escaping for display, suggestions for typos, and normalization of words."""

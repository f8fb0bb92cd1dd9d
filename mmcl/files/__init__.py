"""File input and output: bounded reading with clear errors, and atomic writing."""

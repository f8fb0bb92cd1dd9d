"""Synthetic speech: espeak-ng, a command grammar, and corpora spoken from texts."""

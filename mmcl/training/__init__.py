"""Training: the step and the loops that need no Avalanche."""

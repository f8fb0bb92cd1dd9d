"""Training without Avalanche: the training step, and the contrastive training loop."""

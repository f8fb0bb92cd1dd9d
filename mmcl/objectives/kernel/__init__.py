"""The kernel of contrastive objectives: similarities by tiles, weights as pairs, gathers over processes."""

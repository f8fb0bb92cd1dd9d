"""Rationale distillation: a small model learns answers and the reasons that larger models gave for them."""

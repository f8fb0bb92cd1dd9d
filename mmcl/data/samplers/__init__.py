"""Samplers: the order in which samples are grouped into batches."""

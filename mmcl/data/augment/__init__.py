"""Random views of a batch, one module for each modality, for objectives that compare views of the same samples."""

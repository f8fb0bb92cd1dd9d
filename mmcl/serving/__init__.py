"""Serving: the page of `mmcl serve`, and the models that answer it."""

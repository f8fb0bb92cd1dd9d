"""Data sets of images, with texts or without."""

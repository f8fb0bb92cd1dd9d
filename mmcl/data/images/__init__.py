"""Data sets of images, with or without texts."""

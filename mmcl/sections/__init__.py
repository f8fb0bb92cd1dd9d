"""Sections of configs, one module for each family of tasks: typed fields, and `build` makes the part."""

"""Figures of a report, one module for each family of tasks, as SVG text."""

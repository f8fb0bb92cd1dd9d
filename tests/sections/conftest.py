"""Exercises, which tests of rationales and of their sections share."""

from exercise_sets import *  # noqa: F403

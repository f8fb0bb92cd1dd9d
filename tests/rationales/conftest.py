"""Fixtures shared by the tests of rationales and of their config sections."""

from exercise_sets import *  # noqa: F403

"""Fixtures on spoken digits, shared by the tests of strategies and of runs."""

from learners import *  # noqa: F403

"""Fixtures that train on spoken digits, shared with the tests of strategies."""

from learners import *  # noqa: F403

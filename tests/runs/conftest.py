"""Learners on spoken digits, which tests of strategies and of runs share."""

from learners import *  # noqa: F403

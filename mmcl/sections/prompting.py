"""Config section of learning to prompt, ``l2p``."""

from __future__ import annotations

from mmcl.config.model import StrictModel
from mmcl.config.signature import section_of


@section_of("mmcl.strategies.learning_to_prompt:LearningToPrompt")
class L2PSection(StrictModel):
    """The key term and the classes of ``l2p``; see :class:`mmcl.strategies.learning_to_prompt.LearningToPrompt`."""

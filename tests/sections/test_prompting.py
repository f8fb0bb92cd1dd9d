from mmcl.sections.prompting import L2PSection
from mmcl.strategies.learning_to_prompt import LearningToPrompt


def test_the_section_has_the_settings_of_the_plugin():
    section = L2PSection(key_weight=0.1)
    assert section.model_dump() == {"key_weight": 0.1, "classes": "current", "diversify": False}
    assert LearningToPrompt(**section.model_dump()).key_weight == 0.1

from types import SimpleNamespace

from mmcl.objectives import SupConLoss
from mmcl.sections.additions import (
    ContrastSection,
    CoreTuningSection,
    KnowledgeDistillationSection,
    RelationalSection,
    build_additions,
)
from mmcl.sections.objectives import ObjectivesSection
from mmcl.sections.strategy_names import DISTILLATIONS


def test_each_distillation_has_its_weight():
    section = KnowledgeDistillationSection(audio_weight=2.0, token_weight=3.0, sequence_weight=4.0)
    assert [section.build(name).weight for name in DISTILLATIONS] == [2.0, 3.0, 4.0]


def test_the_names_after_a_plus_become_plugins_in_their_order():
    config = SimpleNamespace(
        contrast=ContrastSection(weight=0.5),
        core_tuning=CoreTuningSection(weight=0.2),
        knowledge_distillation=KnowledgeDistillationSection(token_weight=3.0),
        objectives=ObjectivesSection(),
        relational=RelationalSection(weight=0.3),
    )
    plugins = build_additions("replay+core_tuning+relational_kd+sup_con+token_kd", config)
    names = ["CoreTuning", "RelationalDistillation", "Contrast", "TokenDistillation"]
    assert [type(each).__name__ for each in plugins] == names
    assert [each.weight for each in plugins] == [0.2, 0.3, 0.5, 3.0]
    assert isinstance(plugins[2].objective, SupConLoss) and build_additions("replay", config) == []

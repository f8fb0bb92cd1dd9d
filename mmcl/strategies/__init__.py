"""Class-incremental training: the loop, and strategies as Avalanche plugins. Importing it takes seconds (Avalanche)."""

from mmcl.lazy import quick_imports

with quick_imports():
    from mmcl.rationales import distill_rationales as distill_rationales
    from mmcl.strategies.presets import coconut as coconut
    from mmcl.strategies.presets import icarl as icarl
    from mmcl.strategies.presets import joint as joint
    from mmcl.strategies.presets import lwf as lwf
    from mmcl.strategies.presets import naive as naive
    from mmcl.strategies.presets import replay as replay
    from mmcl.unlearning import unlearn as unlearn
    from mmcl.unlearning import unlearn_laf as unlearn_laf

__all__ = ["coconut", "distill_rationales", "icarl", "joint", "lwf", "naive", "replay", "unlearn", "unlearn_laf"]

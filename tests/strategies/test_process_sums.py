import torch

from mmcl.strategies.process_sums import sum_over_processes


def test_one_process_leaves_tensors_unchanged():
    """Sums of two processes are tested with the strategies, in test_closed_form.py and test_importance.py."""
    tensors = [torch.ones(2), torch.arange(3.0)]
    sum_over_processes(iter(tensors), "statistics")
    assert tensors[0].tolist() == [1.0, 1.0] and tensors[1].tolist() == [0.0, 1.0, 2.0]

"""Metrics of tensors on a pretended GPU, compared with the same tensors on the CPU."""

from __future__ import annotations

import pytest
import torch
from pretended_gpu import pretended_gpu

from mmcl.metrics import (
    calibration,
    classification,
    embedding_map,
    linear_probe,
    representation,
    retrieval,
    scaling,
    similarity_structure,
    unlearning,
    zero_shot,
)

LABELS = [0, 1, 2, 1] * 6
METRICS = {
    "classification_scores": lambda x, y: classification.classification_scores(x[:, :3], y),
    "expected_calibration_error": lambda x, y: calibration.expected_calibration_error(x[:, 0].sigmoid(), y == 1),
    "rejection_threshold": lambda x, y: calibration.rejection_threshold(x[:, 0].sigmoid(), y == 1),
    "calibrate_logits": lambda x, y: calibration.calibrate_logits(x[:, :3], y),
    "calibrate_confidence": lambda x, y: calibration.calibrate_confidence(x[:, 0].sigmoid(), y == 1),
    "fit_platt": lambda x, y: scaling.fit_platt(x[:, 0].sigmoid(), x[:, 0] > 0.3),
    "embedding_map": lambda x, y: embedding_map.embedding_map(x, LABELS),
    "linear_probe": lambda x, y: linear_probe.linear_probe(x, LABELS, x, LABELS),
    "uniformity": lambda x, y: representation.uniformity(x).item(),
    "alignment": lambda x, y: representation.alignment(x, x + 1).item(),
    "tolerance": lambda x, y: [representation.tolerance(x, y, same_label_only=is_so).item() for is_so in (True, False)],
    "retrieval": lambda x, y: retrieval.retrieval(x, x + 1),
    "similarity_structure": lambda x, y: similarity_structure.similarity_structure(x, x + 1),
    "membership_attack": lambda x, y: unlearning.membership_attack(x[:9], x[9:], x[3:], x[:6]),
    "loss_attack": lambda x, y: unlearning.loss_attack(x[:9, 0], x[9:, 0], x[3:, 0], x[:6, 0]),
    "per_sample_loss": lambda x, y: unlearning.per_sample_loss(x, LABELS).tolist(),
    "zero_shot": lambda x, y: zero_shot.zero_shot(zero_shot.zero_shot_scores(x, x[:3], hubness=2), y),
}


@pytest.mark.parametrize("name", METRICS)
def test_a_metric_takes_tensors_of_a_gpu(name: str) -> None:
    features = torch.randn(24, 5, generator=torch.Generator().manual_seed(0))
    expected = METRICS[name](features, torch.tensor(LABELS))
    with pretended_gpu():
        found = METRICS[name](features.to("cuda"), torch.tensor(LABELS, device="cuda"))
    assert repr(found) == repr(expected)

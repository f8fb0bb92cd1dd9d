from mmcl.models.readouts import StreamingLDA
from mmcl.strategies import ClosedForm, der, kept_bytes, naive, replay


def test_exemplars_and_statistics_are_counted(make, train, benchmark):
    sizes = {}
    for name, preset, settings in (
        ("naive", naive, {}),
        ("replay", replay, {"memory_size": 20}),
        ("der", der, {"memory_size": 20}),
        ("read-out", naive, {"plugins": [ClosedForm(StreamingLDA())]}),
    ):
        strategy = make(preset, epochs=1, **settings)
        assert kept_bytes(strategy)["exemplars"] == 0
        train(strategy, benchmark, 2)
        sizes[name] = kept_bytes(strategy)
        classes = strategy.model.head.weight.shape[0]
    assert sizes["naive"] == {"exemplars": 0, "statistics": 0}
    assert sizes["replay"] == {"exemplars": 20 * 256 * 4, "statistics": 0}
    assert sizes["der"] == {"exemplars": 20 * 256 * 4, "statistics": 20 * classes * 4}
    assert sizes["read-out"]["exemplars"] == 0 and sizes["read-out"]["statistics"] >= 64 * 64 * 8

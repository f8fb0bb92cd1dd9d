import pytest
import torch

from mmcl import Batch, collate
from mmcl.batch import moved
from mmcl.data.audio import load_audio
from mmcl.errors import ShapeError


def test_real_recordings_of_different_length_are_padded_with_lengths_and_mask(data_dir):
    files = sorted((data_dir / "fsdd" / "recordings").glob("0_george_*.wav"))[:4]
    waveforms = [load_audio(file) for file in files]
    batch = collate([{"id": file.stem, "audio": wave, "label": 0} for file, wave in zip(files, waveforms, strict=True)])
    longest = max(map(len, waveforms))
    assert batch["audio"].shape == (4, longest) and batch["audio_lengths"].tolist() == [len(wave) for wave in waveforms]
    mask = batch.mask("audio")
    for row, wave in enumerate(waveforms):
        assert torch.equal(batch["audio"][row][mask[row]], wave)
        assert not batch["audio"][row][~mask[row]].any()
    assert batch["id"] == [file.stem for file in files] and batch.size == 4


def test_only_keys_that_all_samples_have_are_kept():
    batch = collate([{"label": 1, "text": "a"}, {"label": 2, "text": "b", "speaker": "x"}])
    assert batch.keys() == {"label", "text"} and batch["label"].tolist() == [1, 2]


def test_vectors_are_stacked_and_sequences_padded():
    vectors = collate([{"features": torch.ones(3)}, {"features": torch.zeros(3)}])
    assert vectors["features"].shape == (2, 3) and "features_lengths" not in vectors
    sequences = collate([{"features": torch.ones(2, 3)}, {"features": torch.ones(5, 3)}])
    assert sequences["features"].shape == (2, 5, 3) and sequences["features_lengths"].tolist() == [2, 5]


def test_moving_and_selecting_keep_everything():
    batch = collate([{"features": torch.ones(2), "text": "a"}, {"features": torch.zeros(2), "text": "b"}])
    moved = batch.to("meta")
    assert isinstance(moved, Batch) and moved["features"].device.type == "meta" and moved["text"] == ["a", "b"]
    assert batch.select(torch.tensor([False, False])).size == 0


def test_samples_with_different_shapes_raise():
    with pytest.raises(ShapeError, match="collate got 0 samples"):
        collate([])
    with pytest.raises(ShapeError, match="samples of one batch have image of shapes"):
        collate([{"image": torch.ones(3, 4)}, {"image": torch.ones(3, 5)}])
    with pytest.raises(ShapeError, match="samples of one batch have features of shapes"):
        collate([{"features": torch.ones(4)}, {"features": torch.ones(2, 4)}])


def test_samples_are_taken_by_position():
    batch = collate([{"features": torch.full((2,), float(row)), "text": str(row)} for row in range(4)])
    taken = batch.take([3, 1])
    assert taken["features"][:, 0].tolist() == [3.0, 1.0] and taken["text"] == ["3", "1"]
    assert batch.take([]).size == 0


def test_a_copy_to_the_cpu_is_complete_and_one_to_a_gpu_does_not_wait(monkeypatch):
    copies = []

    class Watched(torch.Tensor):
        def to(self, *args, **kwargs):
            copies.append((args, kwargs))
            return self

        def pin_memory(self):
            copies.append("pinned")
            return self

    tensor = torch.zeros(2).as_subclass(Watched)
    moved(tensor, torch.device("cpu"))
    assert copies == [((torch.device("cpu"),), {"non_blocking": False})]
    copies.clear()
    monkeypatch.setattr(torch.cuda, "is_initialized", lambda: True)
    moved(tensor, torch.device("cuda"))
    assert copies == ["pinned", ((torch.device("cuda"),), {"non_blocking": True})]

import pytest
import torch
from transformers import PegasusConfig, PegasusForConditionalGeneration
from transformers.modeling_outputs import BaseModelOutput

from mmcl.models.beam_search import BeamSearchDecoder

VOCABULARY, START, END = 30, 1, 2


def config():
    return PegasusConfig(
        vocab_size=VOCABULARY,
        d_model=16,
        encoder_layers=0,
        decoder_layers=2,
        decoder_attention_heads=2,
        decoder_ffn_dim=32,
        max_position_embeddings=40,
        pad_token_id=0,
        bos_token_id=START,
        eos_token_id=END,
        decoder_start_token_id=START,
        forced_eos_token_id=None,
        tie_word_embeddings=False,
    )


@pytest.fixture
def both():
    """The decoder of transformers and ours, with equal weights that are large enough for varied output."""
    torch.manual_seed(0)
    theirs, ours = PegasusForConditionalGeneration(config()).eval(), BeamSearchDecoder(config()).eval()
    for parameter in theirs.parameters():
        if parameter.dim() == 2 and parameter.requires_grad:
            torch.nn.init.normal_(parameter, std=0.6)
    ours.load_state_dict(theirs.state_dict())
    return theirs, ours


def audio(rows=6):
    """Utterances of different lengths."""
    lengths = torch.arange(4, 4 + rows)
    mask = (torch.arange(int(lengths.max()))[None] < lengths[:, None]).long()
    return torch.randn(rows, mask.shape[1], 16, generator=torch.Generator().manual_seed(1)), mask


def written(model, beams, rows=6):
    steps, mask = audio(rows)
    settings = {"length_penalty": 0.6, "early_stopping": True} if beams > 1 else {}
    outputs = BaseModelOutput(last_hidden_state=steps)
    return model.generate(
        encoder_outputs=outputs, attention_mask=mask, num_beams=beams, do_sample=False, max_new_tokens=12, **settings
    )


@pytest.mark.parametrize("beams", [1, 2, 5])
@pytest.mark.parametrize("rows", [1, 6])
def test_sequences_equal_those_of_transformers(beams, rows, both):
    theirs, ours = (written(model, beams, rows) for model in both)
    assert torch.equal(theirs, ours) and theirs.unique().numel() > 3


def test_the_audio_is_projected_once_for_all_beams(both, monkeypatch):
    import mmcl.models.beam_search as module

    sizes, attend = set(), module.scaled_dot_product_attention

    def watched(query, key, value, **settings):
        sizes.add((query.shape[0], query.shape[2], key.shape[0]))
        return attend(query, key, value, **settings)

    monkeypatch.setattr(module, "scaled_dot_product_attention", watched)
    written(both[1], beams=5)
    assert sizes == {(6, 5, 6)}


@pytest.mark.parametrize("beams", [2, 5])
def test_finished_utterances_leave_the_decoder_without_changing_the_result(beams, both, monkeypatch):
    for model in both:
        model.final_logits_bias[0, END] = 4.0
    rows, decode = [], both[1].model.decoder.forward

    def watched(*args, **inputs):
        rows.append(len(inputs["input_ids"]))
        return decode(*args, **inputs)

    monkeypatch.setattr(both[1].model.decoder, "forward", watched)
    theirs, ours = (written(model, beams, rows=12) for model in both)
    assert torch.equal(theirs, ours) and len(ours.unique(dim=0)) > 4
    assert rows[0] == 12 * beams and rows == sorted(rows, reverse=True) and rows[-1] < rows[0]
    assert all(count % beams == 0 for count in rows)
    assert_same_logits(both)  # no state remains after a search


def assert_same_logits(both):
    steps, mask = audio()
    tokens = torch.randint(3, VOCABULARY, (6, 7), generator=torch.Generator().manual_seed(2))
    inputs = {"encoder_outputs": BaseModelOutput(last_hidden_state=steps), "attention_mask": mask}
    logits = [model(**inputs, decoder_input_ids=tokens).logits for model in both]
    assert (logits[0] - logits[1]).abs().max() < 1e-5


def test_outside_a_search_the_decoder_equals_that_of_transformers(both):
    assert_same_logits(both)

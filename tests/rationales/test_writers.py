import sys
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from transformers import GPT2Config, GPT2LMHeadModel

from mmcl.encoders.pretrained import quiet
from mmcl.errors import ConfigError, EndpointError, MissingDataError
from mmcl.rationales.writers import EndpointWriter, LocalWriter

PROMPTS = ["one?", "and two?", "or three, or four?"]


def test_endpoint_gets_chat_completion_requests(endpoint, monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "a-key-of-mine")
    writer = EndpointWriter(endpoint.url, "llama", temperature=0.5, longest=20, workers=1)
    written = dict(writer.write(PROMPTS))
    assert written == {n: f"Because. The answer is ( {len(each)}.0 + 1.0 )." for n, each in enumerate(PROMPTS)}
    assert [each["messages"] for each in endpoint.asked] == [[{"role": "user", "content": each}] for each in PROMPTS]
    assert {(each["model"], each["temperature"], each["max_tokens"]) for each in endpoint.asked} == {("llama", 0.5, 20)}
    assert {each["authorization"] for each in endpoint.headers} == {"Bearer a-key-of-mine"}
    assert "a-key-of-mine" not in str(writer.settings)
    list(EndpointWriter(endpoint.url, "llama", key="another").write(PROMPTS[:1]))
    assert endpoint.headers[-1]["authorization"] == "Bearer another"


def test_failed_requests_are_repeated(endpoint):
    endpoint.answers = iter([500, None, 429, 1.5])  # the last answer exceeds the timeout
    written = dict(EndpointWriter(endpoint.url, "llama", workers=1, timeout=0.5).write(PROMPTS))
    assert sorted(written) == [0, 1, 2] and len(endpoint.asked) == 6


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (401, "'llama'.*AuthenticationError"),
        (1.5, "'llama'.*APITimeoutError"),
        ({"choices": []}, "'llama'.*choices"),
        ({"choices": [{"index": 0, "message": {"content": None}}]}, "'llama'.*message.content"),
    ],
)
def test_completions_before_a_failure_are_yielded(endpoint, answer, message):
    endpoint.answers = iter([None, answer])
    written = []
    with pytest.raises(EndpointError, match=message):
        for each in EndpointWriter(endpoint.url, "llama", workers=1, timeout=0.5, retries=0).write(PROMPTS):
            written.append(each)
    assert [number for number, _ in written] == [0]
    assert len(endpoint.asked) == 2  # the third was not sent


def test_an_interruption_sends_no_further_requests(endpoint, monkeypatch):
    submit, count = ThreadPoolExecutor.submit, iter(range(100))

    def interrupted(self, *arguments):
        if next(count) == 4:
            raise KeyboardInterrupt
        return submit(self, *arguments)

    monkeypatch.setattr(ThreadPoolExecutor, "submit", interrupted)
    endpoint.answers = iter([0.4] * 6)  # the first request is under way when the fifth is handed over
    with pytest.raises(KeyboardInterrupt):
        list(EndpointWriter(endpoint.url, "llama", workers=1).write(PROMPTS * 2))
    assert len(endpoint.asked) <= 1


def test_requests_run_concurrently(endpoint):
    endpoint.answers = iter([0.4] * 6)
    assert len(list(EndpointWriter(endpoint.url, "llama", workers=3).write(PROMPTS * 2))) == 6
    assert 2 <= endpoint.most <= 3


def test_invalid_endpoint_settings_are_refused(monkeypatch):
    with pytest.raises(ConfigError, match="'localhost'.*'llama'"):
        EndpointWriter("localhost", "llama")
    with pytest.raises(ConfigError, match="workers.*0"):
        EndpointWriter("http://localhost/v1", "llama", workers=0)
    monkeypatch.setitem(sys.modules, "openai", None)
    with pytest.raises(ConfigError, match=r"pip install 'mmcl\[endpoint\]'"):
        EndpointWriter("http://localhost/v1", "llama")


@pytest.fixture
def decoder(student, tmp_path):
    """Folder of an untrained GPT-2, a decoder that continues a text."""
    sizes = {"n_positions": 200, "n_embd": 16, "n_layer": 1, "n_head": 2}
    ends = {"bos_token_id": 1, "eos_token_id": 1, "pad_token_id": 0}
    torch.manual_seed(0)
    with quiet():
        GPT2LMHeadModel(GPT2Config(vocab_size=len(student.tokenizer), **sizes, **ends)).save_pretrained(tmp_path)
        student.tokenizer.save_pretrained(tmp_path)
    return tmp_path


@pytest.mark.parametrize("kind", ["decoder", "t5"])
def test_local_model_writes_reproducibly(kind, student, request, tmp_path):
    if kind == "decoder":
        folder = request.getfixturevalue("decoder")
    else:
        student.save(folder := tmp_path)
    writer = LocalWriter(folder, longest=6, batch_size=2, temperature=1.0)
    written = dict(writer.write(PROMPTS))
    assert sorted(written) == [0, 1, 2] and any(written.values())
    state = torch.get_rng_state()
    assert dict(writer.write(PROMPTS)) == written  # follows the seed
    assert torch.equal(torch.get_rng_state(), state)
    assert dict(writer.write(PROMPTS, 3)) != written  # later samples differ
    assert dict(LocalWriter(folder, longest=6, batch_size=2, temperature=1.0, seed=1).write(PROMPTS)) != written
    likeliest = dict(LocalWriter(folder, longest=6, batch_size=3, temperature=0).write(PROMPTS))
    alone = LocalWriter(folder, longest=6, batch_size=1, temperature=0)
    assert likeliest == dict(alone.write(PROMPTS))  # padding does not change results
    assert not any(prompt in text for prompt, text in zip(PROMPTS, likeliest.values(), strict=True))


def test_chat_template_is_used(decoder):
    writer = LocalWriter(decoder, longest=4, batch_size=3, temperature=0)
    asked = []
    generate = writer.model.generate
    writer.model.generate = lambda **given: asked.append(given["input_ids"]) or generate(**given)
    writer.tokenizer.chat_template = "{% for m in messages %}user says {{ m.content }} and{% endfor %}"
    list(writer.write(PROMPTS))
    texts = writer.tokenizer.batch_decode(asked[0], skip_special_tokens=True)
    assert [text.strip() for text in texts] == [f"user says {each} and" for each in PROMPTS]


def test_invalid_local_models_are_refused(weights_dir, decoder):
    with pytest.raises(MissingDataError, match="'nowhere'"):
        LocalWriter("nowhere")
    with pytest.raises(ConfigError, match="'whisper'"):
        LocalWriter(weights_dir / "whisper-base-encoder")
    with pytest.raises(ConfigError, match="batch_size.*0"):
        LocalWriter(decoder, batch_size=0)

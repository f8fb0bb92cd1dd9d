"""Language models that write rationales, behind an OpenAI-compatible HTTP endpoint or on this machine."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, as_completed
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from mmcl.errors import ConfigError, EndpointError

if TYPE_CHECKING:
    from openai import OpenAI

Completion = tuple[int, str]  # index of the prompt, and text of the completion


class Writer(Protocol):
    """Protocol of a language model that writes completions.

    Attributes:
        settings: settings that all completions of a file must share; never holds API keys.
    """

    settings: dict[str, Any]

    def write(self, prompts: Sequence[str], done: int = 0) -> Iterator[Completion]:
        """Yield completions as they arrive, in any order; ``done`` is the number of earlier completions."""
        ...


class EndpointWriter:
    """Request completions from an OpenAI-compatible chat endpoint, such as vLLM, llama.cpp, Ollama or a provider.

    A request is repeated after a timeout, a rate limit or a server error. The pause grows each time, unless the
    endpoint asks for a certain pause.

    Args:
        url: URL of the endpoint, up to ``/v1``.
        model: name of the model at the endpoint.
        key: API key, sent to the endpoint and stored nowhere; None reads the environment variable ``OPENAI_API_KEY``.
            Endpoints on the same machine need none.
        temperature: sampling temperature.
        longest: largest number of tokens of a completion.
        timeout: timeout of a request in seconds.
        retries: number of repeated requests after a failure.
        workers: number of concurrent requests.

    Raises:
        ConfigError: a setting is invalid, or the package ``openai`` is not installed.
        EndpointError: a request failed after all retries, or a response has no text; earlier completions are yielded.
    """

    def __init__(
        self,
        url: str,
        model: str,
        *,
        key: str | None = None,
        temperature: float = 0.7,
        longest: int = 256,
        timeout: float = 60.0,
        retries: int = 6,
        workers: int = 4,
    ) -> None:
        if not url.startswith(("http://", "https://")) or not model:
            raise ConfigError(f"url is '{url}' and model '{model}', expected http(s)://... and a model name")
        if temperature < 0 or longest < 1 or timeout <= 0 or retries < 0 or workers < 1:
            raise ConfigError(
                f"temperature={temperature}, longest={longest}, timeout={timeout}, retries={retries}, "
                f"workers={workers}: expected temperature and retries of 0 or more, and the others above 0"
            )
        try:
            import openai  # noqa: F401
        except ImportError:
            raise ConfigError("an endpoint needs the package openai: pip install 'mmcl[endpoint]'") from None
        self.settings: dict[str, Any] = {"url": url, "model": model, "temperature": temperature, "longest": longest}
        self.workers = workers
        key = key or os.environ.get("OPENAI_API_KEY") or "none"
        self._client: dict[str, Any] = {"base_url": url, "api_key": key, "timeout": timeout, "max_retries": retries}

    def write(self, prompts: Sequence[str], done: int = 0) -> Iterator[Completion]:
        """Yield completions as they arrive; after a failure, requests already sent are still awaited and yielded."""
        from openai import OpenAI

        failure: EndpointError | None = None
        stop = threading.Event()
        with OpenAI(**self._client) as client, ThreadPoolExecutor(self.workers) as pool:
            try:
                requests: dict[Future[str | None], int] = {
                    pool.submit(self._request, client, prompt, stop): number for number, prompt in enumerate(prompts)
                }
                for request in as_completed(requests):
                    try:
                        text = request.result()
                    except EndpointError as error:
                        failure = failure or error
                        continue
                    if text is not None:
                        yield requests[request], text
            finally:
                stop.set()  # requests not yet sent are dropped
        if failure is not None:
            raise failure

    def _request(self, client: OpenAI, prompt: str, stop: threading.Event) -> str | None:
        """Return the completion, or None once a request has failed."""
        if stop.is_set():
            return None
        try:
            return self._completion(client, prompt)
        except EndpointError:
            stop.set()
            raise

    def _completion(self, client: OpenAI, prompt: str) -> str:
        from openai import OpenAIError

        settings = self.settings
        try:
            response = client.chat.completions.create(
                model=settings["model"],
                messages=[{"role": "user", "content": prompt}],
                temperature=settings["temperature"],
                max_tokens=settings["longest"],
            )
        except OpenAIError as error:
            reason = " ".join(str(error).split())[:200]
            raise EndpointError(
                f"{settings['url']} failed for model '{settings['model']}' ({type(error).__name__}: {reason}): "
                "check that it runs and that the key is right, then run the same command again"
            ) from None
        text = response.choices[0].message.content if getattr(response, "choices", None) else None
        if not isinstance(text, str):
            raise EndpointError(
                f"the response of {settings['url']} for model '{settings['model']}' has no text in "
                "choices[0].message.content: pass the URL of a chat completions endpoint"
            )
        return text


class LocalWriter:
    """Generate completions with a transformers model on this machine: a decoder such as Llama or Qwen, or a T5.

    Prompts are formatted with the tokenizer's chat template if it has one. Samples are reproducible given ``seed``, the
    prompts and the number of earlier completions.

    Args:
        name: hub id or folder of a model.
        download: download the model from the hub if it is not on this machine.
        temperature: sampling temperature; 0 decodes greedily.
        longest: largest number of tokens of a completion.
        batch_size: prompts per batch.
        device: where the model runs.
        seed: seed of the sampling.

    Raises:
        MissingDataError, DataError, ConfigError: see :func:`~mmcl.encoders.pretrained.pretrained_audio`.
    """

    def __init__(
        self,
        name: str | Path,
        *,
        download: bool = False,
        temperature: float = 0.7,
        longest: int = 256,
        batch_size: int = 8,
        device: str = "cpu",
        seed: int = 0,
    ) -> None:
        from mmcl.encoders.pretrained import pretrained_language_model

        if temperature < 0 or longest < 1 or batch_size < 1:
            raise ConfigError(
                f"temperature={temperature}, longest={longest}, batch_size={batch_size}: expected a temperature of "
                "0 or more, and the others above 0"
            )
        self.model, self.tokenizer = pretrained_language_model(name, download=download)
        self.model.to(device).eval()
        self.tokenizer.padding_side = "left"
        self.tokenizer.pad_token = self.tokenizer.pad_token or self.tokenizer.eos_token
        self.settings: dict[str, Any] = {
            "model": Path(name).name,
            "temperature": temperature,
            "longest": longest,
            "seed": seed,
        }
        self.batch_size = batch_size

    def write(self, prompts: Sequence[str], done: int = 0) -> Iterator[Completion]:
        """Yield completions, in batches of prompts of similar length."""
        import torch

        order = sorted(range(len(prompts)), key=lambda number: len(prompts[number]))
        for start in range(0, len(order), self.batch_size):
            numbers = order[start : start + self.batch_size]
            with torch.random.fork_rng(), torch.no_grad():
                torch.manual_seed(1_000_003 * self.settings["seed"] + done + start)  # a new seed for each batch
                texts = self._batch([prompts[number] for number in numbers])
            yield from zip(numbers, texts, strict=True)

    def _batch(self, prompts: list[str]) -> list[str]:
        if self.tokenizer.chat_template:
            prompts = [
                self.tokenizer.apply_chat_template(
                    [{"role": "user", "content": prompt}], tokenize=False, add_generation_prompt=True
                )
                for prompt in prompts
            ]
        tokens = self.tokenizer(
            prompts, return_tensors="pt", padding=True, add_special_tokens=not self.tokenizer.chat_template
        ).to(self.model.device)
        temperature = self.settings["temperature"]
        sampling = {"do_sample": True, "temperature": temperature} if temperature else {"do_sample": False}
        output = self.model.generate(
            input_ids=tokens["input_ids"],
            attention_mask=tokens["attention_mask"],
            max_new_tokens=self.settings["longest"],
            pad_token_id=self.tokenizer.pad_token_id,
            **sampling,
        )
        if not self.model.config.is_encoder_decoder:
            output = output[:, tokens["input_ids"].shape[1] :]
        texts: list[str] = self.tokenizer.batch_decode(output, skip_special_tokens=True)
        return texts

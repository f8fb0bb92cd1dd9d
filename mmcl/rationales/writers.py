"""Writers: large language models that explain, behind an HTTP endpoint of OpenAI's kind or on this machine."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, as_completed
from pathlib import Path
from typing import Any, Protocol

from mmcl.errors import ConfigError, EndpointError

Written = tuple[int, str]  # the number of a prompt, and what was written to it


class Writer(Protocol):
    """What writes completions.

    ``settings`` are those that completions of one file must have in common, without keys.
    """

    settings: dict[str, Any]

    def write(self, prompts: Sequence[str], done: int = 0) -> Iterator[Written]:
        """Yield completions as they come, in any order; ``done`` were written before."""
        ...


class EndpointWriter:
    """Ask a chat endpoint of OpenAI's kind, such as those of vLLM, llama.cpp, Ollama or a provider.

    A request that times out, meets a limit of the endpoint or its failure is sent again, each time after a longer
    pause, or after that which the endpoint asks for.

    Args:
        url: of the endpoint, up to ``/v1``.
        model: that it is asked for.
        key: None takes that in the environment variable ``OPENAI_API_KEY``; endpoints on one's own machine need none.
            It is sent to the endpoint and written nowhere.
        temperature: of samples.
        longest: tokens of a completion at most.
        timeout: seconds that a request may take.
        retries: of a request.
        workers: requests at a time.

    Raises:
        ConfigError: settings that cannot be, or the package ``openai`` is not installed.
        EndpointError: a request failed in the end, or the answer has no text; what came before was yielded.
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
            raise ConfigError(f"url is '{url}' and model '{model}', expected http(s)://... and the name of a model")
        if temperature < 0 or longest < 1 or timeout <= 0 or retries < 0 or workers < 1:
            raise ConfigError(
                f"temperature={temperature}, longest={longest}, timeout={timeout}, retries={retries}, "
                f"workers={workers}: expected 0 or more retries and degrees, and more than 0 of the others"
            )
        try:
            import openai  # noqa: F401
        except ImportError:
            raise ConfigError("endpoints need the package openai: pip install 'mmcl[endpoint]'") from None
        self.settings: dict[str, Any] = {"url": url, "model": model, "temperature": temperature, "longest": longest}
        self.workers = workers
        key = key or os.environ.get("OPENAI_API_KEY") or "none"
        self._client: dict[str, Any] = {"base_url": url, "api_key": key, "timeout": timeout, "max_retries": retries}

    def write(self, prompts: Sequence[str], done: int = 0) -> Iterator[Written]:
        """Yield completions as they come; what is under way when a request fails is waited for and yielded too."""
        from openai import OpenAI

        failure: EndpointError | None = None
        stop = threading.Event()
        with OpenAI(**self._client) as client, ThreadPoolExecutor(self.workers) as pool:
            asked: dict[Future[str | None], int] = {
                pool.submit(self._ask, client, prompt, stop): number for number, prompt in enumerate(prompts)
            }
            try:
                for answered in as_completed(asked):
                    try:
                        text = answered.result()
                    except EndpointError as error:
                        failure = failure or error
                        continue
                    if text is not None:
                        yield asked[answered], text
            finally:
                stop.set()  # an interrupted writer leaves what has not begun
        if failure is not None:
            raise failure

    def _ask(self, client: Any, prompt: str, stop: threading.Event) -> str | None:
        """The completion; None once a request has failed."""
        if stop.is_set():
            return None
        try:
            return self._completion(client, prompt)
        except EndpointError:
            stop.set()
            raise

    def _completion(self, client: Any, prompt: str) -> str:
        from openai import OpenAIError

        settings = self.settings
        try:
            answer = client.chat.completions.create(
                model=settings["model"],
                messages=[{"role": "user", "content": prompt}],
                temperature=settings["temperature"],
                max_tokens=settings["longest"],
            )
        except OpenAIError as error:
            reason = " ".join(str(error).split())[:200]
            raise EndpointError(
                f"{settings['url']} failed for model '{settings['model']}' ({type(error).__name__}: {reason}): "
                "see that it runs and the key is right, then run the same again"
            ) from None
        text = answer.choices[0].message.content if getattr(answer, "choices", None) else None
        if not isinstance(text, str):
            raise EndpointError(
                f"{settings['url']} answered without a text for model '{settings['model']}', expected "
                "choices[0].message.content: is it an endpoint of chat completions?"
            )
        return text


class LocalWriter:
    """Write with a language model on this machine, through transformers: decoders such as Llama or Qwen, or T5's kind.

    Prompts go through the template of chats where the tokenizer has one. What is drawn follows ``seed``, the prompts,
    and how many were written before.

    Args:
        name: hub id or folder of a model.
        download: fetch what is not on this machine from the hub.
        temperature: of samples; 0 takes the likeliest tokens.
        longest: tokens of a completion at most.
        batch_size: prompts at a time.
        device: where the model runs.
        seed: of what is drawn.

    Raises:
        MissingDataError, DataError, ConfigError: as :func:`~mmcl.encoders.pretrained.pretrained_audio`.
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
                f"temperature={temperature}, longest={longest}, batch_size={batch_size}: expected 0 or more degrees, "
                "and more than 0 of the others"
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

    def write(self, prompts: Sequence[str], done: int = 0) -> Iterator[Written]:
        """Yield completions, a batch of prompts of nearly one length at a time."""
        import torch

        order = sorted(range(len(prompts)), key=lambda number: len(prompts[number]))
        for start in range(0, len(order), self.batch_size):
            numbers = order[start : start + self.batch_size]
            with torch.random.fork_rng(), torch.no_grad():
                torch.manual_seed(1_000_003 * self.settings["seed"] + done + start)  # none is drawn twice
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
        sampled = {"do_sample": True, "temperature": temperature} if temperature else {"do_sample": False}
        written = self.model.generate(
            input_ids=tokens["input_ids"],
            attention_mask=tokens["attention_mask"],
            max_new_tokens=self.settings["longest"],
            pad_token_id=self.tokenizer.pad_token_id,
            **sampled,
        )
        if not self.model.config.is_encoder_decoder:
            written = written[:, tokens["input_ids"].shape[1] :]
        texts: list[str] = self.tokenizer.batch_decode(written, skip_special_tokens=True)
        return texts

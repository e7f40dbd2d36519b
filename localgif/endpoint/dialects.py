"""What servers call the fields that OpenAI does not have, and how each of them counts a prompt's tokens. Pure.

A body as `translate.py` makes it speaks llama.cpp's dialect. vLLM ignores names that it does not know, so a wrong one
would be a setting that silently does nothing.
"""

from __future__ import annotations

import re
from typing import Any

from localgif.endpoint.backend import Upstream

#: Without a name of its own in vLLM: it looks at the whole context for repetitions, and has no typical sampling.
_NOT_IN_VLLM = ("repeat_last_n", "typical_p", "repeat_penalty")

#: Shorter prompts than this, bytes, are not judged by their count: fixed parts of a template weigh too much in them.
_LONG = 2000
#: No tokenizer in use packs more bytes of text into a token on average, once long runs of one character are shortened.
_BYTES_A_TOKEN = 8
_RUN = re.compile(r"(\s)\s{2,}|(.)\2{3,}", re.S)


def adapted(body: dict[str, Any], upstream: Upstream) -> dict[str, Any]:
    """The request body in the upstream's own words, with the model's name over there."""
    body = {**body, "model": upstream.model}
    if upstream.dialect != "vllm":
        return body
    if "repeat_penalty" in body:
        body["repetition_penalty"] = body["repeat_penalty"]
    for name in _NOT_IN_VLLM:
        body.pop(name, None)
    effort = body.get("chat_template_kwargs", {}).get("reasoning_effort")
    if effort is not None:
        body["reasoning_effort"] = effort
    body["messages"] = [
        {"reasoning" if name == "reasoning_content" else name: value for name, value in message.items()}
        for message in body["messages"]
    ]
    return body


def counting_request(body: dict[str, Any], upstream: Upstream) -> tuple[str, dict[str, Any], str] | None:
    """How to have the prompt counted, chat template included: path, body, and where in the answer the number is.

    None when servers of this kind do not count.
    """
    body = adapted(body, upstream)
    if upstream.dialect == "llama.cpp":
        return "/v1/chat/completions/input_tokens", body, "input_tokens"
    if upstream.dialect == "vllm":
        kept = ("model", "messages", "chat_template_kwargs")
        asked = {name: body[name] for name in kept if name in body}
        return "/tokenize", {**asked, "add_generation_prompt": True}, "count"
    return None


def cut_silently(body: dict[str, Any], prompt_tokens: int) -> bool:
    """Whether a server that says so few tokens of this prompt cannot have read all of it."""
    text = "\n".join(message["content"] for message in body["messages"] if isinstance(message.get("content"), str))
    size = len(_RUN.sub(r"\1\2", text).encode("utf-8", "replace"))
    return size >= _LONG and prompt_tokens * _BYTES_A_TOKEN < size


#: vLLM's and LM Studio's ways to say how large the window is, how much was asked, and how long the answer may get.
_WINDOW = re.compile(r"context (?:length|size|window)(?: is| of)?(?: only)? (\d+)")
_ASKED = re.compile(r"(at least )?\b(\d+) (?:(?:tokens )?in the (?:messages|prompt|input)|input tokens)")
_ANSWER = re.compile(r"(\d+) in the completion|requested (\d+) output tokens|too large: (\d+)")
_TOO_MUCH = re.compile(r"context.*(?:exceed|too (?:long|large|many)|larger|greater|not enough|overflow)", re.S)


def overflow_words(text: str) -> str:
    """llama.cpp's words for a refusal that says, in any server's words, that the window is too small; else the text.

    Clients know these words: our own turn them into the advice to raise num_ctx.
    """
    if "exceeds the available context size" in text:
        return text
    window, asked = _WINDOW.search(text), _ASKED.search(text)
    if window is None or asked is None:
        unclear = window is not None or _TOO_MUCH.search(text)
        return f"request exceeds the available context size (the server says: {text})" if unclear else text
    prompt, size = int(asked[2]), int(window[1])
    words = f"{asked[1] or ''}{prompt} tokens"
    if prompt >= size:
        return f"request ({words}) exceeds the available context size ({size} tokens), try increasing it"
    answer = _ANSWER.search(text)
    longest = f" of {next(group for group in answer.groups() if group)} tokens" if answer else ""
    return (
        f"request ({words}) and an answer{longest}: together that exceeds the available context size ({size} tokens), "
        "lower num_predict or try increasing it"
    )

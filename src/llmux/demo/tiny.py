"""Makes models for a real llama.cpp that are tiny, random, and say who they are.

All words of a model begin with one letter, so that an answer from the wrong model shows. One
dimension of the hidden state is constant and pushes every output into words and away from bytes
and ends, so an answer goes on until it is told to stop. Importing this needs gguf and
numpy, which come with the extra `llamacpp`.
"""

from __future__ import annotations

import random
import string
from pathlib import Path

import gguf
import numpy as np

TEMPLATE = "{% for m in messages %}{{ m['content'] }}{% endfor %}"
_WORDS = 200
_BIAS = 12.0


def words_of(letter: str) -> list[str]:
    """The words that the model of a letter knows."""
    chance = random.Random(letter)
    found: dict[str, None] = {}
    while len(found) < _WORDS:
        length = chance.randrange(3, 8)
        found[letter + "".join(chance.choices(string.ascii_lowercase, k=length))] = None
    return list(found)


def make_model(path: Path, letter: str, *, hidden: int = 64, layers: int = 2) -> Path:
    """Write a model of the llama architecture with random weights; about 0.7 MB by default."""
    writer = gguf.GGUFWriter(path, "llama")
    heads = max(1, hidden // 32)
    writer.add_name(f"tiny-{letter}")
    writer.add_context_length(4096)
    writer.add_embedding_length(hidden)
    writer.add_block_count(layers)
    writer.add_feed_forward_length(hidden * 2)
    writer.add_head_count(heads)
    writer.add_head_count_kv(heads)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_rope_dimension_count(hidden // heads)
    _add_tokens(writer, letter)
    _add_weights(writer, letter, hidden, layers)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def _add_tokens(writer: gguf.GGUFWriter, letter: str) -> None:
    special = ["<unk>", "<s>", "</s>"]
    single = [f"<0x{number:02X}>" for number in range(256)]
    words = ["\u2581" + word for word in words_of(letter)]
    kinds = [gguf.TokenType.UNKNOWN, gguf.TokenType.CONTROL, gguf.TokenType.CONTROL]
    kinds += [gguf.TokenType.BYTE] * 256 + [gguf.TokenType.NORMAL] * len(words)
    writer.add_tokenizer_model("llama")
    writer.add_token_list(special + single + words)
    writer.add_token_scores([0.0] * (3 + 256) + [-1.0] * len(words))
    writer.add_token_types(kinds)
    writer.add_unk_token_id(0)
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    writer.add_add_bos_token(True)
    writer.add_chat_template(TEMPLATE)


def _add_weights(writer: gguf.GGUFWriter, letter: str, hidden: int, layers: int) -> None:
    chance = np.random.default_rng(ord(letter))
    vocabulary = 3 + 256 + _WORDS

    def matrix(rows: int, columns: int) -> np.ndarray:
        return chance.normal(0, 0.5 / np.sqrt(columns), (rows, columns)).astype(np.float16)

    def ones() -> np.ndarray:
        return np.ones(hidden, dtype=np.float32)

    embedding = matrix(vocabulary, hidden)
    embedding[:, 0] = 1.0
    output = matrix(vocabulary, hidden) * np.float16(8)
    output[:, 0] = -_BIAS
    output[3 + 256 :, 0] = _BIAS
    writer.add_tensor("token_embd.weight", embedding)
    writer.add_tensor("output_norm.weight", ones())
    writer.add_tensor("output.weight", output)
    for layer in range(layers):
        block = f"blk.{layer}."
        writer.add_tensor(block + "attn_norm.weight", ones())
        for part in ("q", "k", "v", "output"):
            square = matrix(hidden, hidden)
            if part == "output":
                square[0] = 0.0
            writer.add_tensor(f"{block}attn_{part}.weight", square)
        writer.add_tensor(block + "ffn_norm.weight", ones())
        writer.add_tensor(block + "ffn_gate.weight", matrix(hidden * 2, hidden))
        writer.add_tensor(block + "ffn_up.weight", matrix(hidden * 2, hidden))
        down = matrix(hidden, hidden * 2)
        down[0] = 0.0
        writer.add_tensor(block + "ffn_down.weight", down)

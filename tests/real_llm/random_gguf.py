"""Write a llama of a few random weights as GGUF: it talks gibberish, over a real server.

    pip install gguf xllamacpp      # xllamacpp: llama.cpp's own server in a wheel
    python tests/real_llm/random_gguf.py serve 8080

``write FILE`` only writes the file, for a server of your own (``llama-server -m FILE --jinja``).
Nothing here is imported by the package or its other tests.
"""

from __future__ import annotations

import sys
import tempfile
import time
from pathlib import Path

import gguf
import numpy as np

WIDTH, HEADS, LAYERS, HIDDEN, CONTEXT = 64, 4, 2, 128, 8_192
WORDS = (
    "▁", "▁the", "▁bread", "▁is", "▁seven", "▁and", "▁hour", "ed", "ing", "er", "on", ".", ",",
    *"abcdefghijklmnopqrstuvwxyz",
)  # fmt: skip
KIND = gguf.TokenType
TEMPLATE = (
    "{% for message in messages %}[{{ message.role }}] {{ message.content or '' }}\n{% endfor %}"
    "{% if add_generation_prompt %}[assistant] {% endif %}"
)


def write(path: Path) -> None:
    """Write the model."""
    tokens = ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256)), *WORDS]
    size = len(tokens)
    out = gguf.GGUFWriter(path, "llama")
    out.add_context_length(CONTEXT)
    out.add_embedding_length(WIDTH)
    out.add_block_count(LAYERS)
    out.add_feed_forward_length(HIDDEN)
    out.add_head_count(HEADS)
    out.add_head_count_kv(HEADS)
    out.add_rope_dimension_count(WIDTH // HEADS)
    out.add_layer_norm_rms_eps(1e-5)
    out.add_vocab_size(size)
    kinds = [KIND.UNKNOWN, KIND.CONTROL, KIND.CONTROL] + [KIND.BYTE] * 256
    kinds += [KIND.NORMAL] * (size - len(kinds))
    out.add_tokenizer_model("llama")
    out.add_token_list(tokens)
    out.add_token_scores([-float(number) for number in range(size)])
    out.add_token_types(kinds)
    out.add_bos_token_id(1)
    out.add_eos_token_id(2)
    out.add_chat_template(TEMPLATE)
    chance = np.random.default_rng(1)

    def weight(name: str, *shape: int) -> None:
        out.add_tensor(name, chance.normal(0, 0.1, shape).astype(np.float32))

    weight("token_embd.weight", size, WIDTH)
    weight("output.weight", size, WIDTH)
    out.add_tensor("output_norm.weight", np.ones(WIDTH, dtype=np.float32))
    for layer in range(LAYERS):
        for norm in ("attn_norm", "ffn_norm"):
            out.add_tensor(f"blk.{layer}.{norm}.weight", np.ones(WIDTH, dtype=np.float32))
        for part in ("attn_q", "attn_k", "attn_v", "attn_output"):
            weight(f"blk.{layer}.{part}.weight", WIDTH, WIDTH)
        weight(f"blk.{layer}.ffn_gate.weight", HIDDEN, WIDTH)
        weight(f"blk.{layer}.ffn_up.weight", HIDDEN, WIDTH)
        weight(f"blk.{layer}.ffn_down.weight", WIDTH, HIDDEN)
    out.write_header_to_file()
    out.write_kv_data_to_file()
    out.write_tensors_to_file()
    out.close()


def serve(port: int) -> None:
    """Serve it by llama.cpp's HTTP server until interrupted."""
    import xllamacpp

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "random.gguf"
        write(path)
        params = xllamacpp.CommonParams()
        params.model.path = str(path)
        params.model_alias = {"random"}
        params.n_ctx = CONTEXT
        params.n_parallel = 1
        params.port = port
        params.use_jinja = True
        server = xllamacpp.Server(params)
        print(server.listening_address, flush=True)
        while True:
            time.sleep(3_600)


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["write", file]:
            write(Path(file))
        case ["serve", port]:
            serve(int(port))
        case _:
            sys.exit(__doc__)

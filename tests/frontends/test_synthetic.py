"""Made-up weights: deterministic, of the right shapes and size, for every architecture."""

import json

import numpy as np
import pytest
from hf_models import CONFIGS, make

from flightllm.errors import ModelError
from flightllm.frontends import load_model
from flightllm.ir.verify import verify_graph


@pytest.mark.parametrize("name", CONFIGS)
def test_shapes_need_no_weights(name, tmp_path):
    CONFIGS[name].save_pretrained(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    config["model_type"] = CONFIGS[name].model_type
    (tmp_path / "config.json").write_text(json.dumps(config))
    graph = load_model(tmp_path, synthetic=1)
    verify_graph(graph)
    real = {n: tuple(p.shape) for n, p in make(name).named_parameters()}
    made = sum(np.prod(n.op.weight.shape) for n in graph.linears() if n.name != "lm_head")
    want = sum(
        np.prod(s)
        for n, s in real.items()
        if len(s) == 2 and not any(x in n for x in ("embed", "wte", "wpe", "lm_head"))
    )
    assert made == want


def test_weights_depend_on_seed_and_place_only(tmp_path):
    CONFIGS["llama"].save_pretrained(tmp_path)
    a, b, c = (load_model(tmp_path, synthetic=s) for s in (1, 1, 2))
    first = a["layers.0.attn.q"].op.weight.read()
    assert np.array_equal(first, b["layers.0.attn.q"].op.weight.read())
    assert not np.array_equal(first, c["layers.0.attn.q"].op.weight.read())
    assert not np.array_equal(first, a["layers.1.attn.q"].op.weight.read())
    big = a["layers.0.mlp.up"].op.weight.read()
    assert abs(big.std() - 0.02) < 1e-3
    assert abs(big.mean()) < 2e-3
    (tmp_path / "config.json").unlink()
    with pytest.raises(ModelError, match=r"config\.json"):
        load_model(tmp_path, synthetic=1)

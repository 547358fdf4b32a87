"""ONNX frontend: exports of decoder LLMs into the canonical graph.

Read are exports of torch.onnx.export(dynamo=True) (opset 23 with Attention, RMSNormalization and RotaryEmbedding nodes, and older
opsets where these are spelled out), with or without KV cache, and models of ONNX Runtime GenAI (com.microsoft operators). The
graph is followed back from the logits by data flow; names of nodes play no part.

Reading order: reader (file), flow (what depends on what), match / operators / attention / rope / genai / pointwise (what is
there), run / pieces / interpret / attend / masks (is it laid out and masked as it must be), roles (canonical names), info (other files).
"""

from flightllm.frontends.onnx.load import check_onnx, load_onnx

__all__ = ["check_onnx", "load_onnx"]

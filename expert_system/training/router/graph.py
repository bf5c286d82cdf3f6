"""The trained encoder as an ONNX graph with INT8 weights.

    RouterModel -> nodes (DynamicQuantizeMatMul, MultiHeadAttention, SkipLayerNormalization ...) -> encoder.onnx

Promise: one text or several of one length go in without padding, so no mask is computed; weights are quantised by output
channel, token embeddings by row, activations while it runs.
Source: contrib operators of ONNX Runtime, https://onnxruntime.ai/docs (ContribOperators), domain com.microsoft.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from expert_system.training.router.model import ATTENTION_HEADS, EPSILON, HIDDEN

if TYPE_CHECKING:
    from expert_system.training.router.model import RouterModel

OPSET = 17
IR_VERSION = 8
CONTRIB = "com.microsoft"
INT8_MAX = 127

Floats = NDArray[np.float32]


class Graph:
    """Nodes and constants of a graph, in the order in which they are added."""

    def __init__(self) -> None:
        """Begin with nothing."""
        self.nodes: list[Any] = []
        self.constants: list[Any] = []

    def constant(self, name: str, values: NDArray[Any]) -> str:
        """Add a constant; gives its name."""
        from onnx import numpy_helper

        self.constants.append(numpy_helper.from_array(np.ascontiguousarray(values), name))
        return name

    def add(self, operator: str, inputs: list[str], outputs: list[str], domain: str = "", **attributes: Any) -> str:
        """Add a node; gives the name of its first output."""
        from onnx import helper

        self.nodes.append(helper.make_node(operator, inputs, outputs, domain=domain, **attributes))
        return outputs[0]

    def linear(self, x: str, name: str, weight: Floats, bias: Floats) -> str:
        """x @ weight.T + bias with the weight in INT8; weight is (out, in)."""
        values, scale = quantised(weight.T, axis=0)
        inputs = [
            x,
            self.constant(f"{name}.weight", values),
            self.constant(f"{name}.scale", scale[0]),
            self.constant(f"{name}.zero", np.zeros(len(bias), dtype=np.int8)),
            self.constant(f"{name}.bias", bias),
        ]
        return self.add("DynamicQuantizeMatMul", inputs, [name], CONTRIB)

    def small_linear(self, x: str, name: str, weight: Floats) -> str:
        """x @ weight.T in float32; for the last step, which costs nothing."""
        return self.add("MatMul", [x, self.constant(f"{name}.weight", weight.T)], [name])


def quantised(values: Floats, axis: int) -> tuple[NDArray[np.int8], Floats]:
    """Symmetric INT8 and the scale along an axis, which stays as a dimension of 1: values = int8 * scale."""
    scale = np.maximum(np.abs(values).max(axis=axis, keepdims=True) / INT8_MAX, 1e-12).astype(np.float32)
    return np.clip(np.round(values / scale), -INT8_MAX, INT8_MAX).astype(np.int8), scale


def onnx_bytes(model: RouterModel, max_tokens: int) -> bytes:
    """The file's content: input ids (b, t); outputs embedding (b, dimension) and a distribution for each head."""
    from onnx import TensorProto, helper

    weights = {name: value.detach().numpy().astype(np.float32) for name, value in model.state_dict().items()}
    graph = Graph()
    x = _embedded(graph, weights, max_tokens)
    for place in range(len(model.trunk.layers)):
        x = _layer(graph, weights, f"trunk.layers.{place}", x)
    pooled = graph.add("ReduceMean", [x], ["pooled"], axes=[1], keepdims=0)
    projected = graph.small_linear(pooled, "projected", weights["projection.weight"])
    graph.add("LpNormalization", [projected], ["embedding"], axis=1, p=2)
    outputs = [helper.make_tensor_value_info("embedding", TensorProto.FLOAT, ["b", model.projection.out_features])]
    for head, layer in model.heads.items():
        logits = graph.small_linear(pooled, f"{head}.sums", weights[f"heads.{head}.weight"])
        bias = graph.constant(f"{head}.bias", weights[f"heads.{head}.bias"])
        graph.add("Softmax", [graph.add("Add", [logits, bias], [f"{head}.logits"])], [head], axis=1)
        outputs.append(helper.make_tensor_value_info(head, TensorProto.FLOAT, ["b", layer.out_features]))
    inputs = [helper.make_tensor_value_info("ids", TensorProto.INT64, ["b", "t"])]
    opsets = [helper.make_opsetid("", OPSET), helper.make_opsetid(CONTRIB, 1)]
    content = helper.make_model(
        helper.make_graph(graph.nodes, "router encoder", inputs, outputs, graph.constants),
        opset_imports=opsets,
        ir_version=IR_VERSION,
        producer_name="expert-system",
    )
    return bytes(content.SerializeToString(deterministic=True))


def _embedded(graph: Graph, weights: dict[str, Floats], max_tokens: int) -> str:
    from onnx import TensorProto

    words, scale = quantised(weights["trunk.words.weight"], axis=1)
    rows = graph.add("Gather", [graph.constant("words", words), "ids"], ["words.rows"])
    scales = graph.add("Gather", [graph.constant("words.scale", scale), "ids"], ["words.scales"])
    whole = graph.add("Cast", [rows], ["words.float"], to=TensorProto.FLOAT)
    found = graph.add("Mul", [whole, scales], ["words.values"])
    length = graph.add("Shape", ["ids"], ["length"], start=1, end=2)
    table = graph.constant("positions", weights["trunk.positions.weight"][:max_tokens])
    first = graph.constant("first", np.array([0], dtype=np.int64))
    positions = graph.add("Slice", [table, first, length], ["positions.values"])
    norm = [graph.constant(f"norm.{part}", weights[f"trunk.norm.{part}"]) for part in ("weight", "bias")]
    total = graph.add("Add", [found, positions], ["tokens"])
    return graph.add("LayerNormalization", [total, *norm], ["tokens.normal"], epsilon=EPSILON)


def _layer(graph: Graph, weights: dict[str, Floats], name: str, x: str) -> str:
    def linear(source: str, part: str) -> str:
        return graph.linear(source, f"{name}.{part}", weights[f"{name}.{part}.weight"], weights[f"{name}.{part}.bias"])

    def normal(source: str, skipped: str, part: str) -> str:
        constants = [
            graph.constant(f"{name}.{part}.{kind}", weights[f"{name}.{part}.{kind}"]) for kind in ("weight", "bias")
        ]
        return graph.add(
            "SkipLayerNormalization", [source, skipped, *constants], [f"{name}.{part}"], CONTRIB, epsilon=EPSILON
        )

    sizes = graph.constant(f"{name}.sizes", np.array([HIDDEN] * 3, dtype=np.int64))
    parts = [f"{name}.{part}" for part in ("query", "key", "value")]
    graph.add("Split", [linear(x, "qkv"), sizes], parts, axis=2)
    attended = graph.add("MultiHeadAttention", parts, [f"{name}.attended"], CONTRIB, num_heads=ATTENTION_HEADS)
    middle = normal(linear(attended, "out"), x, "norm")
    # The tanh form of GELU: within 0.001 of the exact one that training uses, and fused.
    active = graph.add("FastGelu", [linear(middle, "up")], [f"{name}.active"], CONTRIB)
    return normal(linear(active, "down"), middle, "last_norm")

"""Eight bits in place of 32: a third of the size, and faster where the processor multiplies bytes; and what it costs.

Several ways are tried, as onnxruntime offers them; the one that moves the embeddings of *training* images least is
taken. What that costs is then measured on the run's test classes, which choose nothing.

Static: activations are rounded by ranges that calibration images have shown, weights by channel; pairs of
QuantizeLinear and DequantizeLinear stand in the graph, which any runtime understands. The first convolution, which sees
the pixels, stays as it is, and so does the head, which whitens and so magnifies what was rounded; its weights alone go
into eight bits where that moves embeddings by next to nothing. Dynamic: activations by what each batch shows; for
networks of matrix products.
"""

import io
import tempfile
from collections.abc import Callable, Iterator
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from circlet.data.pixels import Pixels
from circlet.experiments.metrics import metrics_of
from circlet.experiments.outcome import embedded_by, plainly
from circlet.export.images import ExportImages
from circlet.export.onnx_file import INPUT, _quiet, model_rows
from circlet.export.session import OnnxModel, channels_last
from circlet.inference import Model
from circlet.models import Embedded
from circlet.optional import need
from circlet.progress import progress
from circlet.similarity import unit_rows

_BATCH = 8
_PRODUCTS = ("Gemm", "MatMul")
_NOTHING = 0.002  # of the cosine to the model's vectors


class Quantised(NamedTuple):
    """A model of 8 bits.

    content: of the file. way: how. cosine: between its vectors and the model's, the mean over training images. cosines:
    of every way that was tried. whole, eight: metrics on the test classes at 32 and at 8 bits.
    """

    content: bytes
    way: str
    cosine: float
    cosines: dict[str, float]
    whole: dict[str, float]
    eight: dict[str, float]

    @property
    def cost(self) -> dict[str, float]:
        """What 8 bits add to each metric; below 0 as a rule."""
        return {name: self.eight[name] - self.whole[name] for name in self.whole if name in self.eight}


def quantised(model: Model, content: bytes, images: ExportImages) -> Quantised:
    """The ONNX model in `content` (`circlet.export.to_onnx`) at 8 bits, by the way that suits it best.

    images: with those to quantise by (`images_of(to_quantise=True)`).

    ValueError where no way works; ImportError without the extra.
    """
    assert images.calibrated is not None
    assert images.chosen is not None
    expected = model_rows(model, images.chosen)
    made: dict[str, bytes] = {}
    failed, cosines = "", {}
    with tempfile.TemporaryDirectory(prefix="circlet-") as name:
        prepared = _prepared(content, Path(name))
        ways = _ways(prepared)
        with progress("int8", len(ways), unit="way") as shown:
            for way, make in ways.items():
                try:
                    with _quiet(), redirect_stdout(io.StringIO()):
                        make(Path(name) / "int8.onnx", images.calibrated)
                    raw = (Path(name) / "int8.onnx").read_bytes()
                    each = [_finished(raw, content, head=head) for head in (False, True)]
                    near = [_nearness(one, images.chosen, expected) for one in each]
                    taken = near[1] > near[0] - _NOTHING
                    made[way], cosines[way] = each[taken], near[taken]
                except Exception as error:  # onnxruntime's own; another way may do
                    failed = " ".join(str(error).split())[:200] or type(error).__name__
                shown.advance()
    if not cosines:
        raise ValueError(f"{model.name}: cannot be quantised by onnxruntime ({failed}); without --int8 it is exported "
                         "as it is")  # fmt: skip
    best = max(cosines, key=lambda way: cosines[way])
    whole, eight = _measured(OnnxModel(content), OnnxModel(made[best]), images)
    return Quantised(made[best], best, cosines[best], cosines, whole, eight)


def _nearness(content: bytes, images: Tensor, expected: Tensor) -> float:
    """The mean cosine between the vectors of a graph and those expected of these images."""
    return float((OnnxModel(content).embed(images.split(_BATCH)) * expected).sum(1).mean())


def _measured(whole: OnnxModel, eight: OnnxModel, images: ExportImages) -> tuple[dict[str, float], dict[str, float]]:
    """Metrics on the test classes at 32 and at 8 bits; each image is decoded once for both."""
    assert images.test is not None

    def rows(pixels: Pixels) -> Tensor:
        parts = []
        with progress("test", len(pixels), unit="image") as shown:
            for batch in pixels.batches(_BATCH):
                parts.append(torch.cat([whole.embed([batch]), eight.embed([batch])], 1))
                shown.advance(len(batch))
        return torch.cat(parts)

    both = embedded_by(rows, images.test)
    dim, plain = both.query.shape[1] // 2, plainly(images.experiment)

    def metrics(part: slice) -> dict[str, float]:
        gallery = None if both.gallery is None else unit_rows(both.gallery[:, part])
        assert images.test is not None
        return metrics_of(Embedded(unit_rows(both.query[:, part]), gallery), images.test, plain)

    return metrics(slice(dim)), metrics(slice(dim, None))


def _prepared(content: bytes, folder: Path) -> Path:
    """The graph with shapes inferred and what can be computed beforehand computed, as quantisation wants it."""
    inference = need("onnxruntime.quantization.shape_inference", "export")
    whole, prepared = folder / "whole.onnx", folder / "prepared.onnx"
    whole.write_bytes(content)
    try:
        with _quiet():
            inference.quant_pre_process(str(whole), str(prepared), skip_symbolic_shape=True)
    except Exception:  # a preparation that fails is one that can be done without
        return whole
    return prepared


class _Reader:
    """Calibration images, a batch at a time, as onnxruntime asks for them."""

    def __init__(self, images: Tensor) -> None:
        self.batches: Iterator[npt.NDArray[np.uint8]] = channels_last(images.split(_BATCH))

    def get_next(self) -> dict[str, npt.NDArray[np.uint8]] | None:
        """The next batch; None at the end."""
        batch = next(self.batches, None)
        return None if batch is None else {INPUT: batch}


def _ways(prepared: Path) -> dict[str, Callable[[Path, Tensor], None]]:
    """What may be tried on this graph: functions of the file to write and of calibration images."""
    onnx, library = need("onnx", "export"), need("onnxruntime.quantization", "export")
    nodes = onnx.load(str(prepared)).graph.node
    products = [node.name for node in nodes if node.op_type in _PRODUCTS]
    first = [node.name for node in nodes if node.op_type == "Conv"][:1]
    left = [*products[-1:], *first]
    kinds = {"per_channel": True, "weight_type": library.QuantType.QInt8, "nodes_to_exclude": left}

    def static(**options: Any) -> Callable[[Path, Tensor], None]:
        def make(out: Path, images: Tensor) -> None:
            library.quantize_static(
                str(prepared), str(out), _Reader(images), quant_format=library.QuantFormat.QDQ,
                activation_type=library.QuantType.QUInt8, extra_options={"MatMulConstBOnly": True, **options}, **kinds,
            )  # fmt: skip

        return make

    def dynamic(out: Path, images: Tensor) -> None:
        library.quantize_dynamic(str(prepared), str(out), op_types_to_quantize=list(_PRODUCTS), **kinds)

    ways = {
        "static, range of all values": static(),
        "static, mean of ranges": static(CalibMovingAverage=True, CalibMovingAverageConstant=0.05),
    }
    return {**ways, "dynamic, matrix products alone": dynamic} if len(products) > 2 else ways


def _finished(content: bytes, original: bytes, *, head: bool) -> bytes:
    """The quantised graph with what the original says of itself; head: the weights of its head in eight bits too."""
    onnx = need("onnx", "export")
    model, source = onnx.load_model_from_string(content), onnx.load_model_from_string(original)
    if head:
        _head_in_bytes(onnx, model.graph)
    del model.metadata_props[:]
    model.metadata_props.extend(source.metadata_props)
    model.doc_string, model.producer_name, model.producer_version = (
        source.doc_string, source.producer_name, source.producer_version)  # fmt: skip
    found: bytes = model.SerializeToString()
    return found


def _head_in_bytes(onnx: Any, graph: Any) -> None:
    """Keep the weights of the last matrix product as bytes, a scale for each output; it is done in 32 bits still."""
    weights = {each.name: each for each in graph.initializer}
    index = max((i for i, node in enumerate(graph.node) if node.op_type in _PRODUCTS), default=None)
    if index is None or (tensor := weights.get(graph.node[index].input[1])) is None:
        return
    node, values = graph.node[index], onnx.numpy_helper.to_array(tensor)
    if values.ndim != 2 or values.dtype != np.float32:
        return
    turned = any(each.name == "transB" and each.i for each in node.attribute)
    axis = 0 if turned else 1
    scales = np.maximum(np.abs(values).max(1 - axis), np.finfo(np.float32).tiny) / 127
    rounded = np.round(values / np.expand_dims(scales, 1 - axis)).astype(np.int8)
    name, parts = tensor.name, {"bytes": rounded, "scales": scales.astype(np.float32)}
    graph.initializer.remove(tensor)
    for suffix, array in {**parts, "zeros": np.zeros_like(scales, np.int8)}.items():
        graph.initializer.append(onnx.numpy_helper.from_array(array, f"{name}.{suffix}"))
    inputs = [f"{name}.{suffix}" for suffix in ("bytes", "scales", "zeros")]
    graph.node.insert(index, onnx.helper.make_node("DequantizeLinear", inputs, [name], axis=axis))

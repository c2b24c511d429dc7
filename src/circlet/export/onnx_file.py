"""The model as ONNX: exported, cleaned of what only this machine knows, and compared with the model.

Input "images": uint8 (batch, height, width, channels), red, green, blue, of the decoded size, any batch: what
np.asarray gives of a Pillow image. Output "embeddings": float32 (batch, dim), unit rows. Channels last, because that is
how decoders give images, and a byte a value, because that is a quarter of what is sent otherwise.
"""

import json
import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

import circlet
from circlet.export.deployed import Deployed, deployed
from circlet.export.session import OnnxModel, channels_last
from circlet.export.snippet import preparation_code, preparation_words
from circlet.inference import Model
from circlet.optional import need

OPSET = 18
TOLERANCE = 1e-4
INPUT, OUTPUT, METADATA = "images", "embeddings", "circlet"


class Exported(NamedTuple):
    """An ONNX model and how far it is from the model that it was made of.

    content: of the file. difference: the largest of any number of any unit vector, on `num_images` real images.
    """

    content: bytes
    difference: float
    num_images: int


def to_onnx(model: Model, images: Tensor, *, tolerance: float = TOLERANCE) -> Exported:
    """The model as ONNX, compared with it by onnxruntime.

    images: uint8 (n, channels, height, width) of the decoded size, at least one, real ones. tolerance: of unit vectors.

    Raises ValueError where the network cannot be exported, or gives other vectors than the model; ImportError without
    the extra.
    """
    for library in ("onnxscript", "onnxruntime"):
        need(library, "export")
    if not len(images):
        raise ValueError("images: found none, expected some to compare the export with the model")
    graph = deployed(model)
    content = _content(_exported(graph, model), model)
    return Exported(content, compared(model, content, images, tolerance), len(images))


def compared(model: Model, content: bytes, images: Tensor, tolerance: float = TOLERANCE) -> float:
    """The largest difference between the model's unit vectors and those of the file; ValueError above `tolerance`.

    In batches of one and of several, since a graph may be right for the batch alone that it was traced with.
    """
    session = OnnxModel(content)
    expected = model_rows(model, images)
    sizes = [1, 1, *[8] * (len(images) // 8 + 1)]
    batches = [batch for batch in images.split(_summing_to(sizes, len(images))) if len(batch)]
    try:
        found = torch.cat([torch.from_numpy(session(rows)) for rows in channels_last(batches)])
    except Exception as error:  # onnxruntime's own
        raise ValueError(f"{model.name}: its graph cannot be run by onnxruntime ({_short(error)}); as safetensors it "
                         "can be exported (--to safetensors)") from error  # fmt: skip
    difference = float((found - expected).abs().max()) if found.shape == expected.shape else float("inf")
    if not difference <= tolerance:  # NaN neither
        raise ValueError(f"{model.name}: found unit vectors of the ONNX graph up to {difference:.2g} from those of the "
                         f"model on {len(images)} images, expected at most {tolerance:.0e}; nothing was "
                         "written")  # fmt: skip
    return difference


@torch.no_grad()
def model_rows(model: Model, images: Tensor) -> Tensor:
    """Unit rows of decoded images (n, channels, height, width) by the model itself, unfolded, on its device."""
    whole = Deployed(model.network, model.view).eval()
    rows = [whole(batch.permute(0, 2, 3, 1).to(model.device)).cpu() for batch in images.split(8)]
    return torch.cat(rows)


def read_metadata(path: Path) -> dict[str, Any]:
    """What `circlet export` wrote into an ONNX file beside the graph; ValueError for a file without it."""
    model = OnnxModel(path)
    found = model.session.get_modelmeta().custom_metadata_map
    if METADATA not in found:
        raise ValueError(f"{path}: found an ONNX model without circlet's metadata, expected one of circlet export")
    content: dict[str, Any] = json.loads(found[METADATA])
    return content


def metadata_of(model: Model) -> dict[str, Any]:
    """What deployers must know, as JSON values: input, output, preparation, view, thresholds, digest."""
    decoding, view, network = model.decoding, model.view, model.network
    thresholds = model.thresholds
    return {
        "circlet": circlet.__version__,
        "name": Path(model.name).name if model.source is not None else model.name,
        "digest": model.digest,
        "input": {"name": INPUT, "type": "uint8", "shape": ["batch", *decoding.size, decoding.channels],
                  "colours": "RGB" if decoding.channels == 3 else "grey"},
        "output": {"name": OUTPUT, "type": "float32", "shape": ["batch", model.dim], "length": 1},
        "prepare": {"size": list(decoding.size), "fit": decoding.fit, "interpolation": decoding.interpolation},
        "in_graph": {"crop_share": view.crop_share, "size": list(view.size), "flip": view.flip,
                     "five_crops": view.five_crops, "mean": [float(x) for x in network.mean.flatten()],
                     "std": [float(x) for x in network.std.flatten()]},
        "thresholds": None if thresholds is None else thresholds.to_json(),
    }  # fmt: skip


def _exported(graph: Deployed, model: Model) -> Any:
    """The protocol buffer of the graph."""
    decoding = model.decoding
    generator = torch.Generator().manual_seed(0)
    example = torch.randint(256, (2, *decoding.size, decoding.channels), generator=generator, dtype=torch.uint8)
    batch = torch.export.Dim("batch", min=1, max=1 << 16)
    try:
        with _quiet(), torch.no_grad():
            program = torch.onnx.export(graph, (example,), dynamo=True, verbose=False, opset_version=OPSET,
                                        input_names=[INPUT], output_names=[OUTPUT],
                                        dynamic_shapes=({0: batch},))  # fmt: skip
            assert program is not None
            return program.model_proto
    except ImportError:
        raise
    except Exception as error:  # whatever a network's code gives the exporter cause for
        raise ValueError(f"{model.name}: {type(model.network.backbone).__name__} cannot be exported to ONNX "
                         f"({_short(error)}); as safetensors it can (--to safetensors)") from error  # fmt: skip


def _content(proto: Any, model: Model) -> bytes:
    """The file: the graph without names and paths of where it was made, and with what deployers must know."""
    onnx = need("onnx", "export")
    _clean(proto.graph)
    for function in proto.functions:
        for node in function.node:
            _forget(node)
    del proto.metadata_props[:]
    proto.producer_name, proto.producer_version = "circlet", circlet.__version__
    proto.doc_string = f"{preparation_words(model)}\n\n{preparation_code(model.decoding)}"
    onnx.helper.set_model_props(proto, {METADATA: json.dumps(metadata_of(model), allow_nan=False)})
    first = proto.graph.input[0].type.tensor_type.shape.dim[0]
    if first.WhichOneof("value") != "dim_param":
        raise ValueError(f"{model.name}: {type(model.network.backbone).__name__} can only be exported to ONNX for one "
                         "size of batch, expected any; as safetensors it can (--to safetensors)")  # fmt: skip
    try:
        content: bytes = proto.SerializeToString()
    except Exception as error:  # protobuf's own: more than 2 GiB
        raise ValueError(f"{model.name}: found a graph of more than 2 GiB, which no ONNX file holds ({_short(error)}); "
                         "expected a smaller network, or --to safetensors") from error  # fmt: skip
    return content


def _clean(graph: Any) -> None:
    for value in (*graph.input, *graph.output, *graph.value_info, *graph.initializer):
        del value.metadata_props[:]
    del graph.metadata_props[:]
    for node in graph.node:
        _forget(node)


def _forget(node: Any) -> None:
    del node.metadata_props[:]
    node.doc_string = ""
    for attribute in node.attribute:
        if attribute.HasField("g"):
            _clean(attribute.g)


@contextmanager
def _quiet() -> Iterator[None]:
    """Nothing of the exporter's remarks to its developers."""
    before = logging.root.manager.disable
    logging.disable(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)


def _summing_to(sizes: list[int], total: int) -> list[int]:
    """As many of the sizes as make up the total, the last one cut.

    >>> _summing_to([1, 1, 8, 8], 12), _summing_to([1, 1, 8], 1)
    ([1, 1, 8, 2], [1])
    """
    ends = np.minimum(np.cumsum(sizes), total)
    return [int(size) for size in np.diff(ends, prepend=0) if size]


def _short(error: BaseException) -> str:
    """The root of what went wrong, on one line."""
    while error.__cause__ is not None:
        error = error.__cause__
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return (lines[0] if lines else type(error).__name__)[:200]

"""An ONNX file in use: onnxruntime on the CPU, in batches."""

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from circlet.optional import need


class OnnxModel:
    """An ONNX model of `circlet export`, as its users run it.

    source: the file, or its bytes. ValueError for what onnxruntime cannot load.
    """

    def __init__(self, source: Path | bytes) -> None:
        runtime = need("onnxruntime", "export")
        options = runtime.SessionOptions()
        options.log_severity_level = 3  # errors alone
        given = source if isinstance(source, bytes) else str(source)
        try:
            self.session: Any = runtime.InferenceSession(given, options, providers=["CPUExecutionProvider"])
        except Exception as error:  # onnxruntime's own, which have no common base
            where = "the graph" if isinstance(source, bytes) else source
            raise ValueError(f"{where}: found no model that onnxruntime can load ({_reason(error)})") from error

    def __call__(self, images: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
        """(batch, height, width, channels) uint8 to (batch, dim) unit rows."""
        found: npt.NDArray[np.float32] = self.session.run(None, {"images": images})[0]
        return found

    def embed(self, batches: Iterable[Tensor]) -> Tensor:
        """Unit rows (n, dim) of batches (batch, channels, height, width), as `circlet.data.Pixels` gives them."""
        return torch.cat([torch.from_numpy(self(rows)) for rows in channels_last(batches)])


def channels_last(batches: Iterable[Tensor]) -> Iterator[npt.NDArray[np.uint8]]:
    """Batches (batch, channels, height, width) as the graph takes them."""
    for batch in batches:
        yield np.ascontiguousarray(batch.permute(0, 2, 3, 1).numpy())


def _reason(error: Exception) -> str:
    return " ".join(str(error).split())[:200]

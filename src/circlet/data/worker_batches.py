"""Batches of decoded images out of loader workers, which hand over what they find: an image, or why it is none.

An error that a worker raises would reach us as the text of its traceback; and labels, which nobody asks for here, would
take shared memory of their own.
"""

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset
from torch.utils.data import default_collate as together

from circlet.data.decoded import DecodedImages
from circlet.data.images import DataError
from circlet.resources import loaded


class WorkerBatches:
    """Batches uint8 (batch, channels, height, width) of `images`, which `workers` processes decode (0: this one).

    stay: the processes stay for the next pass. form: `batch_size` or `batch_sampler` of a DataLoader.

    To iterate raises DataError for an image that cannot be decoded, and `circlet.resources.OutOfResources`.
    """

    def __init__(self, images: DecodedImages, workers: int, *, stay: bool = False, **form: Any) -> None:
        self.loader = DataLoader(
            _Images(images),
            num_workers=workers,
            collate_fn=_batch,
            persistent_workers=stay and workers > 0,
            pin_memory=torch.cuda.is_available(),
            generator=torch.Generator(),  # or it would draw from the global one, out of step with a resumed run
            **form,
        )

    def __iter__(self) -> Iterator[Tensor]:
        for batch in loaded(self.loader):
            if isinstance(batch, DataError):
                raise batch
            yield batch


class _Images(Dataset["Tensor | DataError"]):
    def __init__(self, images: DecodedImages) -> None:
        self.images = images

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> "Tensor | DataError":
        try:
            return self.images[index][0]
        except DataError as error:
            return DataError(str(error))  # of any kind of it, as what every process can read


def _batch(rows: "Sequence[Tensor | DataError]") -> "Tensor | DataError":
    broken = (row for row in rows if isinstance(row, DataError))
    return next(broken, None) or together(list(rows))

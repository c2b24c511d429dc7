"""Shuffled batches, for losses that need no positives in the batch."""

from collections.abc import Iterator

import numpy as np

from circlet.sampling.epochs import EpochBatches, whole


class ShuffledBatches(EpochBatches):
    """Shuffled batches over `num_samples` images, each image once an epoch.

    >>> sampler = ShuffledBatches(9, batch_size=4)
    >>> [len(batch) for batch in sampler], len(sampler)
    ([4, 5], 2)
    >>> sorted(sum(sampler, []))
    [0, 1, 2, 3, 4, 5, 6, 7, 8]

    The last batch is smaller where the numbers do not divide, and left out under `drop_last`. A last batch of *one*
    image joins the batch before it, which then holds `batch_size + 1`: on a single image BatchNorm raises and a
    pair-wise loss has no pairs. (A data set of one image, or `batch_size` 1, stays as asked.)

    rank, num_ranks: yield this rank's part of each batch, as even as possible. A last batch of fewer than two images
    a rank then joins the batch before it; nothing else depends on the number of ranks.

    Raises ValueError: `num_samples` or `batch_size` below 1, or over several ranks below two images a rank.
    """

    def __init__(
        self,
        num_samples: int,
        batch_size: int,
        *,
        seed: int = 0,
        drop_last: bool = False,
        rank: int = 0,
        num_ranks: int = 1,
    ) -> None:
        super().__init__(seed, rank, num_ranks)
        self.num_samples = whole("num_samples", num_samples, minimum=1)
        self.batch_size = whole("batch_size", batch_size, minimum=1)
        self.drop_last = drop_last
        fewest = 2 * num_ranks  # in a batch, so that no rank has a single image
        for name, value in (("num_samples", self.num_samples), ("batch_size", self.batch_size)):
            if num_ranks > 1 and value < fewest:
                raise ValueError(f"{name}: found {value} over {num_ranks} ranks, expected at least {fewest}")
        full, rest = divmod(self.num_samples, self.batch_size)
        self._joins = 0 < rest < fewest and full > 0 and not drop_last
        self._num_batches = full if drop_last or rest == 0 or self._joins else full + 1

    def __len__(self) -> int:
        """Batches in a whole epoch."""
        return self._num_batches

    def _batches(self, epoch: int) -> Iterator[list[int]]:
        order = np.random.default_rng([self.seed, epoch]).permutation(self.num_samples)
        for batch in range(self._num_batches):
            start = batch * self.batch_size
            joined = self._joins and batch == self._num_batches - 1
            images = order[start:] if joined else order[start : start + self.batch_size]
            yield np.array_split(images, self.num_ranks)[self.rank].tolist()

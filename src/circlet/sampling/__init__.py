"""Batch samplers: which images meet in a batch.

A pair-wise loss sees only the pairs inside its batch, so a batch must hold several images of several classes
(`PKSampler`); a class-level loss needs nothing but shuffling (`ShuffledBatches`). Both are given to a DataLoader as
`batch_sampler`. Each pass over one is an epoch, in an order of its own that is a function of (seed, epoch) alone, so
that a run can stop anywhere and be resumed there with `set_epoch`.

Over several ranks, each of which has a sampler, all draw the same global batches and yield their own rank's part: P and
`batch_size` count the classes and images of all ranks together. The ranks stay in step as long as each begins the same
number of passes.

| file       | what is in it                                                                         |
|------------|---------------------------------------------------------------------------------------|
| epochs     | what both have in common: batches as a function of (seed, epoch), where to resume     |
| pk         | `PKSampler`: P classes x K images, every image in every epoch                         |
| chunks     | which classes come next: those with the most chunks of images left                    |
| categories | the same with the classes of a batch from one category, or from a few                 |
| shuffled   | `ShuffledBatches`                                                                     |
| stream     | `PKStream`, `ShuffledStream`: the same out of shards that are read from their beginnings |
| waiting    | the buffer of a stream: images by class, those of which the most wait come next       |
"""

from circlet.sampling.pk import PKSampler
from circlet.sampling.shuffled import ShuffledBatches
from circlet.sampling.stream import PKStream, ShuffledStream

__all__ = ["PKSampler", "PKStream", "ShuffledBatches", "ShuffledStream"]

"""Images in shards, which are never unpacked: WebDataset tars, and Parquet with the bytes of images.

| file          | what is in it                                                                          |
|---------------|----------------------------------------------------------------------------------------|
| source        | `shards`, the data set: what is trained on, and what is tested on                       |
| names         | from a file, a folder or a pattern to the shards                                        |
| stream_set    | `StreamSet`, an `ImageSet` that lists its images only if somebody asks                  |
| collection    | all shards together: classes, positions, reading an image                               |
| shard_index   | what is known of one shard without its pixels, and where that is kept                   |
| tar_shard     | WebDataset: samples, images and labels                                                  |
| tar_members   | the members of a tar by position, within bounds                                         |
| parquet_shard | Parquet: rows, and row groups that are held                                             |
| labels        | a label to the name of a class                                                          |
| positions     | decoded images by position, for loader workers                                          |

Shards are files, on a disk or mounted; they are read by position, so that a run goes on in the middle of an epoch
without what came before, and each rank and loader worker reads the bytes of its own images alone (of Parquet: whole row
groups). Not read: compressed tars, pipes and addresses, which have no positions. insightface's record files are not
here: `circlet.data.face` reads them by position through a memory map, each rank its own images, as any other set.
"""

from circlet.data.streams.source import SHARDS, shards
from circlet.data.streams.stream_set import StreamSet

__all__ = ["SHARDS", "StreamSet", "shards"]

"""What an error says to users of the command line: one line, harmless on a terminal, with flags for arguments."""

import re

from circlet.resources import explained
from circlet.terminal import printable

# Arguments of functions, as their errors name them, and the flags that they come from.
FLAGS = {
    "held_out": "--data.test-share or --data.validation-share",
    "time_split": "--data.time-split",
    "num_classes_per_batch": "--batch.classes",
    "samples_per_class": "--batch.samples",
    "buffer": "--batch.buffer",
    "num_samples": "--batch.classes times --batch.samples",
    "precision": "--loop.precision",
    "patience": "--loop.patience",
    "train_blocks": "--loop.optimizer.train-blocks",
    "backbone": "--model.backbone",
    "pretrained": "--model.pretrained",
    "pooling": "--model.pooling",
    "mean": "--model.mean",
    "std": "--model.std",
    "minutes": "--minutes",
    "max_mib": "--max-mib",
    "max_megapixels": "--max-megapixels",
    "in_flight": "--in-flight",
    "memory_mib": "--memory-mib",
    "max_enrolled": "--max-enrolled",
}
_ARGUMENT = re.compile(rf"(?:^|(?<=: ))({'|'.join(FLAGS)})(?=: found)")
_CLOSED_SET = re.compile(r"\bclosed_set=True\b")


def told(error: BaseException) -> str:
    """The message of an error, for the command line.

    >>> told(ValueError("list.csv: held_out: found 0.5 for 1 classes, expected more"))
    'list.csv: held_out (--data.test-share or --data.validation-share): found 0.5 for 1 classes, expected more'
    >>> told(ValueError("query: found class 'a' in train too; closed_set=True allows seen ones"))
    "query: found class 'a' in train too; --data.closed-set allows seen ones"
    """
    text = _ARGUMENT.sub(
        lambda found: f"{found[1]} ({FLAGS[found[1]]})", explained(error) or str(error) or type(error).__name__
    )
    return printable(_CLOSED_SET.sub("--data.closed-set", text))

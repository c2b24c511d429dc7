"""Runs timm's training script, a file that is given, in this process; for step.py.

    python benchmarks/timm_train.py TRAIN_PY [its arguments]

timm imports torchvision, whose PyPI build does not load beside a CPU-only torch: its compiled operators are missing.
Where that is so their schemas are declared, and the import passes; none of them is called in training.
"""

import runpy
import sys
import warnings

import torch


def torchvision_operators() -> torch.library.Library:
    """Declare the operators that `import torchvision` looks for; they are there as long as what is returned."""
    library = torch.library.Library("torchvision", "DEF")
    for name in ("nms", "qnms"):
        library.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    return library


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    kept = torchvision_operators() if "+cpu" in torch.__version__ else None
    sys.argv = sys.argv[1:]
    runpy.run_path(sys.argv[0], run_name="__main__")

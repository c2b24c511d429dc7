"""Cases: one size of the problem each, and its operands. gamma = 256, m = .25; pair-wise: 4 samples a class."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

PER_CLASS = 4
DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
Dtype = Literal["fp32", "bf16", "fp16"]


@dataclass(frozen=True)
class Case:
    """Batch B, dimension D and, class-level, C classes (None: pair-wise); dtype of the operands; device."""

    batch: int
    dim: int = 512
    num_classes: int | None = None
    dtype: Dtype = "fp32"
    device: str = "cpu"

    def __post_init__(self) -> None:
        for name, least in (("batch", PER_CLASS), ("dim", 1), ("num_classes", 2)):
            value = getattr(self, name)
            if value is not None and value < least:
                raise ValueError(f"{name}: found {value}, expected at least {least}")

    @property
    def name(self) -> str:
        """Level, sizes, and what is not as usual, such as "pair B=80 D=512" or "pair B=80 D=512 bf16 cuda"."""
        level = "pair" if self.num_classes is None else "class"
        classes = "" if self.num_classes is None else f" C={self.num_classes}"
        dtype = "" if self.dtype == "fp32" else f" {self.dtype}"
        device = "" if self.device == "cpu" else f" {self.device}"
        return f"{level} B={self.batch} D={self.dim}{classes}{dtype}{device}"

    @property
    def matrix_mib(self) -> float:
        """Size of the similarity matrix in fp32."""
        return self.batch * (self.num_classes or self.batch) * 4 / 2**20


class Data:
    """Leaves `x` (B, D) and, class-level, `y` (C, D), and `labels` (B,)."""

    def __init__(self, case: Case) -> None:
        generator = torch.Generator(case.device).manual_seed(0)
        dtype = DTYPES[case.dtype]

        def leaf(rows: int) -> Tensor:
            drawn = torch.randn(rows, case.dim, generator=generator, device=case.device)
            return drawn.to(dtype).requires_grad_()

        self.x = leaf(case.batch)
        self.y = None if case.num_classes is None else leaf(case.num_classes)
        if case.num_classes is None:
            self.labels = torch.randperm(case.batch, generator=generator, device=case.device) // PER_CLASS
        else:
            self.labels = torch.randint(0, case.num_classes, (case.batch,), generator=generator, device=case.device)

    @property
    def leaves(self) -> list[Tensor]:
        """What gets a gradient."""
        return [self.x] if self.y is None else [self.x, self.y]

    def step(self, loss: Callable[[], Tensor]) -> Callable[[], None]:
        """One forward and backward pass; the gradients are thrown away."""

        def run() -> None:
            loss().backward()
            for leaf in self.leaves:
                leaf.grad = None

        return run

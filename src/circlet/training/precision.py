"""Mixed precision: the dtype in which the model computes under torch.autocast."""

import torch

from circlet.distributed import num_ranks


def autocast_dtype(precision: str, device: torch.device) -> torch.dtype:
    """The dtype of "auto", "fp32", "bf16" or "fp16" on a device; float32 means no autocast.

    "auto": bf16 where the device computes in it, else fp32. A ValueError where the device lacks the dtype.
    """
    if device.type == "cuda":
        has_bf16 = torch.cuda.is_bf16_supported(including_emulation=False)
    else:
        has_bf16 = device.type == "cpu" and torch.cpu._is_avx512_bf16_supported()
    if precision == "auto":
        return torch.bfloat16 if has_bf16 else torch.float32
    if precision == "fp16" and device.type == "cpu":
        raise ValueError("precision: found fp16 on a CPU, expected auto, fp32 or bf16 there")
    if precision == "fp16" and num_ranks(None) > 1:  # ranks would have to agree on which steps overflow
        raise ValueError("precision: found fp16 on several ranks, expected auto, fp32 or bf16 there")
    if precision == "bf16" and device.type == "cuda" and not has_bf16:
        raise ValueError(f"precision: found bf16 on {torch.cuda.get_device_name(device)}, which lacks it; expected "
                         "auto, fp32 or fp16")  # fmt: skip
    return {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}[precision]

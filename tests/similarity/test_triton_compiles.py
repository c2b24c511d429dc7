"""The kernels compile to machine code for a GPU (which needs none), with tensor cores and without atomics.

The interpreter of test_triton.py would run code that the compiler refuses. In a process of its own, where Triton is
imported without the interpreter.
"""

import os
import subprocess
import sys
from importlib.util import find_spec

import pytest

CODE = r"""
import re, torch, triton, triton.language as tl
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource
from circlet.similarity.gpu.blocks import blocks_of
from circlet.similarity.gpu import cross, gradient, merge, product, rows, symmetric

POINTERS = {"stats": "fp32", "parts": "fp32", "row_parts": "fp32", "column_parts": "fp32", "x_inverse": "fp32",
            "y_inverse": "fp32", "inverse": "fp32", "factors": "fp32", "x_labels": "i64", "y_labels": "i64",
            "row_stats": "fp32", "row_grads": "fp32", "column_stats": "fp32", "column_grads": "fp32", "sums": "fp32"}
NUMBERS = dict.fromkeys(("p0", "p1", "p2", "p3"), "fp32")
blocks = blocks_of(torch.empty(4096, 512, dtype=torch.bfloat16), None)

def compiled(kernel, capability=90, divisible=True, blocks=blocks, shared_kib=99, **constants):
    names, signature = kernel.arg_names, {}
    for name in names:
        if name in constants:
            signature[name] = "constexpr"
        elif name in ("x", "y", "data", "out"):
            signature[name] = "*fp32" if constants.get("DTYPE") == tl.float32 else "*bf16"
        elif name in POINTERS:
            signature[name] = "*" + POINTERS[name]
        else:
            signature[name] = NUMBERS.get(name, "i32")
    by_16 = [i for i, name in enumerate(names) if divisible and name not in constants and name not in NUMBERS]
    source = ASTSource(kernel, signature, constants, {(i,): [["tt.divisibility", 16]] for i in by_16})
    options = {"num_warps": blocks.num_warps, "num_stages": blocks.num_stages}
    code = triton.compile(source, target=GPUTarget("cuda", capability, 32), options=options)
    assert code.metadata.shared <= shared_kib * 1024, code.metadata.shared
    assert not re.search(r"\b(atom|red)\.global", code.asm["ptx"])
    return code.asm["ptx"]

SIZES = {"BM": blocks.rows, "BN": blocks.columns, "BK": blocks.depth, "DTYPE": tl.bfloat16, "PRECISION": "ieee"}
for capability, instruction in ((90, "wgmma.mma_async"), (80, "mma.sync")):
    assert instruction in compiled(cross.cross_kernel, capability, RULE="Circle", **SIZES)
    code = compiled(symmetric.symmetric_kernel, capability, RULE="Circle", **SIZES)
    assert instruction in code
    # Similarities and logits are rounded (logits.rounded), and no product is fused with a sum behind our back.
    assert {operation.split(", ")[-1] for operation in re.findall(r"fma\.rn\.f32 ([^;]*);", code)} == {"0f00000000"}
    assert instruction in compiled(gradient.gradient_kernel, capability, MIRRORED=True, RULE="Circle", **SIZES)
full = blocks_of(torch.empty(4096, 512), None)
FULL = SIZES | {"BK": full.depth, "DTYPE": tl.float32, "PRECISION": "tf32x3"}
for capability, stages, shared_kib in ((90, 4, 104), (80, 4, 104), (86, 3, 99)):
    of_stages = {"blocks": full._replace(num_stages=stages), "shared_kib": shared_kib}
    compiled(cross.cross_kernel, capability, RULE="Circle", **of_stages, **FULL)
    compiled(gradient.gradient_kernel, capability, MIRRORED=True, RULE="Circle", **of_stages, **FULL)
for rule in ("ConstantMargin", "AngularMargin", "TwoScales"):
    compiled(gradient.gradient_kernel, divisible=False, MIRRORED=False, RULE=rule, **SIZES)
ALONG = dict(zip(("BM", "BN"), rows.block_of(512)))
compiled(product.finish_kernel, **ALONG)
for copy in (True, False):
    compiled(rows.rows_kernel, COPY=copy, **ALONG)
MERGE = {"BM": merge.MERGE_ANCHORS, "BS": merge.MERGE_PARTS}
compiled(merge.merge_kernel, **MERGE)

# Triton makes a constant of every size and stride that is 1.
ones = dict.fromkeys(("B", "C", "D", "M", "N", "S", "offset", "span", "stride", "stride_x", "stride_y", "stride_data",
                      "stride_out", "stride_sums", "chunk", "stats_kind", "stats_side", "grads_side", "parts_part",
                      "parts_kind", "parts_side"), 1)
for kernel, constants in ((cross.cross_kernel, {"RULE": "Circle", **SIZES}),
                          (symmetric.symmetric_kernel, {"RULE": "Circle", **SIZES}), (merge.merge_kernel, MERGE),
                          (gradient.gradient_kernel, {"MIRRORED": True, "RULE": "Circle", **SIZES}),
                          (product.finish_kernel, ALONG), (rows.rows_kernel, {"COPY": True, **ALONG})):
    compiled(kernel, **constants, **{name: one for name, one in ones.items() if name in kernel.arg_names})
"""


@pytest.mark.subprocess
@pytest.mark.slow
@pytest.mark.skipif(find_spec("triton") is None, reason="needs Triton")
def test_kernels_compile(tmp_path):
    environment = {name: value for name, value in os.environ.items() if name != "TRITON_INTERPRET"}
    environment["TRITON_CACHE_DIR"] = str(tmp_path)
    result = subprocess.run([sys.executable, "-c", CODE], capture_output=True, text=True, env=environment)
    assert result.returncode == 0, result.stderr

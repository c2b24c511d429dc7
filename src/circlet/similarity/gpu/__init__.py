r"""The GPU backend: the numbers of `dense`, streamed by Triton kernels, without the (batch, references) matrix.

Forward, tiles of similarities become log-sum-exps: against references each program owns a block of anchors and meets
one block of references after another (`cross`); pair-wise a tile serves its rows and its columns, and what it has of
each is merged afterwards (`symmetric`, `merge`). Backward, with p_ij = x_i . y_j the raw products, r_i = 1/|x_i| and
s_ij = r_i r_j p_ij, one kernel writes a tile of the gradient with respect to p (`gradient`)

    K_ij = r_i r_j G_ij,    G_ij = slope(s_ij) A_i exp(e_ij - lse_i)    (pair-wise: H_ij, with the term of j as well)

and plain products, cuBLAS's, take it to the rows (`product`). The factors r are in K, so that the products are of the
rows as they came, in 16 bits where they came so, and only the part along the rows is left to take off:

    u = K Y  (for references: K^T X),    dx_i = u_i - (u_i . x^_i) x^_i.

(Rows far longer or shorter than usual are multiplied by a power of 2 first: `rows`.) Everything is summed in fp32 and
in a fixed order: deterministic, no atomics, no locks, and nothing waits for the GPU. FLOPs, with u = 2 B C D: 4 u
against references; 2 u pair-wise, where a tile serves both of its sides in both passes (u / 2 each, and u for the
product K X).

A probability e^(e_ij - lse_i) is right only if s_ij is, to the bit, what the log-sum-exp has summed: gamma = 1000 makes
of a last bit 1e-4. So the backward pass computes each tile as the forward pass did: the same rows times the same
columns, in the same steps along D, scaled by the same r_i r_j (`tile.similarities`), and rounds its logits alike
(`logits.rounded`). Pair-wise, a pair i < j is computed as x_i . x_j in both passes and for both of its anchors; nothing
rests on x_j . x_i having the same bits, which matrix products do not promise.

No tile is computed twice in a pass, whatever D, because the backward pass leaves it to the product in a workspace of
`height` x `width` pairs. A program that kept its dX in registers instead (64 rows of 512 in fp32 are 128 KB) would have
to compute a tile again for every 256 columns of D or so: 5 u and more. Memory: O(B + C), the workspace (up to 128 MiB),
a chunk of references as they are multiplied and, unless it is fp32, its gradient (up to 64 MiB each), the anchors as
they are multiplied and their gradient in fp32; forward, pair-wise, what the tiles of a chunk have of their anchors (up
to 24 MiB). Batches whose classes come together are some 20 % faster in 16 bits: more tiles have no positive pair.

| file      | what it is                                                       |
|-----------|------------------------------------------------------------------|
| blocks    | sizes: of blocks and chunks, by dim and dtype; precision         |
| logits    | the rules, in Triton                                             |
| rows      | kernel: rows as they are multiplied, and their lengths           |
| tile      | a tile of similarities, in Triton; how it is computed            |
| cross     | kernel: peaks and totals of anchors against references           |
| symmetric | kernel: the same pair-wise, each tile for its rows and columns   |
| merge     | kernel: peaks and totals of parts into those of the whole        |
| gradient  | kernel: a tile of K                                              |
| product   | u = K Y; kernel: from u to the gradient of the rows              |
| operators | the operators, and their rules for autograd and torch.compile    |

Only `operators` and what it imports need Triton, and they are imported on first use. TRITON_INTERPRET=1 runs the
kernels on a CPU, slowly. Measured, and tested, on an H100 (benchmarks/results/gpu.md).
"""

import warnings
from functools import cache
from importlib.util import find_spec

import torch

from circlet.similarity.pairs import PairLse, Pairs, Rule, Statistic
from circlet.similarity.spec import spec_of

__all__ = ["pair_lse", "supports"]

HAS_TRITON = find_spec("triton") is not None
DTYPES = (torch.float32, torch.float16, torch.bfloat16)


def supports(pairs: Pairs, rule: Rule, statistic: Statistic) -> bool:
    """Whether `pair_lse` here takes these pairs: on a GPU, by labels, to a log-sum-exp, by a rule it has in Triton."""
    x = pairs.anchors
    if not (HAS_TRITON and _on_gpu(x) and _carries(pairs, rule, statistic)):
        return False
    return torch.compiler.is_compiling() or _runs(x.device)


def pair_lse(pairs: Pairs, rule: Rule, *, normalize: bool, statistic: Statistic = "logsumexp") -> PairLse:
    """As `dense.pair_lse`, for what `supports` takes. fp32, fp16 or bf16 operands; computed and returned in fp32.

    Products of fp32 rows are made of three in TF32, which errs no more than fp32, or of one where torch may use TF32
    for its own (torch.set_float32_matmul_precision).
    """
    from circlet.similarity.gpu.operators import How, Operands, kernel_lse

    kernel = rule.kernel()
    if kernel is None or not _carries(pairs, rule, statistic):
        raise NotImplementedError(f"no GPU kernel for {rule!r}, {statistic!r} and these pairs: see gpu.supports")
    assert pairs.labels is not None
    given = Operands(pairs.anchors, pairs.references, pairs.labels, pairs.reference_labels)
    return PairLse(*kernel_lse(given, How(kernel, normalize)))


def _on_gpu(x: torch.Tensor) -> bool:
    # From Ampere on: bf16, and enough shared memory for the blocks.
    return x.is_cuda and torch.cuda.get_device_properties(x.device).major >= 8


@cache
def _runs(device: torch.device) -> bool:
    """Whether Triton can compile here: it needs a C compiler, as torch.compile does."""
    from circlet.similarity.gpu import rows

    try:
        rows.prepare(torch.ones(1, 16, device=device), torch.zeros(1, device=device), torch.float32, normalize=True)
    except Exception as error:
        warnings.warn(f"circlet: the GPU kernels do not run here, and slower tiles take their place ({error}); "
                      "CIRCLET_TRITON=0 asks for that without a word", stacklevel=2)  # fmt: skip
        return False
    return True


def _carries(pairs: Pairs, rule: Rule, statistic: Statistic) -> bool:
    dtypes = {pairs.anchors.dtype} | (set() if pairs.references is None else {pairs.references.dtype})
    constant = spec_of(rule) is not None if torch.compiler.is_compiling() else rule.is_constant
    known = constant and rule.kernel() is not None and pairs.labels is not None
    return known and statistic == "logsumexp" and dtypes.issubset(DTYPES)

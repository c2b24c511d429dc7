"""Every family of networks that exports equals the model to 1e-4, at any batch; ours, and those of timm.

Those of timm with at most two layers in each row: further ones are the same nodes again. One has all of its twelve.
"""

import pytest
import torch

from circlet.data.pixels import Decoding
from circlet.export import to_onnx
from circlet.inference import Model
from circlet.models import Embedder, View, backbone
from tests.export.test_onnx_file import pictures
from tests.thorough import THOROUGH

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]  # of torchvision and timm themselves

OURS = [
    ("small", (48, 48), "gem"),
    ("ir_resnet18", (112, 112), "own"),
    ("resnet50", (64, 48), "gem"),
    ("mgn", (96, 48), "own"),
    ("bn_inception", (64, 64), "average+max"),
    ("efficientnet_lite0", (64, 64), "own"),
    ("small", (40, 48), "max"),
    *((("efficientnet_lite1", (64, 64), "max"), ("efficientnet_lite2", (64, 64), "own")) if THOROUGH else ()),
]
TIMM = [
    ("resnet18", 64), ("convnext_atto", 64), ("vit_small_patch16_dinov3", 64), ("eva02_tiny_patch14_224", 56),
    ("swinv2_tiny_window8_256", 64), ("hiera_tiny_224", 64), ("caformer_s18", 64), ("xcit_nano_12_p16_224", 64),
]  # fmt: skip
# Of the operators of those above, in another order.
ALIKE = [
    ("vit_tiny_patch16_224", 64), ("vit_small_patch14_reg4_dinov2", 56), ("vit_base_patch32_clip_224", 64),
    ("vit_base_patch16_siglip_224", 64), ("beit_base_patch16_224", 64), ("swin_tiny_patch4_window7_224", 64),
    ("mobilenetv4_conv_small", 64), ("mixer_s32_224", 64),
]  # fmt: skip

TWO_STAGES = {"depths": (2, 2), "num_heads": (3, 6)}


def difference(name, size, pooling):
    torch.manual_seed(0)
    network = Embedder(backbone(name, image_size=size, pooling=pooling), 16, image_size=size, pooling=pooling)
    decoded = (round(size[0] / 0.9), round(size[1] / 0.9))
    model = Model(network, View(size, 0.9), Decoding(decoded), name=name, device="cpu")
    return to_onnx(model, pictures(5, decoded)).difference


@pytest.mark.parametrize(("name", "size", "pooling"), OURS)
def test_ours(name, size, pooling):
    assert difference(name, size, pooling) < 1e-5


@pytest.mark.parametrize(("name", "side"), TIMM + (ALIKE if THOROUGH else []))
def test_those_of_timm(shallow, name, side):
    shallow.update(dict.fromkeys(("swin_tiny_patch4_window7_224", "swinv2_tiny_window8_256"), TWO_STAGES))
    assert difference(f"timm/{name}", (side, side), "own") < 1e-4


def test_tokens_pooled_as_maps(shallow):
    assert difference("timm/vit_tiny_patch16_224", (64, 64), "average") < 1e-4


def test_twelve_layers_and_tokens_pooled_by_powers(timm):
    assert difference("timm/vit_tiny_patch16_224", (64, 64), "gem") < 1e-4

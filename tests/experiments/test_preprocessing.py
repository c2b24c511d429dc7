"""What is left open is settled by the weights; what is given stays."""

from dataclasses import replace

import pytest

from circlet.experiments import Experiment, resolved
from circlet.models.preprocessing import IMAGENET_MEAN, IMAGENET_STD, PREPROCESSING
from circlet.recipes import RECIPES

FOLDER = RECIPES["folder"]()


def with_settings(data=None, **model):
    return replace(FOLDER, data=replace(FOLDER.data, **(data or {})), model=replace(FOLDER.model, **model))


def test_what_is_open_is_as_the_weights_expect():
    found = resolved(FOLDER)
    model, data = found.model, found.data
    assert (model.size, model.mean, model.std, model.crop_share) == ((224, 224), (0.5,) * 3, (0.5,) * 3, 0.875)
    assert (data.size, data.interpolation) == ((256, 256), "bicubic")
    assert replace(found, model=FOLDER.model, data=FOLDER.data) == FOLDER  # and nothing else is touched
    assert found.view.size == (224, 224)
    assert found.data.decoding.size == (256, 256)


def test_nothing_open_is_nothing_to_do():
    found = resolved(FOLDER)
    assert resolved(found) is found
    assert resolved(Experiment()) == Experiment()


@pytest.mark.parametrize("name", sorted(PREPROCESSING))
def test_every_network_that_says_what_it_expects(name):
    expected = PREPROCESSING[name]
    found = resolved(with_settings(backbone=name, pretrained=True))
    assert (found.model.size, found.model.mean, found.model.std) == expected[:3]
    assert found.data.interpolation == expected.interpolation
    share = found.model.crop_share
    assert share == expected.crop_share
    assert all(abs(share * d - m) <= 0.5 for d, m in zip(found.data.size, found.model.size, strict=True))


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({"size": (112, 96)}, {"size": (112, 96), "crop_share": 0.875}),
        ({"crop_share": 1.0}, {"size": (224, 224), "crop_share": 1.0}),
        ({"mean": (0.1, 0.2, 0.3)}, {"mean": (0.1, 0.2, 0.3), "std": (0.5, 0.5, 0.5)}),
        ({"std": (0.2,)}, {"mean": (0.5, 0.5, 0.5), "std": (0.2,)}),
        ({"backbone": "resnet50"}, {"mean": IMAGENET_MEAN, "std": IMAGENET_STD, "size": (256, 128)}),
    ],
)
def test_what_is_given_stays(given, expected):
    model = resolved(with_settings(**given)).model
    assert {name: getattr(model, name) for name in expected} == expected
    assert {name: getattr(model, name) for name in given} == given


def test_decoded_images_are_as_much_larger_as_the_weights_expect():
    assert resolved(with_settings(size=(112, 96))).data.size == (128, 110)
    assert resolved(with_settings(crop_share=1.0)).data.size == (224, 224)
    assert resolved(with_settings({"size": (300, 280)}, size=(112, 96))).data.size == (300, 280)
    assert resolved(with_settings({"interpolation": "nearest"})).data.interpolation == "nearest"


def test_one_channel_has_one_mean():
    found = resolved(with_settings({"channels": 1}, backbone="bn_inception"))
    assert found.model.mean == pytest.approx(((128 + 117 + 104) / 255 / 3,))
    assert found.model.std == (1 / 255,)


def test_a_network_that_expects_nothing_names_the_flags():
    message = (r"model\.size: found none with backbone small, which does not say what images it expects; give "
               r"--model\.size --model\.mean --model\.std --model\.crop-share --data\.size --data\.interp")  # fmt: skip
    with pytest.raises(ValueError, match=message):
        resolved(with_settings(backbone="small"))
    with pytest.raises(ValueError, match=r"data\.size: found none .*; give --data\.size$"):
        resolved(
            with_settings(
                {"interpolation": "box"}, backbone="small", size=(32, 32), mean=(0.5,), std=(0.5,), crop_share=1.0
            )
        )
    with pytest.raises(ValueError, match=r"data\.size: found none with backbone mine:net"):
        resolved(replace(Experiment(), data=replace(Experiment().data, size=None),
                         model=replace(Experiment().model, backbone="mine:net")))  # fmt: skip

"""The recipes of the paper's tables: valid, buildable, and true to what the paper states."""

from dataclasses import replace
from functools import cache

import numpy as np
import pytest
import torch

import circlet
from circlet.data import ImageSet
from circlet.data.catalogue import DATA_SETS
from circlet.data.pixels import Pixels
from circlet.experiments import build_loss, resolved
from circlet.experiments.build import build_model
from circlet.models import embed, embed_pixels
from circlet.models.published import is_packaged
from circlet.recipes import RECIPES, find_recipe
from circlet.recipes.names import OWN

PAPER = [name for name, recipe in RECIPES.items() if recipe.table]
# Settings under which the networks that are wanted give embeddings of the stated length.
LENGTHS = {"ir_resnet34": 512, "ir_resnet100": 512, "bn_inception": 512, "resnet50": 2048, "mgn": 2048}


@cache  # recipes share their networks
def embedding_shape(config):
    with torch.device("meta"):
        return build_model(config, 3).eval()(torch.empty(2, 3, *config.size)).shape


def test_every_row_of_the_tables_has_a_recipe():
    own = ["glyphs", "omniglot", "folder", "manifest", "shards", "individuals", "vectors", "scratch"]
    assert [recipe.name for recipe in OWN] == own
    assert all(callable(getattr(circlet.recipes, name)) for name in own)  # and no module of that name
    assert len(PAPER) == 10 + 8 + 6
    assert len(RECIPES) == len(own) + 10 + 8 + 6 + 4


@pytest.mark.parametrize("name", [name for name, recipe in RECIPES.items() if recipe not in OWN])
def test_recipe_can_be_built(name):
    experiment = RECIPES[name]()
    assert experiment.recipe == name
    build_loss(experiment.loss)
    assert embedding_shape(experiment.model) == (2, LENGTHS[experiment.model.backbone])
    assert (
        DATA_SETS[experiment.data.source].task
        == {
            "face": "face training",
            "reid": "re-identification",
            "retrieval": "re-identification" if "vehicleid" in name else "retrieval",
        }[experiment.task]
    )


@pytest.mark.parametrize("name", ["folder", "manifest", "individuals"])
def test_recipes_for_photographs_start_from_a_network_of_a_package(name):
    """Behind any firewall, in stages that are judged, and with what its weights expect."""
    experiment = RECIPES[name]()
    assert is_packaged(experiment.model.backbone)
    assert experiment.model.pretrained
    assert experiment.transfer.stages == ("closed_form", "head")
    assert not experiment.data.in_memory
    found = resolved(experiment)
    assert found.model.size == (224, 224)
    assert found.data.size == (256, 256)
    build_loss(experiment.loss)
    assert embedding_shape(replace(found.model, pretrained=False)) == (2, 1280)


def test_from_scratch_nothing_is_left_open_and_nothing_is_pretrained():
    experiment = RECIPES["scratch"]()
    assert resolved(experiment) is experiment
    assert not experiment.model.starts_from_weights
    assert experiment.transfer.stages == ()
    assert embedding_shape(experiment.model) == (2, 256)


@pytest.mark.parametrize("name", RECIPES)
def test_every_setting_has_an_origin_and_every_origin_a_setting(name):
    recipe = RECIPES[name]
    names = [setting.name for setting in recipe.settings()]
    for key in (*recipe.stated, *recipe.chosen):
        assert any(n == key or n.startswith(f"{key}.") for n in names), key
    assert not recipe.stated.keys() & recipe.chosen.keys()
    assert len(names) == len(set(names)) > 70


@pytest.mark.parametrize("name", PAPER)
def test_the_stated_numbers_are_the_papers(name):
    recipe = RECIPES[name]
    stated = {s.name: s.value for s in recipe.settings() if s.origin == "stated"}
    expected = {
        ("circle", "face"): {"loss.gamma": 256, "loss.margin": 0.25, "loss.level": "class", "loop.steps": 182_000},
        ("am_softmax", "face"): {"loss.gamma": 64, "loss.margin": 0.35, "loop.optimizer.learning_rate": 0.1},
        ("arcface", "face"): {"loss.gamma": 64, "loss.margin": 0.5, "loop.optimizer.milestones": [0.5, 0.7, 0.9]},
        ("circle", "reid"): {"loss.gamma": 128, "loss.margin": 0.25, "loss.level": "class"},
        ("circle", "retrieval"): {"loss.gamma": 80, "loss.margin": 0.4, "batch.classes": 16, "batch.samples": 5},
    }.get((recipe().loss.name, recipe().task), {})
    assert expected.items() <= stated.items()
    is_quoted = recipe().loss.name == "multi_similarity"  # the paper did not train it
    assert stated.get("model.backbone") == (None if is_quoted else recipe().model.backbone)


def test_what_the_paper_does_not_state_is_marked_chosen():
    origins = {s.name: s.origin for s in RECIPES["amsoftmax-r50-market"].settings()}
    assert origins["loss.name"] == "stated"
    assert {origins[n] for n in ("loss.gamma", "loop.optimizer.learning_rate", "augment.erase")} == {"chosen"}
    assert RECIPES["circle-inshop"].settings()[1].origin == "chosen"
    assert RECIPES["circle-cub"].settings()[1].origin == "stated"
    assert {s.origin for s in RECIPES["glyphs"].settings()} == {"chosen"}


def test_figures_bear_the_names_of_results():
    assert RECIPES["circle-r34-ms1m"].figures["ijb-c@1e-5"] == 86.78
    assert RECIPES["circle-r100-ms1m"].figures["megaface@1e-6"] == 98.73
    assert RECIPES["circle-mgn-msmt17"].figures == {"rank-1": 76.9, "mAP": 52.1}
    assert RECIPES["multisimilarity-sop"].figures["recall@1000"] == 98.7
    assert list(RECIPES["circle-cub"].figures) == [f"recall@{k}" for k in RECIPES["circle-cub"]().ks]
    assert all(RECIPES[name].figures for name in PAPER)


def test_backbones_that_end_in_the_embedding_learn_at_one_rate():
    for recipe in RECIPES.values():
        experiment = recipe()
        if experiment.model.head == "none":
            assert experiment.loop.optimizer.backbone_lr_scale == 1


def test_an_unknown_recipe_is_told_its_neighbours():
    with pytest.raises(ValueError, match="recipe: found 'circle-birds', expected one of circle-"):
        find_recipe("circle-birds")
    assert find_recipe("circle-cub") is RECIPES["circle-cub"]


def test_five_crops_come_from_the_whole_decoded_image():
    """`test.crop` feeds crops of the model's size, of what was decoded."""
    experiment = RECIPES["circle-cub"]()
    experiment = replace(
        experiment,
        data=replace(experiment.data, size=(6, 6)),
        model=replace(experiment.model, size=(4, 4), crop_share=4 / 6),
        test=replace(experiment.test, crop=True, flip=True),
    )
    images = torch.randint(0, 256, (3, 3, 6, 6), dtype=torch.uint8)
    names = ("a", "b", "c")
    pixels = Pixels(ImageSet(np.arange(3), names, names, lambda i: None), images, None, 0)
    found = embed_pixels(torch.nn.Flatten(), pixels, experiment.view, torch.device("cpu"))
    expected = embed(torch.nn.Flatten(), [images / 255], crop=(4, 4), flip=True)
    torch.testing.assert_close(found, expected)
    with pytest.raises(ValueError, match=r"test\.crop: found with images decoded to"):
        replace(experiment, data=replace(experiment.data, size=(4, 4)))

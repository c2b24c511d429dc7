"""Experiments as dataclasses: what they refuse, and their way to JSON and back."""

from dataclasses import replace

import pytest

from circlet.compare.one_run import of_search
from circlet.experiments import Experiment, LossConfig
from circlet.recipes import RECIPES


@pytest.mark.parametrize("recipe", RECIPES)
def test_json_there_and_back(recipe):
    experiment = RECIPES[recipe]()
    assert Experiment.from_json(experiment.to_json()) == experiment


def test_settings_that_an_older_run_does_not_know_have_their_defaults():
    content = RECIPES["scratch"]().to_json()
    del content["loss"]["memory"], content["loop"]["chunk"], content["loop"]["optimizer"]["freeze_batchnorm"]
    del content["transfer"]
    assert Experiment.from_json(content) == RECIPES["scratch"]()


def test_what_stages_need_is_checked_at_once():
    folder = RECIPES["folder"]()
    for changed, message in (
        ({"model": replace(folder.model, pretrained=False)}, "transfer.stages: found with efficientnet_lite0 from ran"),
        ({"model": replace(folder.model, head="linear+bn")}, r"model.head: found linear\+bn with transfer.stages"),
        ({"test": replace(folder.test, crop=True)}, "test.crop: found with transfer.stages, expected none"),
    ):
        with pytest.raises(ValueError, match=message):
            replace(folder, **changed)
        plain = replace(folder, transfer=replace(folder.transfer, stages=()))
        replace(plain, **changed)


def test_patience_needs_classes_to_validate_on():
    with pytest.raises(ValueError, match=r"loop\.patience: found 2 without validation .* \(--data.validation-share\)"):
        RECIPES["glyphs"](loop__patience=2, data__validation_share=0.0)
    assert RECIPES["glyphs"](loop__patience=2, data__validation_share=0.2).loop.patience == 2
    assert RECIPES["folder"](loop__patience=2, data__validation_share=0.0).loop.patience == 2  # its stages hold out
    searched = of_search(RECIPES["glyphs"](loop__patience=2, data__validation_share=0.2))
    assert (searched.loop.patience, searched.data.validation_share) == (0, 0)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"memory": -1}, "loss.memory: found -1, expected 0 or a number of embeddings"),
        ({"sample": 0.5}, "loss.sample: found 0.5 with level pair, expected level class or joint"),
        ({"sample": 2.0, "level": "class"}, "loss.sample: found 2.0, expected above 0 and at most 1"),
        ({"sample": 0.0, "level": "class"}, "loss.sample: found 0.0, expected above 0 and at most 1"),
    ],
)
def test_bad_loss_settings(settings, message):
    with pytest.raises(ValueError, match=message):
        LossConfig(**settings)

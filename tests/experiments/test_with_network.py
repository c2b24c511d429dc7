"""Who says how many steps wants the network trained."""

from circlet.cli.flags import parse
from circlet.cli.train import TrainArguments
from circlet.recipes import RECIPES

ALL = ("closed_form", "head", "network")


def parsed(recipe, *arguments):
    return parse(TrainArguments, arguments, RECIPES[recipe](), prog="circlet train", description="").experiment


def test_steps_train_the_network():
    assert parsed("folder").transfer.stages == ALL[:2]
    assert parsed("folder", "--steps", "40").transfer.stages == ALL
    assert parsed("folder", "--loop.steps=40").transfer.stages == ALL
    assert RECIPES["folder"](steps=40).transfer.stages == ALL
    assert RECIPES["folder"](loop__steps=40).transfer.stages == ALL


def test_stages_that_are_given_stay():
    assert parsed("folder", "--steps", "40", "--transfer.stages", "head").transfer.stages == ("head",)
    assert parsed("folder", "--steps", "40", "--transfer.stages").transfer.stages == ()
    assert parsed("scratch", "--steps", "40").transfer.stages == ()
    assert RECIPES["folder"](steps=40).loop.steps == 40

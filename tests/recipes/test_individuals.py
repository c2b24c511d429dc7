from circlet.recipes.individuals import individuals
from circlet.recipes.settings import manifest


def test_individuals():
    experiment = individuals()
    assert (experiment.recipe, experiment.task, experiment.data.source) == ("individuals", "retrieval", "manifest")
    assert experiment.batch.sampler == "pk"
    assert not experiment.augment.flip
    assert experiment.model == manifest().model
    assert "\n" not in (individuals.__doc__ or "")

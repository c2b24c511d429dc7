"""Optuna over a recipe: settings are chosen on training classes held out, and the test classes see one run, the last.

Run:     python examples/optuna_recipes.py      (pip install optuna)
Prints:  MAP@R on validation classes of each trial, and Recall@1 on the test classes with the best settings.

`circlet compare RECIPE --search 8` searches losses and their settings by itself.
"""

import optuna

import circlet
from circlet.data import glyphs, hold_out_classes
from circlet.data.images import Splits

SHORT = {"steps": 12, "batch__classes": 12, "augment__dihedral_classes": False}
whole = glyphs(num_instances=8)
# Of the training classes a part takes the place of the test: trials never see those of the test.
searched = Splits(*hold_out_classes(whole.train, 0.3))


def experiment(margin: float, gamma: float, learning_rate: float):
    loss = circlet.CircleLoss(margin=margin, gamma=gamma)
    return circlet.recipes.glyphs(loss=loss, loop__optimizer=optimizer(learning_rate), **SHORT)


def optimizer(learning_rate: float) -> circlet.training.OptimizerConfig:
    return circlet.training.OptimizerConfig(learning_rate=learning_rate, weight_decay=1e-2)


def objective(trial: optuna.Trial) -> float:
    settings = experiment(
        trial.suggest_float("margin", 0.1, 0.5),
        trial.suggest_float("gamma", 8, 128, log=True),
        trial.suggest_float("learning_rate", 3e-4, 1e-2, log=True),
    )
    try:
        run = circlet.train(settings, data=searched, run_dir=f"runs/trial-{trial.number}", report=False)
    except FloatingPointError as error:  # it diverged
        raise optuna.TrialPruned(str(error)) from error
    print(f"trial {trial.number}: MAP@R {run.metrics['map@r']:.3f} on validation classes, {trial.params}")
    return run.metrics["map@r"]


if __name__ == "__main__":
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(direction="maximize", sampler=optuna.samplers.TPESampler(seed=0))
    study.optimize(objective, n_trials=3)
    run = circlet.train(experiment(**study.best_params), data=whole, run_dir="runs/best", report=False)
    print(f"best: {study.best_params}; Recall@1 on held-out classes {run.metrics['recall@1']:.3f}")

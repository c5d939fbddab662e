"""Optuna asks, seqlab trains: optuna_search.py [--trials N] --out DIR

Looks for the units and the learning rate with which the preset echo has the lowest val_loss. A trial is a run
of two seeds in DIR/0, DIR/1, …, and its figure is the mean over them of what early stopping says in summary.json.

Optuna's sampler has a seed, and trials are told one after the other. So the same command goes on with a search
that was stopped: it asks for the same trials, and `seqlab resume` trains of them what is not there.
"""

import argparse
import json
import os
import pathlib
import subprocess
import sys
import tomllib

import optuna

SEQLAB = os.environ.get("SEQLAB", "seqlab")

# What all trials have alike.
TRAINING = (
    "echo --epochs 40 --replicas 2 --evaluation-samples 200 --validate-every 1 --validation-samples 200 "
    "--early-stopping val_loss --early-stopping-mode min --early-stopping-patience 10 --restore-best-weights true"
)

# Exit statuses of seqlab for a failure in the run, such as that all replicas diverge.
FAILURE = 1


def train(run, fields):
    """Trains a run with `fields` in the directory `run`, or goes on with it. Returns whether that came to its end."""
    if (run / "config.toml").exists():
        config = tomllib.loads((run / "config.toml").read_text())
        if any(config[field] != value for field, value in fields.items()):
            sys.exit(f"error: {run}: is a run of another search\nhint: give another --out")
        command = [SEQLAB, "resume", str(run), "--quiet"]
    else:
        flags = [f"--{field.replace('_', '-')}={value}" for field, value in fields.items()]
        command = [SEQLAB, "train", *TRAINING.split(), *flags, "--out", str(run), "--quiet"]
    status = subprocess.run(command).returncode
    if status not in (0, FAILURE):
        # Bad usage, or a signal.
        sys.exit(status if status > 0 else 128 - status)
    return status == 0


def val_loss(run):
    """The mean over the replicas of the lowest val_loss; None if one has diverged."""
    replicas = json.loads((run / "summary.json").read_text())["replicas"]
    if any("diverged_at_step" in replica for replica in replicas):
        return None
    return sum(replica["early_stopping"]["best"] for replica in replicas) / len(replicas)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=20, metavar="N", help="how many (default: 20)")
    parser.add_argument("--out", type=pathlib.Path, required=True, metavar="DIR", help="directory of all runs")
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(sampler=optuna.samplers.TPESampler(seed=1), direction="minimize")
    for _ in range(options.trials):
        trial = study.ask()
        fields = {
            "units": trial.suggest_int("units", 4, 32, log=True),
            "learning_rate": trial.suggest_float("learning_rate", 1e-3, 1.0, log=True),
        }
        run = options.out / str(trial.number)
        loss = val_loss(run) if train(run, fields) else None
        if loss is None:
            study.tell(trial, state=optuna.trial.TrialState.FAIL)
        else:
            study.tell(trial, loss)
        shown = ", ".join(f"{field} {value:.4g}" for field, value in fields.items())
        print(f"{run}: {shown}: " + ("diverged" if loss is None else f"val_loss {loss:.4f}"))
    if all(trial.value is None for trial in study.trials):
        sys.exit("error: every trial has failed")
    best = study.best_trial
    print(f"best of {options.trials} trials: {options.out / str(best.number)}, val_loss {best.value:.4f}")


if __name__ == "__main__":
    main()

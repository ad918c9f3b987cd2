"""Training: arguments, trainer, exact resuming, checkpoints and the run folder."""

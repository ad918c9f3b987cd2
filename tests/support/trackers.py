"""Stand-ins for wandb and mlflow, as far as transformers' callbacks and ours call them: they note what they are told.

The names and arguments are those of wandb 0.31 and mlflow 3.17.
"""

import sys
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType, SimpleNamespace


def _install(patch, name, **content):
    module = ModuleType(name)
    module.__spec__ = ModuleSpec(name, None)
    vars(module).update(content)
    patch.setitem(sys.modules, name, module)
    return module


class _Settings(dict):
    def update(self, settings, *, allow_val_change):
        super().update(settings)


def install_wandb(patch):
    """Puts a `wandb` in place that notes `rows` and `config`."""
    rows, run = [], SimpleNamespace(summary={}, _label=lambda *, code: None)

    def init(*, project, name=None):
        wandb.run = run

    for name in ("wandb.sdk", "wandb.sdk.lib"):
        _install(patch, name)
    _install(patch, "wandb.sdk.lib.config_util", ConfigError=ValueError)
    wandb = _install(patch, "wandb", run=None, init=init, config=_Settings(), rows=rows)
    wandb.log, wandb.define_metric = rows.append, lambda name, step_metric=None, step_sync=None: None
    wandb.Image = lambda path: {"image": Path(path).read_bytes()}
    return wandb


def install_mlflow(patch):
    """Puts an `mlflow` in place that notes `params`, `rows`, `artifacts` and `runs`, each open or ended."""
    params, rows, artifacts, runs = {}, [], [], []

    def active_run():
        return SimpleNamespace(info=SimpleNamespace(run_id="1")) if runs and runs[-1] == "open" else None

    def start_run(*, run_name, nested):
        runs.append("open")

    def end_run():
        runs[-1] = "ended"

    def log_metrics(*, metrics, step, synchronous):
        if not active_run():
            start_run(run_name=None, nested=False)  # as mlflow does
        rows.append({**metrics, "step": step})

    def log_artifact(path, folder):
        artifacts.append((path, folder))

    limits = SimpleNamespace(MAX_PARAM_VAL_LENGTH=6000, MAX_PARAMS_TAGS_PER_BATCH=100)
    calls = {f.__name__: f for f in (active_run, start_run, end_run, log_metrics, log_artifact)}
    return _install(
        patch,
        "mlflow",
        **calls,
        **{"params": params, "rows": rows, "artifacts": artifacts, "runs": runs, "__version__": "3.17.2"},
        utils=SimpleNamespace(validation=limits),
        is_tracking_uri_set=lambda: True,
        get_tracking_uri=lambda: "",
        log_params=lambda given, synchronous: params.update(given),
    )

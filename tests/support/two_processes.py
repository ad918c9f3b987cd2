"""What each of two processes does in `test_processes.py`; started by torchrun, never collected by pytest.

Usage: torchrun --nproc_per_node 2 tests/support/two_processes.py SCENARIO FOLDER
"""

import atexit
import json
import os
import shutil
import signal
import sys
import time
from contextlib import suppress
from pathlib import Path

import numpy as np
import torch
from accelerate import PartialState
from transformers import TrainerCallback, ViTForImageClassification, ViTImageProcessor, logging

from rafdb_vit.commands.evaluate import main as evaluate
from rafdb_vit.data.dataset import load_rafdb
from rafdb_vit.evaluation.inference import predict_logits
from rafdb_vit.model.load import load_trained
from rafdb_vit.runtime.errors import Interrupted, UserError
from rafdb_vit.runtime.processes import (
    broadcast_from_main,
    count_processes,
    gather,
    main_process_first,
    process_index,
    raise_on_all,
)
from rafdb_vit.runtime.signals import SignalWatch
from rafdb_vit.training.arguments import ExpressionTrainingArguments
from rafdb_vit.training.checkpoints import list_checkpoints, step_of
from rafdb_vit.training.divergence import Diverged
from rafdb_vit.training.trainer import build_trainer
from tests.support.checkpoint_content import difference
from tests.support.models import QUICK_TRAINING

EVERY_THREE_STEPS = {
    "eval_strategy": "steps",
    "save_strategy": "steps",
    "eval_steps": 3,
    "save_steps": 3,
    "logging_strategy": "steps",
    "logging_steps": 1,
}


def build(folder, out, *, signals=None, batch=8, soft=False, **changes):
    """Builds the trainer that every scenario uses: 49 training faces, which neither 8 nor 16 divides."""
    vectors = folder / "distribution_basic.txt" if soft else None
    splits = load_rafdb(folder / "faces", validation_fraction=0.3, distribution_file=vectors)
    settings = {
        **QUICK_TRAINING,
        **EVERY_THREE_STEPS,
        "per_device_train_batch_size": batch,
        "per_device_eval_batch_size": 4,
        "label_smoothing_factor": 0.1,
        **changes,
    }
    args = ExpressionTrainingArguments(output_dir=str(folder / out), **settings)
    return build_trainer(
        ViTForImageClassification.from_pretrained(folder / "model"),
        ViTImageProcessor.from_pretrained(folder / "model"),
        args=args,
        train=splits["train"],
        validation=splits["validation"],
        layer_decay=0.8,
        early_stopping_patience=None,
        signals=signals,
    )


def logged(trainer):
    """Returns every logged loss and validation figure by step and name."""
    names = ("loss", "eval_loss", "eval_macro_f1")
    return {f"{row['step']}/{name}": row[name] for row in trainer.state.log_history for name in names if name in row}


def resumed_equals(folder, whole, build_again):
    """Resumes from the checkpoint of step 6, within the second epoch, and compares every later one."""
    run = folder / "resumed"
    if process_index() == 0:
        for checkpoint in list_checkpoints(whole.run_folder):
            if step_of(checkpoint) <= 6:
                shutil.copytree(checkpoint, run / checkpoint.name)
    gather(None)
    resumed = build_again("resumed")
    resumed.train(resume_from_checkpoint=str(run / "checkpoint-6"))
    for checkpoint in list_checkpoints(whole.run_folder):
        assert difference(run / checkpoint.name, checkpoint) == [], checkpoint.name
    assert logged(resumed) == logged(whole)


class SignalOnSecond(TrainerCallback):
    """Sends one of the two processes SIGTERM within its fourth step."""

    def on_step_begin(self, args, state, control, **kwargs):
        if process_index() == 1 and state.global_step == 4:
            os.kill(os.getpid(), signal.SIGTERM)


def check_waiting(folder):
    """Values and mistakes of the main process reach the other, which waits."""
    assert gather(process_index()) == [0, 1]
    assert broadcast_from_main(lambda: process_index() + 10) == 10
    order = folder / "order"
    with main_process_first():
        if process_index() == 0:
            time.sleep(0.5)
            order.write_text("main")
        assert order.read_text() == "main"
    for act in (
        lambda: broadcast_from_main(lambda: fail("main")),
        lambda: fail_in(main_process_first(), 0),
        lambda: fail_in(raise_on_all(), 1),
    ):
        try:
            act()
        except UserError as error:
            assert str(error).startswith("mistake of") and not error.on_one
        else:
            raise AssertionError("the mistake did not reach this process")


def fail(who):
    raise UserError(f"mistake of {who}")


def fail_in(block, process):
    with block:
        if process_index() == process:
            fail(process)


def check_scoring(folder):
    """Each face of a split is scored once, by whichever process, in order."""
    splits = load_rafdb(folder / "faces", validation_fraction=0.3)
    model, processor = load_trained(folder / "model")
    for count in (1, 2, 5, 21):
        part = splits["validation"].select(range(count))
        found = predict_logits(model, processor, part, batch_size=4)
        alone = np.concatenate(
            [model(processor(face["image"], return_tensors="pt")["pixel_values"]).logits.detach() for face in part]
        )
        assert found.shape == alone.shape
        assert np.abs(found - alone).max() < 1e-5


def count_gloo_workers():
    """Returns how many threads of gloo's this process has; 0 without /proc (macOS)."""
    names = []
    for thread in Path("/proc/self/task").glob("*/comm"):
        with suppress(OSError):  # it has just ended
            names.append(thread.read_text())
    return sum(name.startswith("pt_gloo") for name in names)


def check_ended_threads(most):
    """Ends this process with status 3 if more of gloo's workers outlive what Python does at its end."""
    if hasattr(sys, "last_type"):
        return  # it failed, and its traceback keeps what was in use
    # A thread that has been joined may still stand there for a moment.
    deadline = time.monotonic() + 5
    while (left := count_gloo_workers()) > most and time.monotonic() < deadline:
        time.sleep(0.01)
    if left > most:
        sys.stderr.write("workers of gloo's outlived their groups\n")
        sys.stderr.flush()
        os._exit(3)


def starve_gloo():
    """Lets gloo's threads run when nothing else wants the one core of this process, which is busy: as by bad luck."""
    if not hasattr(os, "SCHED_IDLE"):
        return
    core = process_index() % os.cpu_count()
    for thread in map(int, os.listdir("/proc/self/task")):
        os.sched_setaffinity(thread, {core})
        if Path(f"/proc/self/task/{thread}/comm").read_text().startswith("pt_gloo"):
            os.sched_setscheduler(thread, os.SCHED_IDLE, os.sched_param(0))
    if os.fork() == 0:
        end = time.monotonic() + 1.0
        while time.monotonic() < end:
            pass
        os._exit(0)


def end(folder):
    """The end of a run, and nothing before it: a model in training, last words to each other, and out.

    gloo's threads get no time to put away what they have done. Where they outlived the groups, 2 of 5 such ends, and 1
    of 30 on a busy machine without this, were aborts.
    """
    PartialState(cpu=True)
    network = torch.nn.parallel.DistributedDataParallel(torch.nn.Linear(8, 8))
    network(torch.ones(2, 8)).sum().backward()
    gather(None)
    starve_gloo()
    broadcast_from_main(lambda: None)


def check_divergence(trainer):
    """Both processes end at the step at which one of them has a loss that is not finite."""
    loss = trainer.compute_loss_func

    def plant(outputs, labels, num_items_in_batch=None):
        found = loss(outputs, labels, num_items_in_batch)
        return found * float("nan") if trainer.state.global_step == 4 and process_index() == 1 else found

    trainer.compute_loss_func = plant
    try:
        trainer.train()
    except Diverged as end:
        assert end.step == 5 and "the training loss is not a finite number" in end.line
    else:
        raise AssertionError("training went on")
    assert [step_of(checkpoint) for checkpoint in list_checkpoints(trainer.run_folder)] == [3]


def shared(folder):
    """Two processes share the work: the same losses, exact resuming, one signal for both."""
    PartialState(cpu=True)
    assert count_processes() == 2
    check_waiting(folder)
    check_scoring(folder)
    faces = str(folder / "faces")
    evaluate([str(folder / "model"), "--data_dir", faces, "--output_dir", str(folder / "evaluated"), "--use_cpu"])
    whole = build(folder, "two")
    whole.train()
    if process_index() == 0:
        (folder / "logged.json").write_text(json.dumps(logged(whole)))
    resumed_equals(folder, whole, lambda out: build(folder, out))
    soft = build(folder, "soft-two", soft=True)
    soft.train()
    if process_index() == 0:
        (folder / "logged-soft.json").write_text(json.dumps(logged(soft)))
    dropped = build(folder, "dropped-two", dataloader_drop_last=True)
    dropped.train()
    if process_index() == 0:
        (folder / "logged-dropped.json").write_text(json.dumps(logged(dropped)))
    check_divergence(build(folder, "diverged"))
    with SignalWatch() as signals:
        stopped = build(folder, "stopped", signals=signals)
        stopped.add_callback(SignalOnSecond())
        try:
            stopped.train()
        except Interrupted as stop:
            assert (stop.signum, stopped.state.global_step) == (signal.SIGTERM, 5)
        else:
            raise AssertionError("the signal of the other process was not heeded")
    going_on = build(folder, "stopped")
    going_on.train(resume_from_checkpoint=str(folder / "stopped" / "checkpoint-5"))
    for checkpoint in list_checkpoints(whole.run_folder):
        assert difference(going_on.run_folder / checkpoint.name, checkpoint) == [], checkpoint.name


def shard_on_cpus():
    """Makes accelerate shard with FSDP2 on CPUs, where it leaves FSDP out without a word."""
    from accelerate.state import AcceleratorState
    from accelerate.utils import DistributedType

    os.environ.update(
        ACCELERATE_USE_FSDP="true",
        FSDP_VERSION="2",
        FSDP_STATE_DICT_TYPE="FULL_STATE_DICT",
        FSDP_AUTO_WRAP_POLICY="TRANSFORMER_BASED_WRAP",
        FSDP_RESHARD_AFTER_FORWARD="true",
        FSDP_CPU_RAM_EFFICIENT_LOADING="false",
    )
    start = AcceleratorState.__init__

    def start_as_on_gpus(self, *args, **kwargs):
        PartialState._shared_state["distributed_type"] = DistributedType.MULTI_GPU
        start(self, *args, **kwargs)

    AcceleratorState.__init__ = start_as_on_gpus


def sharded(folder):
    """The model and the optimizer are sharded: the same losses, whole checkpoints, exact resuming, the best model."""
    from torch.distributed.checkpoint.state_dict import StateDictOptions, get_model_state_dict
    from torch.distributed.tensor import DTensor

    from rafdb_vit.training import arguments as training_arguments

    # The refusal itself has a test; what it refuses is what accelerate does with CPUs, mended above.
    training_arguments.refuse_sharding = lambda use_cpu: None
    shard_on_cpus()
    whole = build(folder, "sharded")
    whole.train()
    assert any(isinstance(parameter, DTensor) for parameter in whole.model.parameters())
    if process_index() == 0:
        (folder / "logged.json").write_text(json.dumps(logged(whole)))
    best, _ = load_trained(whole.state.best_model_checkpoint)
    found = get_model_state_dict(whole.model, options=StateDictOptions(full_state_dict=True))
    assert found.keys() == best.state_dict().keys()
    assert all(torch.equal(tensor, found[name]) for name, tensor in best.state_dict().items())
    resumed_equals(folder, whole, lambda out: build(folder, out))
    check_divergence(build(folder, "sharded-diverged"))


if __name__ == "__main__":
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    # torch's caches keep the group of a sharded model; nothing has gone over it for long when the run ends.
    atexit.register(check_ended_threads, {"sharded": 2}.get(sys.argv[1], 0))
    {"shared": shared, "sharded": sharded, "end": end}[sys.argv[1]](Path(sys.argv[2]))

"""Training that diverges: its first number that is not finite, found by all processes at the same step.

What is looked at, and when: loss and gradient norm after every step, before anything is logged, evaluated or saved; the
weights before every evaluation and every checkpoint. That reads two numbers from the device for each optimizer step, in
place of the two for each batch with which `logging_nan_inf_filter` of the stock Trainer hides such a loss.
"""

import math
from collections.abc import Iterable
from typing import Any

import torch
from torch.distributed.tensor import DTensor

from rafdb_vit.runtime.errors import UserError
from rafdb_vit.runtime.processes import all_reduce_max

_FAULTS = ("", "the gradient norm", "the training loss", "a weight")
"""What is not finite; where processes differ, the last of these is named."""
_LEAST_SCALE = 1.0
"""FP16 multiplies the loss by a scale, which it halves whenever gradients overflow. Below this it mends nothing any
more: the default of DeepSpeed's `min_loss_scale` and Megatron-LM's `--min-loss-scale`."""


class Diverged(UserError):
    """Training met a number that is not finite, and ended; every process raises it at the same step.

    Attributes:
        step: The step, from 1, at which it was met.
    """

    def __init__(self, line: str, *, step: int) -> None:
        super().__init__(line)
        self.step = step


def find_step_fault(loss: Any, norm: Any, accelerator: Any) -> str:
    """Returns which number of a step is not finite on any process; empty if none is. Every process has to call it.

    A gradient norm counts only where FP16's loss scaling cannot mend it: it skips such a step, and lowers the scale.

    Args:
        loss: The training loss, a tensor or a number.
        norm: Gradient norm, a tensor, a number or None.
        accelerator: accelerate's, which knows of loss scaling.
    """
    fault = 0
    if not math.isfinite(float(loss)):
        fault = 2
    elif norm is not None and not math.isfinite(float(norm)) and not _is_skipped(accelerator):
        fault = 1
    return _FAULTS[all_reduce_max(fault)]


def _is_skipped(accelerator: Any) -> bool:
    """Tells whether FP16's loss scaling has skipped the step, and a lower scale may still help."""
    scaler = accelerator.scaler
    return scaler is not None and accelerator.optimizer_step_was_skipped and scaler.get_scale() >= _LEAST_SCALE


def find_weight_fault(model: torch.nn.Module) -> str:
    """Returns which of a model's tensors is not finite on any process; empty if all are. Every process has to call it.

    Of buffers, such as the averages of a batch normalization, only those count that are not numbers: in some models a
    mask is infinite on purpose.
    """
    weights, buffers = map(_list_floating, (model.parameters(), model.buffers()))
    faults = [~weight.isfinite().all() for weight in weights] + [buffer.isnan().any() for buffer in buffers]
    is_faulty = bool(faults) and bool(torch.stack(faults).any())
    return _FAULTS[all_reduce_max(3 if is_faulty else 0)]


def _list_floating(tensors: Iterable[torch.Tensor]) -> list[torch.Tensor]:
    """Returns the tensors of real numbers; of sharded ones what this process has of them."""
    own = [tensor.to_local() if isinstance(tensor, DTensor) else tensor for tensor in tensors]
    return [tensor.detach() for tensor in own if tensor.is_floating_point()]


def describe_divergence(fault: str, *, step: int, rate: float, args: Any, best: str | None) -> str:
    """Returns the line on training that diverged: where, and what to change.

    Args:
        fault: From `find_step_fault` or `find_weight_fault`.
        step: The step, from 1.
        rate: The learning rate at that step.
        args: The training arguments.
        best: The best checkpoint so far; None if there is none.
    """
    changes = ["a lower --learning_rate", "more --warmup_steps"]
    changes.append("a lower --max_grad_norm" if args.max_grad_norm else "--max_grad_norm 1")
    if args.fp16:
        changes.append("--bf16 or --fp16 False in place of fp16")
    again = "train anew"
    if best is not None:
        again = f"{again}, or from the best weights so far: --model_name_or_path {best}, with another --output_dir"
    return (
        f"training diverged at step {step}, where the learning rate was {rate:.1e}: {fault} is not a finite number any "
        f"more. Take {', '.join(changes)}, and {again}"
    )

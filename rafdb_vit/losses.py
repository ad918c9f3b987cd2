"""The training loss, a mean over the faces of a whole optimizer step, however they are shared out."""

from typing import Any

import torch
from torch.nn import functional as F

IGNORED = -100
"""Label of a face that does not count: one that fills up another process's last batch. torch's own convention."""


class ExpressionLoss:
    """Cross-entropy with label smoothing, for the Trainer's `compute_loss_func`.

    The stock Trainer averages over each process's and each accumulated batch's mean: faces of a short last batch weigh
    more than others, and those that fill it up count twice. Divided by the faces of the whole step, 2 processes x 8 and
    2 accumulated batches of 8 give the gradient of one batch of 16.
    """

    def __init__(self, label_smoothing: float = 0.0) -> None:
        self.label_smoothing = label_smoothing

    def __call__(
        self, outputs: Any, labels: torch.Tensor, num_items_in_batch: torch.Tensor | int | None = None
    ) -> torch.Tensor:
        """Returns this batch's share of the step's loss, in nats.

        Args:
            outputs: A model output with `logits`: [B, C] raw scores.
            labels: [B] ids in [0, C), or `IGNORED`.
            num_items_in_batch: Faces that count in the whole step, on all processes; those of this batch if None.
        """
        logits: torch.Tensor = outputs.logits
        total = F.cross_entropy(
            logits.float(), labels, ignore_index=IGNORED, reduction="sum", label_smoothing=self.label_smoothing
        )
        faces = (labels != IGNORED).sum() if num_items_in_batch is None else num_items_in_batch
        return total / faces


def ignore_padding(labels: torch.Tensor, *, faces: int, processes: int, process: int) -> torch.Tensor:
    """Marks the faces that fill up the last batch of an epoch.

    accelerate gives every process batches of the same size and fills the last ones up with faces of the first ones.

    Args:
        labels: [B] labels of this process's last batch; with several processes, all have
            one of the same size.
        faces: Size of the training split.
        processes: How many processes share it.
        process: This one's rank.

    Returns:
        [B] labels, `IGNORED` where the face fills up.
    """
    if processes == 1:
        return labels
    size = len(labels)
    left = faces % (size * processes) or size * processes
    mine = min(max(left - process * size, 0), size)
    if mine == size:
        return labels
    return torch.cat([labels[:mine], torch.full_like(labels[mine:], IGNORED)])

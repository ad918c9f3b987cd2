"""The training loss, a mean over the faces of a whole optimizer step, however they are shared out."""

from typing import Any

import torch
from torch.nn import functional as F

IGNORED = -100
"""Label of a face that does not count: one that fills up another process's last batch. torch's own convention; a
distribution vector of such a face holds nothing else.
"""


class ExpressionLoss:
    """Cross-entropy with label smoothing, against labels or distributions, for the Trainer's `compute_loss_func`.

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
            labels: [B] ids in [0, C), or `IGNORED`; or [B, C] probabilities.
            num_items_in_batch: Entries of `labels` that count in the whole step, on all processes, as the Trainer
                counts them: one a face for ids, C a face for probabilities; those of this batch if None.
        """
        logits: torch.Tensor = outputs.logits
        items = (labels != IGNORED).sum() if num_items_in_batch is None else num_items_in_batch
        if labels.ndim == 1:
            settings: dict[str, Any] = {"ignore_index": IGNORED, "label_smoothing": self.label_smoothing}
            return F.cross_entropy(logits.float(), labels, reduction="sum", **settings) / items
        counts = labels[:, 0] != IGNORED
        targets = labels.where(counts[:, None], 0.0)
        losses = F.cross_entropy(logits.float(), targets, reduction="none", label_smoothing=self.label_smoothing)
        return (losses * counts).sum() / (items / labels.shape[1])


def ignore_padding(labels: torch.Tensor, *, faces: int, processes: int, process: int) -> torch.Tensor:
    """Marks the faces that fill up the last batch of an epoch.

    accelerate gives every process batches of the same size and fills the last ones up with faces of the first ones.

    Args:
        labels: [B] ids or [B, C] probabilities of this process's last batch; with several processes, all have one of
            the same size.
        faces: Size of the training split.
        processes: How many processes share it.
        process: This one's rank.

    Returns:
        The labels, `IGNORED` where the face fills up.
    """
    if processes == 1:
        return labels
    size = len(labels)
    left = faces % (size * processes) or size * processes
    mine = min(max(left - process * size, 0), size)
    if mine == size:
        return labels
    return torch.cat([labels[:mine], torch.full_like(labels[mine:], IGNORED)])

"""The order in which the faces of an epoch are seen."""

import hashlib
from collections.abc import Iterator

import torch
from torch.utils.data import Sampler


class EpochSampler(Sampler[int]):
    """Shuffles a split anew each epoch, as a function of seed and epoch alone; can leave out an incomplete last step.

    The stock sampler learns the epoch from accelerate, which loses it when a run on several processes is resumed within
    an epoch: the first epoch's order would come again.

    Args:
        length: Faces in the split.
        seed: Every order is a function of this seed and the epoch (`set_epoch`).
        whole: An epoch has a multiple of so many faces; the last ones of its order are left out.
    """

    def __init__(self, length: int, *, seed: int, whole: int = 1) -> None:
        self.length = length
        self.seed = seed
        self.count = length - length % whole
        self.epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """Sets the epoch (from 0) that the order is for."""
        self.epoch = epoch

    def __len__(self) -> int:
        return self.count

    def __iter__(self) -> Iterator[int]:
        # torch's generator takes 32 bits of a seed: both numbers have to reach them.
        digest = hashlib.blake2b(f"{self.seed}/{self.epoch}".encode(), digest_size=4).digest()
        generator = torch.Generator().manual_seed(int.from_bytes(digest, "little"))
        return iter(torch.randperm(self.length, generator=generator)[: self.count].tolist())

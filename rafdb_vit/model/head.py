"""The classification head of a model: what changes its shape with the number of classes, whatever it is called.

It cannot be told by names: CLIP and SigLIP keep their whole vision tower outside `base_model_prefix`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import nn
from transformers import PretrainedConfig, PreTrainedModel

from rafdb_vit.data.labels import label_maps

_NORMS = (nn.LayerNorm, nn.GroupNorm, nn.RMSNorm, nn.modules.batchnorm._BatchNorm)


def set_classes(config: PretrainedConfig, names: Sequence[str]) -> None:
    """Sets the classes of a configuration; PVT has a field for their number, too, which builds its head."""
    config.num_labels = len(names)
    config.id2label, config.label2id = label_maps(names).values()


@dataclass(frozen=True)
class WeightFaults:
    """The names of the tensors in which a model and the file of its weights differ.

    Attributes:
        missing: Not in the file.
        mismatched: Of another shape there.
        surplus: Only in the file.
    """

    missing: frozenset[str]
    mismatched: frozenset[str]
    surplus: frozenset[str]

    @property
    def lacking(self) -> frozenset[str]:
        """What could not be loaded."""
        return self.missing | self.mismatched


@dataclass(frozen=True)
class Head:
    """The names of the tensors of a classification head.

    Attributes:
        weights: What changes shape with the number of classes.
        norms: The normalizations right before it that a model without a head does not have: in CvT, LeViT, PoolFormer
            and SwiftFormer.
    """

    weights: frozenset[str]
    norms: frozenset[str]

    @classmethod
    def find(cls, model: PreTrainedModel, others: Mapping[str, torch.Size]) -> "Head":
        """Finds the head of a model.

        Args:
            model: The model.
            others: The shapes of the tensors of the same model with another number of classes.
        """
        weights = {name for name, tensor in model.state_dict().items() if tensor.shape != others[name]}
        norms = set()
        for place in {_place(_place(name)) for name in weights}:
            for child, module in model.get_submodule(place).named_children():
                within = f"{place}.{child}".lstrip(".")
                norms |= {f"{within}.{name}" for name in module.state_dict() if isinstance(module, _NORMS)}
        return cls(frozenset(weights), frozenset(norms))

    def list_lost(self, faults: WeightFaults) -> frozenset[str]:
        """Returns the weights without which a checkpoint is damaged, not merely one with another head or with none."""
        if faults.lacking and not self.weights <= faults.lacking:
            return faults.lacking
        replaceable = self.weights | self.norms if self.weights <= faults.missing else self.weights
        return faults.lacking - replaceable

    def reset(self, model: PreTrainedModel) -> None:
        """Draws the weights of the head anew, as transformers draws what a checkpoint lacks."""
        for name, tensor in (*model.named_parameters(), *model.named_buffers()):
            tensor._is_hf_initialized = name not in self.weights  # type: ignore[attr-defined]
        for module in model.modules():
            module._is_hf_initialized = False  # type: ignore[assignment]
        model.initialize_weights()


def _place(name: str) -> str:
    """Returns the name of the module that holds a tensor or a module; that of the model is empty."""
    return name.rpartition(".")[0]

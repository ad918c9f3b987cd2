"""Parameter groups for the optimizer: weight decay on matrices only, layer-wise learning-rate decay."""

import re
from typing import Any

from torch import nn
from transformers import PreTrainedModel

from rafdb_vit.runtime.errors import UserError

_LAYER = re.compile(r"(?:^|\.)(?:layer|layers|blocks|block|stages)\.(\d+)(?=\.)")
_UNDECAYED = ("cls_token", "mask_token", "distillation_token", "position_embeddings", "pos_embed")


def default_layer_decay(model: PreTrainedModel) -> float:
    """Returns the layer-wise decay that a model is trained with unless told: 0.75, and 1 (none) from scratch.

    Pretrained layers hardly need to change; random ones have everything to learn.
    """
    return 0.75 if model.name_or_path else 1.0


def takes_weight_decay(name: str, parameter: nn.Parameter) -> bool:
    """Tells whether weight decay applies: to matrices, not to biases, norms, class token or position embeddings."""
    return parameter.ndim > 1 and not name.endswith(_UNDECAYED)


def _depth(name: str, model: PreTrainedModel, layers: int) -> int:
    """Returns 0 for the embeddings, 1 to `layers` for the encoder's layers, `layers` + 1 for final norm and head."""
    prefix = f"{model.base_model_prefix}."
    if name.startswith(prefix) and (match := _LAYER.search(name)):
        return int(match.group(1)) + 1
    return 0 if name.startswith(f"{prefix}embeddings.") else layers + 1


def build_parameter_groups(
    model: PreTrainedModel, *, learning_rate: float, weight_decay: float, layer_decay: float
) -> list[dict[str, Any]]:
    """Builds an optimizer's parameter groups.

    With layer-wise learning-rate decay d, the layer k of n learns at `learning_rate * d ** (n + 1 - k)`: the
    embeddings (k = 0) slowest, final norm and head (k = n + 1) at the full rate. So in BEiT (Bao et al., 2022) and in
    MAE's `lr_decay.py` (He et al., 2022), from which FMAE, the best published reader of RAF-DB, takes it.

    Args:
        model: The model to train.
        learning_rate: The rate of the head.
        weight_decay: Decay of matrices.
        layer_decay: d, in (0, 1]; 1 gives every layer the same rate.

    Returns:
        Groups with `params`, `lr` and `weight_decay`, the head's first (the Trainer logs the first one's rate); without
        layer-wise decay at most two, else at most two for each of the layers + 2 rates.

    Raises:
        UserError: `layer_decay` is out of range, or the model is not built of that many layers.
    """
    if not 0 < layer_decay <= 1:
        raise UserError(
            f"--layer_decay {layer_decay}: expected a number above 0 and up to 1 (1: the same rate for all)"
        )
    layers = getattr(model.config, "num_hidden_layers", 0)
    parameters = [(name, p) for name, p in model.named_parameters() if p.requires_grad]
    depths = {name: _depth(name, model, layers) if layer_decay < 1 else layers + 1 for name, _ in parameters}
    nested = any(len(_LAYER.findall(name)) > 1 for name, _ in parameters)
    if layer_decay < 1 and (nested or layers < 1 or set(depths.values()) != set(range(layers + 2))):
        raise UserError(
            f"--layer_decay {layer_decay}: a {model.config.model_type} model is not one embedding, a row of layers and "
            "a head; use --layer_decay 1"
        )
    groups: dict[tuple[int, bool], dict[str, Any]] = {}
    for name, parameter in parameters:
        decays, depth = takes_weight_decay(name, parameter), depths[name]
        group = {
            "params": [],
            "lr": learning_rate * layer_decay ** (layers + 1 - depth),
            "weight_decay": weight_decay if decays else 0.0,
        }
        groups.setdefault((depth, decays), group)["params"].append(parameter)
    return [groups[key] for key in sorted(groups, reverse=True)]

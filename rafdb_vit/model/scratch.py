"""Vision Transformers with random weights, in sizes from one that a laptop trains to the usual one."""

from collections.abc import Sequence
from dataclasses import dataclass

from transformers import ViTConfig, ViTForImageClassification, ViTImageProcessor

from rafdb_vit.data.labels import label_maps
from rafdb_vit.runtime.errors import UserError


@dataclass(frozen=True)
class ScratchSize:
    """Shape of a ViT that is trained from scratch."""

    width: int
    layers: int
    heads: int
    image_size: int
    patch_size: int


SCRATCH_SIZES = {
    # Smaller than the ViT-Ti of DeiT (192 wide, 12 layers): made for a CPU, for trials and for tests.
    "tiny": ScratchSize(width=128, layers=4, heads=4, image_size=64, patch_size=8),
    # ViT-S/16 of DeiT (Touvron et al., 2021) and ViT-B/16 (Dosovitskiy et al., 2021).
    "small": ScratchSize(width=384, layers=12, heads=6, image_size=224, patch_size=16),
    "base": ScratchSize(width=768, layers=12, heads=12, image_size=224, patch_size=16),
}


def build_model(
    size: str, names: Sequence[str], *, image_size: int | None = None, patch_size: int | None = None
) -> tuple[ViTForImageClassification, ViTImageProcessor]:
    """Makes a ViT with random weights, and a processor for it.

    Args:
        size: A key of `SCRATCH_SIZES`.
        names: Class names in model order.
        image_size: Side of the input in pixels; None takes that of the size.
        patch_size: Side of a patch in pixels; None takes that of the size.

    Raises:
        UserError: The patches do not tile the image.
    """
    shape = SCRATCH_SIZES[size]
    side, patch = image_size or shape.image_size, patch_size or shape.patch_size
    if side < 1 or patch < 1 or side % patch:
        raise UserError(f"--image_size {side}: expected a multiple of --patch_size, {patch}")
    config = ViTConfig(
        hidden_size=shape.width,
        num_hidden_layers=shape.layers,
        num_attention_heads=shape.heads,
        intermediate_size=4 * shape.width,
        image_size=side,
        patch_size=patch,
        # He et al. (2015). The default of 0.02 is made for a width of 768 and more: at 128, attention starts so close
        # to uniform that training stays on the plateau of guessing the largest class.
        initializer_range=(2 / shape.width) ** 0.5,
        **label_maps(names),
    )
    return ViTForImageClassification(config), ViTImageProcessor(size={"height": side, "width": side})

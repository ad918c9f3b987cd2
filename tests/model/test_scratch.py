import pytest

from rafdb_vit.data.labels import BASIC
from rafdb_vit.model.scratch import SCRATCH_SIZES, build_model
from rafdb_vit.runtime.errors import UserError


@pytest.mark.parametrize("size", SCRATCH_SIZES)
def test_sizes_from_scratch(size):
    shape = SCRATCH_SIZES[size]
    model, processor = build_model(size, BASIC.names, image_size=32, patch_size=16)
    assert (model.config.hidden_size, model.config.num_hidden_layers) == (shape.width, shape.layers)
    assert (model.config.image_size, model.config.patch_size, processor.size["width"]) == (32, 16, 32)
    assert list(model.config.id2label.values()) == list(BASIC.names)
    assert model.vit.layers[0].attention.q_proj.weight.std().item() == pytest.approx((2 / shape.width) ** 0.5, rel=0.1)


@pytest.mark.parametrize(("image_size", "patch_size"), [(50, 8), (8, 16), (0, 0), (-16, 8)])
def test_patches_that_do_not_tile_the_image(image_size, patch_size):
    if image_size == 0:
        image_size, patch_size = -1, -1
    with pytest.raises(UserError, match="--image_size"):
        build_model("tiny", BASIC.names, image_size=image_size, patch_size=patch_size)

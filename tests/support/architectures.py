"""Every architecture that classifies images, as small as its configuration allows, with the processor it comes with."""

from pathlib import Path

from rafdb_vit.data.labels import BASIC, label_maps

_VIT = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32}
_VIT |= {"image_size": 32, "patch_size": 16, "initializer_range": 0.15}
_WORDS = {
    "hidden_size": 16,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "intermediate_size": 16,
    "vocab_size": 64,
}
_TOWERS = {"vision_config": _VIT, "text_config": {**_WORDS, "vocab_size": 64}, "image_size": 32}
_SWIN = {"image_size": 32, "patch_size": 2, "embed_dim": 8, "depths": [1, 1], "num_heads": [2, 2], "window_size": 4}
_LEVIT = {"hidden_sizes": [16] * 3, "num_attention_heads": [2] * 3, "depths": [1] * 3, "key_dim": [4] * 3}
_LEVIT |= {"image_size": 32, "patch_size": 16}
_FOUR = {"hidden_sizes": [8] * 4, "depths": [1] * 4}
_TWO = {"hidden_sizes": [8, 16], "depths": [1, 1]}
_PERCEIVER = {"num_latents": 4, "d_latents": 32, "num_self_attends_per_block": 1, "num_self_attention_heads": 2}
_PERCEIVER |= {"num_cross_attention_heads": 1, "image_size": 32}
_HGNET = {"stem_channels": [3, 8, 8], "stage_in_channels": [8] * 4, "stage_mid_channels": [8] * 4}
_HGNET |= {"stage_out_channels": [8] * 4, "stage_num_blocks": [1] * 4, "stage_numb_of_layers": [1] * 4}
_HGNET |= {"hidden_sizes": [8] * 4, "depths": [1] * 4, "embedding_size": 8}
_MOBILEVIT = {"image_size": 32, "hidden_sizes": [8] * 3, "neck_hidden_sizes": [4, 4, 8, 8, 8, 8, 8]}
_MOBILEVIT |= {"num_attention_heads": 2, "expand_ratio": 1.0}

ARCHITECTURES = {
    "BeitForImageClassification": _VIT,
    "BitForImageClassification": {**_TWO, "embedding_size": 8, "num_groups": 2},
    "CLIPForImageClassification": _TOWERS,
    "ConvNextForImageClassification": {**_TWO, "num_stages": 2},
    "ConvNextV2ForImageClassification": {**_TWO, "num_stages": 2},
    "CvtForImageClassification": {"embed_dim": [8, 8, 8], "num_heads": [1, 1, 1], "depth": [1, 2, 3]},
    "Data2VecVisionForImageClassification": _VIT,
    "DeiTForImageClassification": _VIT,
    "DeiTForImageClassificationWithTeacher": _VIT,
    "Dinov2ForImageClassification": _VIT,
    "Dinov2WithRegistersForImageClassification": _VIT,
    "DonutSwinForImageClassification": _SWIN,
    "EfficientNetForImageClassification": {
        **{"width_coefficient": 0.25, "depth_coefficient": 0.1, "hidden_dim": 320, "image_size": 32},
    },
    "FocalNetForImageClassification": {
        **{"image_size": 32, "embed_dim": 8, "depths": [1, 1], "focal_levels": [1, 1], "focal_windows": [3, 3]},
    },
    "HGNetV2ForImageClassification": _HGNET,
    "HieraForImageClassification": {
        **{"image_size": [32, 32], "embed_dim": 8, "depths": [1, 1], "num_heads": [1, 1]},
        **{"masked_unit_size": [4, 4], "masked_unit_attention": [True, False], "num_query_pool": 1},
    },
    "IJepaForImageClassification": _VIT,
    "LevitForImageClassification": _LEVIT,
    "LevitForImageClassificationWithTeacher": _LEVIT,
    "MetaClip2ForImageClassification": _TOWERS,
    "MobileNetV1ForImageClassification": {"depth_multiplier": 0.25, "min_depth": 4},
    "MobileNetV2ForImageClassification": {"depth_multiplier": 0.25, "min_depth": 4},
    "MobileViTForImageClassification": _MOBILEVIT,
    "MobileViTV2ForImageClassification": {
        **{"image_size": 64, "width_multiplier": 0.25, "n_attn_blocks": [1, 1, 1]},
        **{"base_attn_unit_dims": [32, 32, 32]},
    },
    "PerceiverForImageClassificationLearned": _PERCEIVER,
    "PerceiverForImageClassificationFourier": {**_PERCEIVER, "d_model": 261},
    "PerceiverForImageClassificationConvProcessing": {**_PERCEIVER, "d_model": 322},
    "PoolFormerForImageClassification": _FOUR,
    "PvtForImageClassification": {**_FOUR, "num_attention_heads": [1] * 4, "image_size": 32, "num_labels": 7},
    "PvtV2ForImageClassification": {**_FOUR, "num_attention_heads": [1] * 4, "image_size": 32},
    "RegNetForImageClassification": {**_FOUR, "embedding_size": 8, "groups_width": 8},
    "ResNetForImageClassification": {**_FOUR, "embedding_size": 8},
    "SegformerForImageClassification": {**_FOUR, "num_attention_heads": [1] * 4, "decoder_hidden_size": 8},
    "SiglipForImageClassification": _TOWERS,
    "SwiftFormerForImageClassification": {"image_size": 32, "depths": [1] * 4, "embed_dims": [8] * 4},
    "SwinForImageClassification": _SWIN,
    "Swinv2ForImageClassification": _SWIN,
    "TextNetForImageClassification": {
        **{"image_size": [32, 32], "stem_out_channels": 8, "hidden_sizes": [8] * 5},
        **{"conv_layer_kernel_sizes": [[[3, 3]]] * 4, "conv_layer_strides": [[2]] * 4},
    },
    "ViTForImageClassification": _VIT,
    "ViTMSNForImageClassification": _VIT,
}
"""The configuration of each class of models."""


def save_architecture(name: str, folder: Path, *, names=BASIC.names) -> Path:
    """Saves a model of one of the classes, its numbers random but none of them the same, and its processor."""
    import torch
    import transformers

    model_class = getattr(transformers, name)
    torch.manual_seed(0)
    model = model_class(model_class.config_class(**ARCHITECTURES[name], **label_maps(names)))
    with torch.no_grad():
        for tensor in model.state_dict().values():
            if tensor.is_floating_point():
                tensor.add_(torch.rand_like(tensor) * 0.05)
    model.save_pretrained(folder)
    _make_processor(model.config.model_type, ARCHITECTURES[name].get("image_size", 32)).save_pretrained(folder)
    return folder


def _make_processor(kind: str, side):
    """Makes the processor that transformers has for a kind of models, for pictures of so many pixels."""
    import transformers
    from transformers.models.auto.image_processing_auto import IMAGE_PROCESSOR_MAPPING_NAMES

    made = (IMAGE_PROCESSOR_MAPPING_NAMES.get(kind) or {"torchvision": "ViTImageProcessor"})["torchvision"]
    side = max(side) if isinstance(side, list) else side
    square, edge = {"height": side, "width": side}, {"shortest_edge": side + 4}
    settings = {
        "BitImageProcessor": {"size": edge, "crop_size": square},
        "CLIPImageProcessor": {"size": edge, "crop_size": square},
        "ConvNextImageProcessor": {"size": {"shortest_edge": side}, "crop_pct": 0.875},
        "DeiTImageProcessor": {"size": {"height": 36, "width": 36}, "crop_size": square},
        "LevitImageProcessor": {"size": edge, "crop_size": square},
        "MobileNetV1ImageProcessor": {"size": edge, "crop_size": square},
        "MobileNetV2ImageProcessor": {"size": edge, "crop_size": square},
        "MobileViTImageProcessor": {"size": edge, "crop_size": square},
        "PerceiverImageProcessor": {"size": square, "crop_size": {"height": 36, "width": 36}},
        "PoolFormerImageProcessor": {"size": edge, "crop_size": square},
        "TextNetImageProcessor": {"size": edge, "crop_size": square, "do_center_crop": True},
    }
    return getattr(transformers, made)(**settings.get(made, {"size": square}))

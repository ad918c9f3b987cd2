"""Fine-tune Vision Transformers to read facial expressions on RAF-DB."""

__version__ = "0.1.0"

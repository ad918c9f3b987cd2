"""RAF-DB as a `datasets.DatasetDict`: indexed from paths, checked as a whole, decoded lazily."""

from rafdb_vit.data.dataset import count_classes, load_rafdb, name_data
from rafdb_vit.data.split import draw_samples, hash_files

__all__ = ["count_classes", "draw_samples", "hash_files", "load_rafdb", "name_data"]

"""RAF-DB as a `datasets.DatasetDict`: indexed from paths, checked as a whole, decoded lazily."""

from rafdb_vit.data.dataset import count_classes
from rafdb_vit.data.run_data import RunData, load_rafdb, load_run_data
from rafdb_vit.data.split import draw_samples, hash_files

__all__ = [
    "RunData",
    "count_classes",
    "draw_samples",
    "hash_files",
    "load_rafdb",
    "load_run_data",
]

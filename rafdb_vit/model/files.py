"""Names of the files of a model's folder."""

CONFIG_FILE = "config.json"
PROCESSOR_FILE = "preprocessor_config.json"
WEIGHTS_FILE = "model.safetensors"
INDEX_FILE = f"{WEIGHTS_FILE}.index.json"
SHARD_FILES = "model-*-of-*.safetensors"
NESTED_FILE = "processor_config.json"
ALSO_READ = (NESTED_FILE, "video_preprocessor_config.json")
ADAPTER_FILE = "adapter_config.json"
SURPLUS_FILES = (*ALSO_READ, ADAPTER_FILE)
"""What transformers would read too, where it lies beside a model; a run writes none."""

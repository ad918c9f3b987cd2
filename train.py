"""Fine-tunes a Vision Transformer to read facial expressions: `accelerate launch train.py --data_dir RAFDB`."""

import sys

from rafdb_vit.commands.parser import run_command
from rafdb_vit.commands.train import main

if __name__ == "__main__":
    sys.exit(run_command(main))

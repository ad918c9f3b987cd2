"""Fine-tunes a Vision Transformer to read facial expressions: `accelerate launch train.py --data_dir RAFDB`."""

import sys

from rafdb_vit.runtime.requirements import refusing_missing_modules

if __name__ == "__main__":
    with refusing_missing_modules():
        from rafdb_vit.commands.parser import run_command
        from rafdb_vit.commands.train import main

        sys.exit(run_command(main))

"""Publishes a run on the Hugging Face Hub: `python push_to_hub.py RUN --repo_id USER/NAME`."""

import sys

from rafdb_vit.commands.parser import run_command
from rafdb_vit.commands.push import main

if __name__ == "__main__":
    sys.exit(run_command(main))

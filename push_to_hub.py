"""Publishes a run on the Hugging Face Hub: `python push_to_hub.py RUN --repo_id USER/NAME`."""

import sys

from rafdb_vit.runtime.requirements import refusing_missing_modules

if __name__ == "__main__":
    with refusing_missing_modules():
        from rafdb_vit.commands.parser import run_command
        from rafdb_vit.commands.push import main

        sys.exit(run_command(main))

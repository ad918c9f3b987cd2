"""Publishing a run on the Hugging Face Hub: card, licence, staged files, one commit, proof."""

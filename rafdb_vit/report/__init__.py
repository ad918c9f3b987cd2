"""The page of an evaluation, its charts, and the plots of a run."""

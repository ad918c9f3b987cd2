"""What a model is worth: predictions, metrics, intervals, groups of people, comparisons, and `results.json`."""

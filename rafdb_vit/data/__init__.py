"""Labelled faces: every form in which people hold them, as a `datasets.DatasetDict`, checked as a whole."""

"""Names of the files of an evaluation and of a run's plots."""

from rafdb_vit.evaluation.predictions import PREDICTIONS_FILE

EVALUATIONS = "evaluations"
"""Folder of evaluations, in a run folder or where one stands."""
EVALUATION_FILE = "evaluation.json"
REPORT_FILE = "report.html"
EVALUATION_FILES = (EVALUATION_FILE, PREDICTIONS_FILE, REPORT_FILE)
PLOTS_FOLDER = "figures"
CONFUSION_FILE = "confusion_matrix.png"
CURVES_FILE = "learning_curves.png"

import subprocess
import sys

import numpy as np
from transformers import EvalPrediction

from rafdb_vit.data.labels import BASIC
from rafdb_vit.evaluation.results import EvaluationResult
from rafdb_vit.training.compute_metrics import build_compute_metrics


def test_the_hook_gives_the_figures_of_the_result():
    rng = np.random.default_rng(0)
    logits, labels = rng.normal(size=(60, 7)).astype(np.float32), rng.integers(0, 7, 60)
    compute = build_compute_metrics(BASIC.names)
    expected = EvaluationResult.from_logits(logits, labels, BASIC.names).flat()
    for _ in range(2):
        assert compute(EvalPrediction(predictions=logits, label_ids=labels)) == expected


def test_nothing_is_left_in_the_users_home(tmp_path):
    code = (
        "import numpy as np; from rafdb_vit.training.compute_metrics import ExpressionMetric; "
        "print(ExpressionMetric('ab').compute(predictions=np.eye(2), references=np.array([0, 1]))['accuracy'])"
    )
    environment = {"HOME": str(tmp_path), "PATH": "", "HF_HUB_OFFLINE": "1", "HF_HOME": str(tmp_path / "hf")}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "1.0"
    assert not [path for path in (tmp_path / "hf").rglob("*") if path.is_file()]

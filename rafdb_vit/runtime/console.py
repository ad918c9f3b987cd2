"""What a person sees: printed once, by the main process, without the libraries' own messages."""

import io
import os
import sys
import warnings
from collections.abc import Mapping, Sequence

from rafdb_vit.runtime.errors import escape
from rafdb_vit.runtime.processes import is_main_process

DEMO_BANNER = """\
+----------------------------------------------------------------------------+
|  DEMO: these faces are drawn. Metrics reached on them say nothing about    |
|  real faces; they show that the installation works, from data to metrics.  |
+----------------------------------------------------------------------------+"""


def say(text: str = "") -> None:
    """Prints on stdout, on the main process only; goes on in silence when nobody reads it any more (`... | head`).

    Whatever steers a terminal is printed as its code: names of classes, files and runs come from other people.
    """
    if not is_main_process():
        return
    text = "\n".join(map(escape, text.split("\n")))
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # names of files in a terminal that is not UTF-8
    try:
        print(text, flush=True)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)


def quiet_libraries() -> None:
    """Silences messages of the libraries that a person cannot act on, by their exact words; all others stay."""
    from transformers.utils import logging

    if "TRANSFORMERS_VERBOSITY" not in os.environ:
        logging.set_verbosity_warning()
    # torch's own default for pinned memory, on machines without an accelerator.
    warnings.filterwarnings("ignore", message=".*pin_memory.*no accelerator is found")
    # scikit-learn, where all faces are of one class and are called so.
    warnings.filterwarnings("ignore", message="A single label was found in 'y_true' and 'y_pred'")
    # The embeddings of a sharded ViT: transformers adds to them out of place, as the warning asks for.
    warnings.filterwarnings("ignore", message="FSDP2-wrapped module .* returned a view tensor")


def render_counts(rows_of_counts: Sequence[tuple[str, Mapping[str, int]]]) -> str:
    """Renders faces per class and split as a table: what each row is called, and its faces by class name."""
    names = list(rows_of_counts[0][1]) if rows_of_counts else []
    widths = {name: max(len(name), 6) + 1 for name in names}
    lines = [f"{'':12}" + "".join(f"{name:>{width}}" for name, width in widths.items()) + f"{'total':>8}"]
    for split, row in rows_of_counts:
        counts = "".join(f"{row[name]:>{width}}" for name, width in widths.items())
        lines.append(f"  {split:10}{counts}{sum(row.values()):>8}")
    return "\n".join(lines)


def render_start(
    *,
    device: str,
    processes: int,
    threads: int,
    workers: int,
    precision: str,
    model: str,
    millions: float,
    image_size: int | None,
    folder: str,
    data: str,
    counts: Mapping[str, Mapping[str, int]],
) -> str:
    """Renders what a run is about to do; `millions` of parameters, `counts` by class name, by split."""
    size = f", {image_size} x {image_size} pixels" if image_size else ""
    return (
        f"Device      {device}, {processes} process(es) of {threads} thread(s) and {workers} data worker(s)\n"
        f"Precision   {precision} in training, fp32 for the metrics\n"
        f"Model       {model}, {millions:.1f} M parameters{size}\n"
        f"Run folder  {folder}\n"
        f"Data        {data}\n"
        f"{render_counts(list(counts.items()))}\n"
    )


def render_next(folder: str, *, classes: int, publishable: bool) -> str:
    """Renders where a finished run lies, and the commands that use it, and publish it where it is worth that."""
    publish = f"\nOr look at what would be published:\n  python push_to_hub.py {folder} --repo_id USER/NAME --dry_run"
    return (
        f"Best model   {folder}\n"
        f"The page     {folder}/report.html\n"
        f"All metrics  {folder}/results.json\n"
        f"Pictures     {folder}/figures\n"
        "Next, read a cropped face:\n"
        '  python -c "from transformers import pipeline; '
        f"print(pipeline('image-classification', '{folder}', top_k={classes})('FACE.jpg'))\""
    ) + (publish if publishable else "")

"""What a person sees: printed once, by the main process, without the libraries' own messages.

Everything that reaches stdout or stderr goes through here, but for progress bars, which hold no names. Whatever steers
a terminal is printed as its code: names of classes, files and runs come from other people.
"""

import logging
import os
import sys
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, TextIO

from rafdb_vit.runtime.errors import UserError, escape
from rafdb_vit.runtime.launch import find_program, render_command
from rafdb_vit.runtime.processes import is_main_process
from rafdb_vit.runtime.text_width import measure_width, pad_left, pad_right

DEMO_BANNER = """\
+----------------------------------------------------------------------------+
|  DEMO: these faces are drawn. Metrics reached on them say nothing about    |
|  real faces; they show that the installation works, from data to metrics.  |
+----------------------------------------------------------------------------+"""


def say(text: str = "") -> None:
    """Prints on stdout, on the main process only.

    Line breaks stay: a name that becomes part of several lines is escaped before, see `escape`.
    """
    if is_main_process():
        _print(text, sys.stdout)


def say_line(text: str) -> None:
    """Prints one line on stdout, as `say` does: a name in it that holds a line break does not begin another."""
    say(escape(text))


def is_seen() -> bool:
    """Tells whether stdout goes to a terminal, where a person sees each line as it comes."""
    return sys.stdout.isatty()


def say_aside(text: str, *, on_every_process: bool = False) -> None:
    """Prints on stderr, as `say` does: errors, and what is no part of a command's result."""
    if on_every_process or is_main_process():
        _print(text, sys.stderr)


def say_between_bars(text: str) -> None:
    """Prints on stdout, as `say` does, while progress bars are shown, which move below it."""
    from tqdm.auto import tqdm

    with tqdm.external_write_mode():
        say(text)


def say_aside_between_bars(text: str) -> None:
    """Prints one line on stderr, as `say_aside` does, while progress bars are shown, which move below it."""
    from tqdm.auto import tqdm

    with tqdm.external_write_mode():
        say_aside(escape(text))


def _print(text: str, stream: TextIO) -> None:
    if hasattr(stream, "reconfigure"):
        stream.reconfigure(errors="backslashreplace")  # names of files in a terminal that is not UTF-8
    print(_escape_lines(text), file=stream, flush=True)


class SteadyStream:
    """A stream that goes on in silence when it cannot be written any more: nobody reads it, or its disk is full.

    Attributes:
        fault: Why it cannot be written; None while it can.
    """

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self.fault: OSError | None = None

    def write(self, text: str) -> int:
        """Writes text, as long as that is possible."""
        self._try(self._stream.write, text)
        return len(text)

    def flush(self) -> None:
        """Writes what is buffered, as long as that is possible."""
        self._try(self._stream.flush)

    def _try(self, act: Callable[..., object], *text: str) -> None:
        try:
            act(*text)
        except OSError as error:
            self.fault = self.fault or error
            # What is buffered has to go somewhere, at the latest when the interpreter ends.
            os.dup2(os.open(os.devnull, os.O_WRONLY), self._stream.fileno())

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


@contextmanager
def steady_streams() -> Iterator[None]:
    """Makes stdout and stderr steady in a block: a run of hours does not end because its log cannot be written."""
    usual = sys.stdout, sys.stderr
    sys.stdout, sys.stderr = (stream and SteadyStream(stream) for stream in usual)
    try:
        yield
    finally:
        sys.stdout, sys.stderr = usual


def refuse_lost_output() -> None:
    """Ends a command, when all else is done, whose results went to a steady stdout that could not be written.

    Raises:
        UserError: They did; a reader who has left (`... | head`) does not count.
    """
    fault = getattr(sys.stdout, "fault", None)
    if fault is not None and not isinstance(fault, BrokenPipeError):
        raise UserError(f"stdout: cannot be written ({fault.strerror}); the files that were written are whole")


def _escape_lines(text: str) -> str:
    return "\n".join(map(escape, text.split("\n")))


class _EscapedRecord(logging.LogRecord):
    """What a library logs; such messages repeat names too."""

    def getMessage(self) -> str:
        """Returns the message; logging's own hook."""
        return _escape_lines(super().getMessage())


@contextmanager
def escaping_warnings() -> Iterator[None]:
    """Escapes what libraries warn of and log in a block as `say` does."""
    make_record, format_usually = logging.getLogRecordFactory(), warnings.formatwarning
    logging.setLogRecordFactory(_EscapedRecord)
    warnings.formatwarning = lambda *words, **more: _escape_lines(format_usually(*words, **more))
    try:
        yield
    finally:
        logging.setLogRecordFactory(make_record)
        warnings.formatwarning = format_usually


def quiet_libraries() -> None:
    """Silences messages of the libraries that a person cannot act on, by their exact words; all others stay."""
    from transformers.utils.logging import set_verbosity_warning

    if "TRANSFORMERS_VERBOSITY" not in os.environ:
        set_verbosity_warning()
    # huggingface_hub, where the cache is closed to this user or full; what follows from it is said by itself.
    warnings.filterwarnings("ignore", message="Not enough free disk space to download the file")
    for name in ("_snapshot_download", "_tree_cache"):
        logging.getLogger(f"huggingface_hub.{name}").addFilter(_is_heeded)
    # torch's own default for pinned memory, on machines without an accelerator.
    warnings.filterwarnings("ignore", message=".*pin_memory.*no accelerator is found")
    # scikit-learn, where all faces are of one class and are called so.
    warnings.filterwarnings("ignore", message="A single label was found in 'y_true' and 'y_pred'")
    # The embeddings of a sharded ViT: transformers adds to them out of place, as the warning asks for.
    warnings.filterwarnings("ignore", message="FSDP2-wrapped module .* returned a view tensor")


def _is_heeded(record: logging.LogRecord) -> bool:
    return not record.getMessage().startswith("Ignored error while writing")


def render_counts(rows_of_counts: Sequence[tuple[str, Mapping[str, int]]]) -> str:
    """Renders faces per class and split as a table: what each row is called, and its faces by class name."""
    names = {name: escape(name) for name in (rows_of_counts[0][1] if rows_of_counts else ())}
    widths = {name: max(measure_width(shown), 6) + 1 for name, shown in names.items()}
    heads = "".join(pad_left(names[name], width) for name, width in widths.items())
    lines = [f"{'':12}{heads}{'total':>8}"]
    for split, row in rows_of_counts:
        counts = "".join(f"{row[name]:>{width}}" for name, width in widths.items())
        lines.append(f"  {pad_right(escape(split), 10)}{counts}{sum(row.values()):>8}")
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
        f"Model       {escape(model)}, {millions:.1f} M parameters{size}\n"
        f"Run folder  {escape(folder)}\n"
        f"Data        {escape(data)}\n"
        f"{render_counts(list(counts.items()))}\n"
    )


def render_next(folder: str, *, face: str | None, publication: Sequence[str] | None) -> str:
    """Renders where a finished run lies, and the commands that use it, as they can be pasted into a shell.

    Args:
        folder: The run folder.
        face: A picture of a cropped face to predict; None for a placeholder.
        publication: The words after the folder that publish the run; None where it is not worth that.
    """
    shown = escape(folder)
    lines = [
        f"Best model   {shown}",
        f"The page     {shown}/report.html",
        f"All metrics  {shown}/results.json",
        f"Pictures     {shown}/figures",
        "Next, predict a cropped face:",
        f"  {render_command([*find_program('predict'), face or 'FACE.jpg', '--model', folder])}",
    ]
    if publication is not None:
        with_license = ", with the licence that your data allows" if "--license" in publication else ""
        command = render_command([*find_program("push"), folder, *publication, "--dry_run"])
        lines += [f"Or look at what would be published{with_license}:", f"  {command}"]
    return "\n".join(lines)

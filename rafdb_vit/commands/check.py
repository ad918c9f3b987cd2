"""`check`: says what is wrong with a data folder, before an hour of GPU is spent on it."""

import os
from dataclasses import dataclass, field
from pathlib import Path

from rafdb_vit.commands.parser import command, switch
from rafdb_vit.data.labels import LABEL_SETS
from rafdb_vit.runtime.console import say, say_aside
from rafdb_vit.runtime.errors import UserError, escape
from rafdb_vit.training.flags import flag

FOUND = 1
"""Exit status where something was found."""


@dataclass
class CheckArguments:
    """What to check, and how to say what was found."""

    data_dir: str = field(
        metadata={
            "help": "Folder of RAF-DB, FER2013, FER+ or AffectNet, or of class folders; or a CSV file of labels.",
            "positional": True,
            "path": True,
        }
    )
    subset: str = flag("basic", "RAF-DB's basic set (7 classes) or compound set (11).", choices=list(LABEL_SETS))
    aligned: bool = flag(True, "Check the aligned images; false: the original photographs.")
    image_column_name: str | None = flag(None, "A CSV file's column of image paths. Default: found by its name.")
    label_column_name: str | None = flag(None, "Likewise of labels.")
    group_column: str | None = flag(None, "Column of persons, of whom none should be in two splits.")
    group_pattern: str | None = flag(None, "Regular expression that finds the person in a file's name; likewise.")
    json: bool = switch("Print every finding as JSON, for programs.")
    figures: str | None = flag(None, "Folder for pictures of class counts and of the images found at fault.", path=True)


@command(
    CheckArguments,
    prog="rafdb-vit check",
    description="Check a folder of labelled faces. Exit status: 0 nothing found, 1 findings, 2 cannot be read.",
)
def main(check: CheckArguments) -> int:
    """Checks a data folder; nothing in it is changed.

    Returns:
        The exit status: 0 if nothing was found, 1 if something was.

    Raises:
        UserError: The folder cannot be read, or is in no known form.
    """
    from rafdb_vit.data.files import find_root
    from rafdb_vit.data.formats.detect import refuse_missing

    if not check.data_dir.strip():
        raise UserError("DATA_DIR: is empty; expected the folder to check")
    data_dir = find_root(check.data_dir)
    refuse_missing(data_dir)  # before what takes longer to import

    from rafdb_vit.data.check.check import check_data

    figures = None if check.figures is None else _find_figures(check.figures, data_dir)
    result = check_data(
        data_dir,
        subset=check.subset,
        aligned=check.aligned,
        image_column=check.image_column_name,
        label_column=check.label_column_name,
        group_column=check.group_column,
        group_pattern=check.group_pattern,
    )
    say(result.to_json() if check.json else result.render())
    if figures is not None:
        from rafdb_vit.data.check.pictures import COUNTS_FILE, draw_pictures
        from rafdb_vit.runtime.fonts import number_undrawn

        for path in draw_pictures(result, figures):
            say_aside(escape(f"Picture  {path}"))  # stdout is the result's
        for number, name in number_undrawn(result.labels.names).items():
            say_aside(
                escape(f"In {COUNTS_FILE}, {number} stands for {name}, which cannot be drawn with this machine's fonts")
            )
    return FOUND if result.findings else 0


def _find_figures(written: str, data_dir: Path) -> Path:
    """Returns the folder for pictures; refuses one that cannot be one, before minutes of work.

    Raises:
        UserError: It is a file, its name is too long, or it lies in the data, where its pictures would be images
            without labels.
    """
    from rafdb_vit.data.check.pictures import refuse_other_pictures
    from rafdb_vit.data.files import find_root

    figures = find_root(written, flag="--figures ")
    try:
        there = os.path.isdir(figures) or bool(os.lstat(figures))
    except (FileNotFoundError, NotADirectoryError):
        there = False
    except OSError as error:  # a name that is too long, a folder that may not be looked into
        raise UserError(f"--figures {figures!s:.200}: cannot be a folder ({error.strerror}); take another") from error
    if there and not os.path.isdir(figures):
        raise UserError(f"--figures {figures}: is a file, or a link that leads nowhere; expected a folder")
    data = Path(os.path.realpath(data_dir if os.path.isdir(data_dir) else data_dir.parent))
    if os.path.lexists(data_dir) and Path(os.path.realpath(figures)).is_relative_to(data):
        raise UserError(f"--figures {figures}: lies in the data; take a folder outside {data}")
    refuse_other_pictures(figures)
    return figures

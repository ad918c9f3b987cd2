"""The modes of what a command wrote."""

import stat
from pathlib import Path


def odd_modes(folder: Path) -> dict[str, str]:
    """Returns, by path, the mode of what has another than a file or a folder that is made plainly there."""
    plain, made = folder / "plain", folder / "made"
    plain.touch()
    made.mkdir()
    usual = {stat.S_ISDIR(path.stat().st_mode): stat.S_IMODE(path.stat().st_mode) for path in (plain, made)}
    plain.unlink()
    made.rmdir()
    found = {str(path.relative_to(folder)): path.stat().st_mode for path in folder.rglob("*")}
    return {name: oct(mode) for name, mode in found.items() if stat.S_IMODE(mode) != usual[stat.S_ISDIR(mode)]}

"""The command that compares two files: what it is given, what it prints, how it ends."""

import sys
from argparse import ArgumentParser
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from contractapp.compat.operations import compare, major
from contractapp.compile.document import ContractError, read_document, require_openapi_30


def last_release(folder: Path) -> Path:
    """The contract of the highest version in a folder of released ones, each named for its version (`1.10.0.yaml`).

    Raises:
        ContractError: There is none.
    """
    released = {path: [int(part) for part in path.stem.split(".")] for path in folder.iterdir() if _is_release(path)}
    if not released:
        raise ContractError([f"{folder} has no contract that is named for its version, such as 1.0.0.yaml."])
    return max(released, key=lambda path: released[path])


def main(arguments: Sequence[str] | None = None) -> int:
    """`python -m contractapp.compat RELEASED CONTRACT`: prints each change, breaking ones first.

    Args:
        arguments: What follows the command; that of the process unless given.

    Returns:
        The exit status: 0; 1 where a change breaks clients and `info.version` has no higher major number than the
        released one; 2 where a contract cannot be compared, with a sentence on the standard error.
    """
    parser = ArgumentParser(prog="contractapp.compat", description="Compare a contract with a released one.")
    parser.add_argument(
        "released", type=Path, help="a contract, or a folder of them named for their versions: the latest counts"
    )
    parser.add_argument("contract", type=Path, help="the contract as it is now")
    given = parser.parse_args(arguments)
    try:
        released = last_release(given.released) if given.released.is_dir() else given.released
        old, new = _read(released), _read(given.contract)
        changes = compare(old, new)
    except ContractError as error:
        sys.stderr.write(f"{error}\n")
        return 2
    lines = [f"Since {released.stem}: {len(changes)} change{'s' * (len(changes) != 1)}.", *map(str, changes)]
    breaks = any(change.breaking for change in changes) and major(new) <= major(old)
    if breaks:
        lines.append(f"Breaking changes need version {major(old) + 1}.0.0; the contract says {new['info']['version']}.")
    sys.stdout.write("\n".join([*lines, ""]))
    return int(breaks)


def _is_release(path: Path) -> bool:
    return path.suffix in {".yaml", ".yml", ".json"} and all(part.isdigit() for part in path.stem.split("."))


def _read(path: Path) -> Any:
    document = read_document(path)
    require_openapi_30(document, str(path))
    return document

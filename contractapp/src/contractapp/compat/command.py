"""The command that compares two files: its arguments, output and exit status."""

import sys
from argparse import ArgumentParser
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from contractapp.compat.operations import compare, major
from contractapp.compile.document import ContractError, read_document, require_openapi_30


def last_release(folder: Path) -> Path:
    """The contract with the highest version in a folder of released contracts, each named for its version.

    Such a name is `1.10.0.yaml`.

    Raises:
        ContractError: The folder has no such contract.
    """
    released = {path: [int(part) for part in path.stem.split(".")] for path in folder.iterdir() if _is_release(path)}
    if not released:
        raise ContractError([f"{folder} has no contract that is named for its version, such as 1.0.0.yaml."])
    return max(released, key=lambda path: released[path])


def main(arguments: Sequence[str] | None = None) -> int:
    """`python -m contractapp.compat RELEASED CONTRACT`: prints each change, breaking ones first.

    Args:
        arguments: The arguments of the command; by default those of the process.

    Returns:
        The exit status: 1 if a change breaks clients and the major number of `info.version` is not higher than that of
        the released contract; 2 if a contract cannot be compared, with a sentence on the standard error; 0 otherwise.
    """
    parser = ArgumentParser(prog="contractapp.compat", description="Compare a contract with a released one.")
    parser.add_argument(
        "released",
        type=Path,
        help="the released contract, or a folder of contracts named for their versions, of which the latest is used",
    )
    parser.add_argument("contract", type=Path, help="the current contract")
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

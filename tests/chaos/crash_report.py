"""What was seen of interrupted operations and flipped bits: as a JSON file, to which calls add, and as a table."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path

from clhd.core.files import write_file
from clhd.sweep.store.provenance import describe_code
from tests.chaos.flips import Flips
from tests.chaos.operations import OPERATIONS
from tests.chaos.report import describe_machine

_COLUMNS = (
    "operation",
    "changes of files",
    "different states",
    "SIGKILL",
    "wrong values",
    "manual steps",
    "blocks lost",
)


@dataclass
class Count:
    """What was seen of one operation."""

    changes: int = 0
    states: int = 0
    kills: int = 0
    wrong: int = 0
    manual: int = 0
    lost_blocks: int = 0
    problems: list[str] = field(default_factory=list)


def read_found(path: Path | None, every: int) -> tuple[dict[str, Count], Flips | None]:
    """Return what earlier calls saw of the same code before as many changes; nothing if there was none."""
    if path is None or not path.exists():
        return {}, None
    found = json.loads(path.read_text(encoding="utf-8"))
    if (found["code"], found["every"]) != (describe_code(), every):
        return {}, None
    counts = {name: Count(**count) for name, count in found["operations"].items()}
    return counts, Flips(**found["flips"]) if found["flips"] else None


def write_found(path: Path | None, counts: Mapping[str, Count], flips: Flips | None, every: int) -> None:
    """Write what was seen until now, so that another call can add the rest."""
    if path is not None:
        operations = {name: asdict(count) for name, count in counts.items()}
        found = {"code": describe_code(), "every": every, "operations": operations, "flips": flips and asdict(flips)}
        path.parent.mkdir(parents=True, exist_ok=True)
        write_file(path, json.dumps(found, indent=1).encode())


def format_counts(counts: Mapping[str, Count], flips: Flips | None, every: int) -> str:
    """Return what was seen as Markdown."""
    names = [operation.name for operation in OPERATIONS if operation.name in counts]
    rows = [[name, *list(asdict(counts[name]).values())[:-1]] for name in names]
    rows.append(["**all**", *(sum(column) for column in list(zip(*rows, strict=True))[1:])])
    lines = [_COLUMNS, ["---"] + ["--:"] * (len(_COLUMNS) - 1), *rows]
    text = "\n".join(f"| {' | '.join(map(str, line))} |" for line in lines)
    if flips is not None:
        text += (
            f"\n\nOf {flips.flips} flipped bits in the {flips.files} files of these results, "
            f"{len(flips.unnoticed)} were not noticed by `clhd status --deep`, and "
            f"{len(flips.used)} were shown by a reader without a word."
        )
    about = describe_machine(Path())
    which = "each change" if every == 1 else f"a sample, every {every}th change"
    where = f"{about['date']}, {about['cores']} cores ({about['machine']}); clhd {about['code']}"
    return f"{text}\n\nStates before {which}; {where}."

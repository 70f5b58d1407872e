"""`repair_store`, `forget_missing`: what of a store is damaged or lost is written again, or computed again.

| what | from |
|---|---|
| metadata of arrays | the copy that has the digest of the seal |
| coordinates that are missing or unreadable | the experiment |
| chunks | nothing: they are forgotten, and computed again |

A store of an earlier version, which has no seal, is sealed if both copies of all metadata agree and fit its experiment.
Each step leaves a store that is whole, or on which the same can be done once more.
"""

import sys
from pathlib import Path
from typing import Any

import zarr

from clhd.core.text import format_count
from clhd.sweep.plan.stage import Stage
from clhd.sweep.store.checksums import Contents, check_copies, check_seal, has_seal, list_chunks, mend, write_seal
from clhd.sweep.store.grow import finish_growth
from clhd.sweep.store.layout import LEDGER, Layout, check_stage, list_coordinates, read_layout
from clhd.sweep.store.metadata import FRESH, MetadataError
from clhd.sweep.store.missing import find_missing
from clhd.sweep.store.store import Store
from clhd.systems.protocol import System


def repair_store(path: Path, system: System) -> None:
    """Mend a store, if there is one; before it grows, for it would not with files that are missing.

    Raises
    ------
    MetadataError
        If its metadata cannot be mended: names ``--fresh``.
    """
    finish_growth(path)
    if not path.is_dir():
        return
    if has_seal(path):
        mend(path)
        _restore_coordinates(path, check_seal(path, files=False), system)
    else:
        _adopt(path, system)
    store = Store(path, "r+")
    for _, index in store.find_damage():
        store.forget(index)


def forget_missing(store: Store) -> None:
    """Forget chunks that lack files, and say so; of `repair_store` this is what reads nothing."""
    missing = find_missing(store)
    for index in missing:
        store.forget(index)
    if missing:
        first, chunks = next(iter(missing.values())), format_count(len(missing), "chunk")
        print(f"{first}: is missing; forgotten: {chunks}, computed again where wanted", file=sys.stderr)  # noqa: T201


def _adopt(path: Path, system: System) -> None:
    """Seal a store of an earlier version."""
    contents = check_copies(path)
    layout, group = _restore_coordinates(path, contents, system)
    check_stage(path, layout, Stage(layout.experiment, layout.kind, system), group)
    write_seal(path, contents.arrays, whole=contents.arrays.keys() - {*layout.outputs, *LEDGER})


def _restore_coordinates(path: Path, contents: Contents, system: System) -> tuple[Layout, zarr.Group]:
    """Write coordinates that are missing or unreadable; return what the store holds, and the open store.

    One that can be read and has other values stays: nobody knows then which are right.
    """
    layout = read_layout(path, contents)
    group = zarr.open_group(str(path), mode="r+", zarr_format=3, use_consolidated=False)
    stage = Stage(layout.experiment, layout.kind, system)
    wanted = list_coordinates(path, layout, stage)
    for name in wanted.keys() & contents.arrays.keys():
        array: Any = group[name]
        try:
            array[...]
            is_whole = len(list_chunks(path / name)) >= array.nchunks
        except Exception:  # codecs raise what they like
            is_whole = False
        if not is_whole:
            if contents.attributes.get("version") != stage.version:  # whose coordinates may be others
                raise MetadataError(f"{path / name}: is damaged or missing, and of another version of clhd; {FRESH}")
            array.with_config({"write_empty_chunks": True})[...] = wanted[name]
    return layout, group

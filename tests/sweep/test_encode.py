"""What clhd writes without Zarr is what Zarr writes, byte for byte."""

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr
import zarr

from clhd.sweep.plan.blocks import chunk_counts, chunk_region
from clhd.sweep.store.chunk_files import TRAILER_BYTES
from clhd.sweep.store.create import write_dataset
from clhd.sweep.store.zarr_format import (
    CODEC,
    FILE,
    KEY_ENCODINGS,
    chunk_key,
    describe_array,
    encode_chunk,
    find_danger,
)

TYPES = [(np.float64, math.nan), (np.float32, 0.0), (np.int8, 0), (np.int16, -1), (np.int64, 0), (bool, False)]


def draw(dtype: Any, shape: tuple[int, ...]) -> Any:
    """Values of a type, some of which are fill values."""
    numbers = np.array(np.random.default_rng(0).integers(-2, 9, size=shape))
    if dtype is str:
        texts = ["✓" * max(number, 0) for number in numbers.ravel().tolist()]
        return np.array(texts, dtype=np.dtypes.StringDType()).reshape(shape)
    return numbers.astype(dtype)


@pytest.mark.parametrize("keys", KEY_ENCODINGS, ids=lambda keys: keys["name"])
@pytest.mark.parametrize(("dtype", "fill"), [*TYPES, (str, "")], ids=lambda value: getattr(value, "__name__", ""))
@pytest.mark.parametrize(
    ("shape", "chunks", "dims"),
    [((), (), ()), ((5,), (2,), ("a",)), ((4, 5, 3), (2, 3, 3), ("a", "b", "c"))],
    ids=lambda value: f"{len(value)}",
)
def test_metadata_and_chunks_are_those_of_zarr(
    tmp_path: Path, shape: tuple[int, ...], chunks: tuple[int, ...], dims: Any, dtype: Any, fill: Any, keys: Any
) -> None:
    words: Mapping[str, Any] = {"long_name": "a value", "flag_values": [0, 1]}
    document = describe_array(shape, chunks, dtype, fill, keys, dims, words)
    assert not find_danger(document)
    array: Any = zarr.open_group(str(tmp_path), mode="w", zarr_format=3).create_array(
        "value",
        shape=shape,
        chunks=chunks,
        dtype=dtype,
        fill_value=fill if dtype is str else np.dtype(dtype).type(fill),
        compressors=[CODEC],
        chunk_key_encoding=keys,
        dimension_names=dims,
        attributes=dict(words),
        config={"write_empty_chunks": True},
    )
    assert (tmp_path / "value" / FILE).read_text() == json.dumps(document, indent=2)
    values = draw(dtype, shape)
    array[...] = values
    for index in np.ndindex(*chunk_counts(shape, chunks)):
        written = (tmp_path / "value" / chunk_key(index, document)).read_bytes()
        assert encode_chunk(np.asarray(values[chunk_region(index, shape, chunks)]), document) == written, index


def test_a_summary_is_what_xarray_writes(tmp_path: Path) -> None:
    texts = np.array(["one", "✓", ""], dtype=np.dtypes.StringDType())
    dataset = xr.Dataset(
        {
            "mean": (("case", "time"), np.array([[1.0, np.nan], [-0.0, np.inf], [2.5, 1e-300]]), {"units": "1"}),
            "count": (("case", "status"), np.arange(6, dtype=np.int32).reshape(3, 2), {"flag_values": [0, 1]}),
            "reached": ("case", np.array([True, False, True])),
            "whole": ((), np.int8(3)),
        },
        {"time": ("time", [0.0, 1.0]), "case": ("case", texts), "slope": ("case", [1.0, 2.0, 3.0]), "size": ((), 4)},
        {"title": "a summary", "experiment": {"name": "toy"}, "rests_on": {}, "code": "1"},
    )
    write_dataset(dataset, tmp_path / "summary.zarr")
    record = json.loads((tmp_path / "summary.zarr" / FILE).read_bytes())
    own = record["attributes"].keys() - {"metadata_checksum"}
    dataset.assign_attrs({name: record["attributes"][name] for name in own - {"coordinates"}}).to_zarr(
        str(tmp_path / "xarray.zarr"),
        encoding={name: {"compressors": [CODEC]} for name in dataset.variables},
        consolidated=False,
        write_empty_chunks=True,
        zarr_format=3,
    )
    expected = json.loads((tmp_path / "xarray.zarr" / FILE).read_bytes())["attributes"]
    assert {name: record["attributes"][name] for name in own} == expected
    for name in map(str, dataset.variables):
        files = [path.relative_to(tmp_path / "xarray.zarr") for path in (tmp_path / "xarray.zarr" / name).rglob("*")]
        for file in files:
            if (tmp_path / "xarray.zarr" / file).is_file():
                written = (tmp_path / "summary.zarr" / file).read_bytes()
                expected_bytes = (tmp_path / "xarray.zarr" / file).read_bytes()
                assert (written if file.name == FILE else written[:-TRAILER_BYTES]) == expected_bytes, file

"""What clhd writes without Zarr is what Zarr writes, byte for byte."""

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zarr

from clhd.sweep.plan.blocks import chunk_counts, chunk_region
from clhd.sweep.store.documents import FILE, KEY_ENCODINGS, chunk_key, find_danger
from clhd.sweep.store.encode import CODEC, describe_array, encode_chunk

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

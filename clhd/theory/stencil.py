"""The inner loop of a table look-up: a weighted sum over 8 x 8 nodes, in vectors of eight float64 numbers.

Written as LLVM instructions, because numba's loops must first prove at run time that nine rows do not overlap, which
takes longer than the sum: 160 ns for 16 pairs as a loop, 35 ns so (AVX-512). LLVM cuts the vectors to what the
processor has.
"""

from collections.abc import Callable
from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.core.typing.templates import Signature
from numba.extending import intrinsic

STENCIL = 8
LANES = 8

_DOUBLE, _INDEX = ir.DoubleType(), ir.IntType(64)
_VECTOR = ir.VectorType(_DOUBLE, LANES)


@intrinsic
def write_stencil(
    typing_context: Any, values: Any, i: Any, j: Any, x_weights: Any, y_weights: Any, block: Any, sums: Any
) -> tuple[Signature, Callable[..., Any]]:
    """Write sum_ab x_weights[a] y_weights[b] values[i + a, j + b, lanes of `block`] to those lanes of `sums`.

    `values` is C-contiguous (x, y, pair), the number of pairs a multiple of 8; nothing is checked.
    """
    signature = types.void(values, types.int64, types.int64, x_weights, y_weights, types.int64, sums)

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        def array(position: int) -> Any:
            return context.make_array(signature.args[position])(context, builder, arguments[position])

        def splats(position: int) -> list[Any]:
            pointer = array(position).data
            empty = ir.Constant(_VECTOR, ir.Undefined)
            zeros = ir.Constant(ir.VectorType(ir.IntType(32), LANES), [0] * LANES)
            vectors = []
            for k in range(STENCIL):
                number = builder.load(builder.gep(pointer, [_INDEX(k)]))
                first = builder.insert_element(empty, number, ir.IntType(32)(0))
                vectors.append(builder.shuffle_vector(first, empty, zeros))
            return vectors

        _, i, j, _, _, block, _ = arguments
        table = array(0)
        _, rows, pairs = cgutils.unpack_tuple(builder, table.shape)  # type: ignore[no-untyped-call]
        column = builder.mul(block, _INDEX(LANES))
        start = builder.add(builder.mul(builder.add(builder.mul(i, rows), j), pairs), column)
        x, y = splats(3), splats(4)
        total = None
        for a in range(STENCIL):
            line = builder.add(start, builder.mul(builder.mul(rows, pairs), _INDEX(a)))
            inner = None
            for b in range(STENCIL):
                offset = builder.add(line, builder.mul(pairs, _INDEX(b)))
                node = _load(builder, builder.gep(table.data, [offset]))
                inner = _add_product(builder, inner, y[b], node)
            total = _add_product(builder, total, x[a], inner)
        target = builder.bitcast(builder.gep(array(6).data, [column]), _VECTOR.as_pointer())
        builder.store(total, target, align=8)
        return context.get_dummy_value()

    return signature, generate


def _add_product(builder: Any, total: Any, f: Any, g: Any) -> Any:
    """Total plus f g, fused where the processor can."""
    product = builder.fmul(f, g, flags=("contract",))
    return product if total is None else builder.fadd(total, product, flags=("contract",))


def _load(builder: Any, pointer: Any) -> Any:
    """Eight consecutive numbers, which need be aligned as numbers only."""
    return builder.load(builder.bitcast(pointer, _VECTOR.as_pointer()), align=8)

"""The inner loop of a table look-up: a weighted sum over 8 x 8 nodes, in vectors of eight float64 numbers.

It is written as LLVM instructions, because a numba loop first checks at run time that nine rows do not overlap, which
takes longer than the sum: 160 ns for 16 pairs as a loop, 60 ns here (AVX-512). LLVM splits the vectors to the size that
the processor has.
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
def add_stencil(
    typing_context: Any,
    values: Any,
    i: Any,
    j: Any,
    x_weights: Any,
    y_weights: Any,
    block: Any,
    shares: Any,
    sums: Any,
) -> tuple[Signature, Callable[..., Any]]:
    """Interpolate F = sum_ab x_weights[a] y_weights[b] values[i + a, j + b] and add shares[k] F to every sums[k].

    Only the eight pairs of `block` are processed. `values` (x, y, pair), `shares` and `sums` (row, pair) must be
    C-contiguous, with a number of pairs that is a multiple of 8; nothing is checked.
    """
    signature = types.void(values, types.int64, types.int64, x_weights, y_weights, types.int64, shares, sums)

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        table, share, sum_ = (context.make_array(signature.args[n])(context, builder, arguments[n]) for n in (0, 6, 7))

        def splats(position: int) -> list[Any]:
            pointer = context.make_array(signature.args[position])(context, builder, arguments[position]).data
            empty = ir.Constant(_VECTOR, ir.Undefined)
            zeros = ir.Constant(ir.VectorType(ir.IntType(32), LANES), [0] * LANES)
            vectors = []
            for k in range(STENCIL):
                number = builder.load(builder.gep(pointer, [_INDEX(k)]))
                first = builder.insert_element(empty, number, ir.IntType(32)(0))
                vectors.append(builder.shuffle_vector(first, empty, zeros))
            return vectors

        i, j, block = arguments[1], arguments[2], arguments[5]
        _, rows, pairs = cgutils.unpack_tuple(builder, table.shape)  # type: ignore[no-untyped-call]
        column = builder.mul(block, _INDEX(LANES))
        start = builder.add(builder.mul(builder.add(builder.mul(i, rows), j), pairs), column)
        x, y = splats(3), splats(4)
        total = None
        for a in range(STENCIL):
            line = builder.add(start, builder.mul(builder.mul(rows, pairs), _INDEX(a)))
            inner = None
            for b in range(STENCIL):
                node = builder.load(
                    _vector_at(builder, table, builder.add(line, builder.mul(pairs, _INDEX(b)))), align=8
                )
                inner = _add_product(builder, inner, y[b], node)
            total = _add_product(builder, total, x[a], inner)
        count = cgutils.unpack_tuple(builder, sum_.shape)[0]  # type: ignore[no-untyped-call]
        with cgutils.for_range(builder, count) as loop:
            offset = builder.add(builder.mul(loop.index, pairs), column)
            factor = builder.load(_vector_at(builder, share, offset), align=8)
            target = _vector_at(builder, sum_, offset)
            builder.store(_add_product(builder, builder.load(target, align=8), factor, total), target, align=8)
        return context.get_dummy_value()

    return signature, generate


def _add_product(builder: Any, total: Any, f: Any, g: Any) -> Any:
    """Return total + f g, fused if the processor can."""
    product = builder.fmul(f, g, flags=("contract",))
    return product if total is None else builder.fadd(total, product, flags=("contract",))


def _vector_at(builder: Any, array: Any, offset: Any) -> Any:
    """Return a pointer to eight consecutive numbers, aligned only as single numbers."""
    return builder.bitcast(builder.gep(array.data, [offset]), _VECTOR.as_pointer())

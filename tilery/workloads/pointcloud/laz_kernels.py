"""Compiled coders of single layers of layered LAZ chunks (point formats 6 to 10): positions and returns, and classification.

A layered chunk is: first point raw | u32 points | u32 bytes of each layer | the layers. Each layer is an arithmetic code of
its own, so what is needed can be decoded, and one layer replaced, without the others. All state is per chunk.

The coder is A. Said's adaptive range coder with 32-bit variables and periodic updates of the models, as LASzip uses it;
contexts and predictors are those of LASzip's version 3 items. Here a model is a row of `HEAD` numbers and a run of symbols in
flat arrays, made when it is first used. Everything is compiled in this one file: numba keeps compiled code per file, and does
not notice changes in another one.

Source: A. Said, "Introduction to arithmetic coding: theory and practice", HPL-2004-76; Isenburg, "LASzip: lossless compression
of LiDAR data", 2013; LASzip 3.4 `laswriteitemcompressed_v3.cpp`, `integercompressor.cpp`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar, cast

import numpy as np
from numba import njit, types

F = TypeVar("F", bound=Callable[..., Any])

MOST_LENGTH = 0xFFFF_FFFF
LEAST_LENGTH = 0x0100_0000
SHIFT = 15
"""Bits of a probability: counts of a model add up to at most 2^15."""
BIT_SHIFT = 13

AT, SYMBOLS, TOTAL, CYCLE, UNTIL, TABLE_AT, TABLE_SHIFT = range(7)
HEAD = 8
"""Numbers of a model: where its symbols are, how many, the sum of their counts (0: not made yet), symbols between updates,
symbols until the next, where its look-up table is, and by how much a probability is shifted to look it up (0: no table)."""
COUNT_ONE = 1 << 16
"""A symbol is one number: the probability of all symbols before it below, its count above."""
SHARE = COUNT_ONE - 1
PLACE = 0x3FFF_FFFF
"""Masking an index with it says that it is not negative, which spares a test at each use."""
BIT = 5
"""Numbers of a model of one bit: zeros, all, probability of zero, symbols until the next update, symbols between updates."""

CHANNELS = 4
CLASS_MODELS = 64
CLASSES = 256
ONLY_RETURN = 1
CHANNEL_SHIFT = 1
"""What the coder of classes must know of a point, in a byte: bit 0, only return of its pulse; bits 1 and 2, scanner channel."""

# models of one scanner channel in the layer of positions and returns, and in that of heights
CHANGES, CHANNEL, COUNTS, NUMBERS, NUMBER_SAME = 0, 8, 9, 25, 41
DX, DX_EXACT = 42, 44
DY, DY_EXACT = 76, 98
DZ, DZ_EXACT = 130, 150
POINT_MODELS = 182
CORRECTOR_BITS = 8
"""Correctors of more bits have their low bits stored as they are."""

_RETURN_MAP = """
0123453445555555 1013333333333333 2124444444433333 3345444444444444 4344544444444444 5344454444444444 3344445444444444
4344444544444444 4344444454444444 5344444445444444 5344444444544444 5334444444455444 5334444444455544 5334444444445554
5334444444444555 5334444444444455
"""
RETURN_MAP = np.array([int(digit) for digit in "".join(_RETURN_MAP.split())], np.uint8)
"""(number of returns, return number) -> which of six predictors of the step in x and y."""


READ = types.Array(types.uint8, 1, "C", readonly=True)
BYTES = types.Array(types.uint8, 1, "C")
STATE = types.Array(types.uint32, 1, "C")
WHOLE = types.Array(types.int32, 1, "C")
FIRST = types.Array(types.int64, 1, "C")


def compiled(signature: Any) -> Callable[[F], F]:
    """The function as machine code for these types, made when this module is imported and kept where a folder can be written.

    It does not hold the interpreter's lock.
    """

    def compile_now(function: F) -> F:
        try:
            made = njit(signature, cache=True, nogil=True, error_model="numpy", boundscheck=False)
            return cast(F, made(function))
        except RuntimeError:  # nowhere to keep it: a read-only image without NUMBA_CACHE_DIR
            return cast(F, njit(signature, nogil=True, error_model="numpy", boundscheck=False)(function))

    return compile_now


def inlined(function: F) -> F:
    """A part of compiled functions, copied into each of them."""
    return cast(F, njit(nogil=True, error_model="numpy", boundscheck=False, forceinline=True)(function))


def shared(function: F) -> F:
    """A part of compiled functions, called by them."""
    return cast(F, njit(nogil=True, error_model="numpy", boundscheck=False)(function))


def table_shift(symbols: int) -> int:
    """By how much a probability is shifted to look up where to search; 0 for few symbols."""
    return SHIFT - (5 if symbols <= 16 else 7 if symbols <= 128 else 8)


def models_of(symbols: list[int], bits: int = 0, tables: bool = True) -> Any:
    """The state of models of so many symbols each, none made yet, and of `bits` models of one bit: uint32, models first.

    Only decoders use tables.
    """
    heads = np.zeros((len(symbols), HEAD), np.uint32)
    at = heads.size
    for head, number in zip(heads, symbols, strict=True):
        head[AT], head[SYMBOLS], head[TABLE_SHIFT] = at, number, table_shift(number) if tables else 0
        at += number
        if head[TABLE_SHIFT]:
            head[TABLE_AT] = at
            at += (1 << (SHIFT - int(head[TABLE_SHIFT]))) + 2
    state = np.zeros(at + bits * BIT, np.uint32)
    state[: heads.size] = heads.reshape(-1)
    state[at:] = [1, 2, 1 << (BIT_SHIFT - 1), 4, 4] * bits
    return state


def point_symbols() -> list[int]:
    """Symbols of each model of one scanner channel in the layers of positions and heights."""
    exact = [1 << min(bits, CORRECTOR_BITS) for bits in range(1, 33)]
    return [*[128] * 8, 3, *[16] * 32, 13, *[33] * 2, *exact, *[33] * 22, *exact, *[33] * 20, *exact]


@shared
def make_model(state: Any, model: int) -> None:
    """Give a model its first, even probabilities."""
    first, symbols = np.int64(state[model + AT]), np.int64(state[model + SYMBOLS])
    for at in range(first, first + symbols):
        state[at] = COUNT_ONE
    state[model + TOTAL] = 0
    state[model + CYCLE] = symbols
    renew_model(state, model)
    state[model + CYCLE] = state[model + UNTIL] = (symbols + 6) >> 1


@shared
def renew_model(state: Any, model: int) -> None:
    """New probabilities from the counts, which are halved now and then so that old symbols weigh less."""
    first, symbols = np.int64(state[model + AT]), np.int64(state[model + SYMBOLS])
    shift = np.int64(state[model + TABLE_SHIFT])
    total: Any = np.int64(state[model + TOTAL]) + np.int64(state[model + CYCLE])
    if total > 1 << SHIFT:
        total = 0
        for at in range(first, first + symbols):
            half = ((np.int64(state[at]) >> 16) + 1) >> 1
            state[at] = half << 16
            total += half
    state[model + TOTAL] = total
    scale: Any = 0x8000_0000 // total
    seen: Any = 0
    for at in range(first, first + symbols):
        count = np.int64(state[at]) >> 16
        state[at] = (count << 16) | ((scale * seen) >> (31 - SHIFT))
        seen += count
    if shift:
        table, entries, entry = np.int64(state[model + TABLE_AT]), 1 << (SHIFT - shift), 0
        for symbol in range(symbols):
            here = (np.int64(state[first + symbol]) & SHARE) >> shift
            while entry < here:
                entry += 1
                state[table + entry] = symbol - 1
        state[table] = 0
        while entry <= entries:
            entry += 1
            state[table + entry] = symbols - 1
    cycle = min((5 * np.int64(state[model + CYCLE])) >> 2, (symbols + 6) << 3)
    state[model + CYCLE] = cycle
    state[model + UNTIL] = cycle


@shared
def carry(out: Any, at: int) -> None:
    """Add one to what is written already."""
    at -= 1
    while out[at] == 0xFF:
        out[at] = 0
        at -= 1
    out[at] += 1


@inlined
def start(data: Any, at: int, stop: int) -> Any:
    """The decoder's first state: (value, length, next byte)."""
    value = np.uint32(0)
    for byte in range(at, at + 4):
        value = np.uint32((value << np.uint32(8)) | (np.uint32(data[byte]) if byte < stop else np.uint32(0)))
    return np.uint32(min(value, np.uint32(MOST_LENGTH - 1))), np.uint32(MOST_LENGTH), at + 4


@inlined
def refill(data: Any, at: int, stop: int, value: Any, length: Any) -> Any:
    """Read bytes until the interval is wide again. Behind the end the last one repeats, and `at` tells."""
    while length < 1 << 24:
        value = np.uint32((np.int64(value) << 8) | np.int64(data[min(at, stop - 1) & PLACE]))
        length = np.uint32(np.int64(length) << 8)
        at += 1
    return value, length, at


@inlined
def decode(data: Any, at: int, stop: int, value: Any, length: Any, state: Any, model: int) -> Any:
    """One symbol of a model: (symbol, value, length, next byte)."""
    model &= PLACE
    if state[model + TOTAL] == 0:
        make_model(state, model)
    first, symbols = np.int64(state[model + AT]), np.int64(state[model + SYMBOLS])
    shift = np.int64(state[model + TABLE_SHIFT])
    whole = length
    length = np.uint32(length >> np.uint32(SHIFT))
    wanted: Any = min(np.int64(np.uint32(value // length)), (1 << SHIFT) - 1)
    entry = np.int64(state[model + TABLE_AT]) + (wanted >> shift)
    symbol, most = np.int64(state[entry]), np.int64(state[entry + 1])
    while symbol < most and np.int64(state[first + symbol + 1] & SHARE) <= wanted:
        symbol += 1
    here = first + symbol
    low = np.uint32(np.uint32(state[here] & SHARE) * length)
    high = whole if symbol == symbols - 1 else np.uint32(np.uint32(state[here + 1] & SHARE) * length)
    value = np.uint32(value - low)
    length = np.uint32(high - low)
    value, length, at = refill(data, at, stop, value, length)
    state[here] += COUNT_ONE
    until = np.int64(state[model + UNTIL]) - 1
    state[model + UNTIL] = until
    if until == 0:
        renew_model(state, model)
    return symbol, value, length, at


@inlined
def decode_raw(data: Any, at: int, stop: int, value: Any, length: Any, bits: int) -> Any:
    """Bits that are stored as they are, at most 19: (bits, value, length, next byte)."""
    length = np.uint32(length >> np.uint32(bits))
    symbol = np.uint32(value // length)
    value = np.uint32(value - np.uint32(length * symbol))
    value, length, at = refill(data, at, stop, value, length)
    return np.int64(symbol), value, length, at


@shared
def decode_bit(data: Any, at: int, stop: int, value: Any, length: Any, state: Any, bit: int) -> Any:
    """One symbol of a model of one bit: (symbol, value, length, next byte)."""
    bit &= PLACE
    middle = np.uint32(np.uint32(state[bit + 2]) * np.uint32(length >> np.uint32(BIT_SHIFT)))
    symbol = np.int64(1) if value >= middle else np.int64(0)
    if symbol:
        value = np.uint32(value - middle)
        length = np.uint32(length - middle)
    else:
        length = middle
        state[bit] += 1
    value, length, at = refill(data, at, stop, value, length)
    state[bit + 3] -= 1
    if state[bit + 3] == 0:
        zeros, total = np.int64(state[bit]), np.int64(state[bit + 1]) + np.int64(state[bit + 4])
        if total > 1 << BIT_SHIFT:
            total = (total + 1) >> 1
            zeros = (zeros + 1) >> 1
            if zeros == total:
                total += 1
        state[bit] = zeros
        state[bit + 1] = total
        state[bit + 2] = (zeros * (0x8000_0000 // total)) >> (31 - BIT_SHIFT)
        cycle = min((5 * np.int64(state[bit + 4])) >> 2, 64)
        state[bit + 4] = cycle
        state[bit + 3] = cycle
    return symbol, value, length, at


@shared
def decode_integer(data: Any, at: int, stop: int, value: Any, length: Any, state: Any, width: int, exact: int, bit: int) -> Any:
    """A corrector of 32 bits: (corrector, its number of bits, value, length, next byte).

    `width` is the model of the number of bits, `exact` the first model of correctors, `bit` the model of the shortest.
    """
    bits, value, length, at = decode(data, at, stop, value, length, state, width)
    if bits == 0:
        corrector, value, length, at = decode_bit(data, at, stop, value, length, state, bit)
        return corrector, bits, value, length, at
    if bits == 32:
        return np.int64(-(1 << 31)), bits, value, length, at
    corrector, value, length, at = decode(data, at, stop, value, length, state, exact + (bits - 1) * HEAD)
    if bits > CORRECTOR_BITS:
        more = bits - CORRECTOR_BITS
        low = np.int64(0)
        shift = 0
        rest = more
        if rest > 19:
            low, value, length, at = decode_raw(data, at, stop, value, length, 16)
            shift = 16
            rest -= 16
        high, value, length, at = decode_raw(data, at, stop, value, length, rest)
        corrector = (corrector << more) | (high << shift) | low
    corrector += 1 if corrector >= 1 << (bits - 1) else 1 - (1 << bits)
    return corrector, bits, value, length, at


MEDIAN = 6
"""Numbers of a running median of five: the values in order, and whether the largest is dropped next."""


@inlined
def follow(medians: Any, at: int, step: int) -> None:
    """Move a running median by another value."""
    at &= PLACE
    if medians[at + 5]:
        if step < medians[at + 2]:
            medians[at + 4] = medians[at + 3]
            medians[at + 3] = medians[at + 2]
            if step < medians[at]:
                medians[at + 2] = medians[at + 1]
                medians[at + 1] = medians[at]
                medians[at] = step
            elif step < medians[at + 1]:
                medians[at + 2] = medians[at + 1]
                medians[at + 1] = step
            else:
                medians[at + 2] = step
        else:
            if step < medians[at + 3]:
                medians[at + 4] = medians[at + 3]
                medians[at + 3] = step
            else:
                medians[at + 4] = step
            medians[at + 5] = 0
    elif medians[at + 2] < step:
        medians[at] = medians[at + 1]
        medians[at + 1] = medians[at + 2]
        if medians[at + 4] < step:
            medians[at + 2] = medians[at + 3]
            medians[at + 3] = medians[at + 4]
            medians[at + 4] = step
        elif medians[at + 3] < step:
            medians[at + 2] = medians[at + 3]
            medians[at + 3] = step
        else:
            medians[at + 2] = step
    else:
        if medians[at + 1] < step:
            medians[at] = medians[at + 1]
            medians[at + 1] = step
        else:
            medians[at] = step
        medians[at + 5] = 1


@inlined
def wrapped(number: int) -> Any:
    """As a signed 32-bit integer."""
    return np.int64(np.int32(number))


# ---- what other modules call


@compiled(types.int64(READ, READ, STATE, BYTES))
def encode_classes(labels: Any, contexts: Any, state: Any, out: Any) -> int:
    """Code a chunk's classes, the first of which is stored raw and here only a context; returns the bytes written to `out`.

    `labels` and `contexts` are uint8 of the chunk's points; `state` is that of CHANNELS x CLASS_MODELS models without tables;
    `out` has room for 2 bytes a point and 16 more. 0 bytes are returned where no class differs from the one before it in its
    channel: then the layer is empty.
    """
    last = np.zeros(CHANNELS, np.int64)
    known = np.zeros(CHANNELS, np.bool_)
    channel = np.int64(contexts[0] >> CHANNEL_SHIFT)
    last[channel] = labels[0]
    known[channel] = True
    changed = False
    low, length, at = np.uint64(0), np.uint64(MOST_LENGTH), 0
    for point in range(1, len(labels)):
        context, symbol = np.int64(contexts[point]), np.int64(labels[point])
        now = context >> CHANNEL_SHIFT
        if not known[now]:
            known[now] = True
            last[now] = last[channel]
        channel = now
        before = last[channel]
        last[channel] = symbol
        changed |= symbol != before
        model = (channel * CLASS_MODELS + ((before & 0x1F) << 1) + (context & ONLY_RETURN)) * HEAD
        if state[model + TOTAL] == 0:
            make_model(state, model)
        here = np.int64(state[model + AT]) + symbol
        share = np.uint64(state[here] & SHARE)
        if symbol == CLASSES - 1:
            step = share * (length >> np.uint64(SHIFT))
            length -= step
        else:
            length >>= np.uint64(SHIFT)
            step = share * length
            length = np.uint64(state[here + 1] & SHARE) * length - step
        low += step
        if low > MOST_LENGTH:
            low &= np.uint64(MOST_LENGTH)
            carry(out, at)
        while length < LEAST_LENGTH:
            out[at] = low >> np.uint64(24)
            at += 1
            low = (low << np.uint64(8)) & np.uint64(MOST_LENGTH)
            length <<= np.uint64(8)
        state[here] += COUNT_ONE
        state[model + UNTIL] -= 1
        if state[model + UNTIL] == 0:
            renew_model(state, model)
    if not changed:
        return 0
    more = length > 2 * LEAST_LENGTH
    low += np.uint64(LEAST_LENGTH if more else LEAST_LENGTH >> 1)
    if low > MOST_LENGTH:
        low &= np.uint64(MOST_LENGTH)
        carry(out, at)
    for _ in range(1 if more else 2):
        out[at] = low >> np.uint64(24)
        at += 1
        low = (low << np.uint64(8)) & np.uint64(MOST_LENGTH)
    for _ in range(3 if more else 2):
        out[at] = 0
        at += 1
    return at


@compiled(types.boolean(READ, types.int64, READ, STATE, BYTES))
def decode_classes(data: Any, first: int, contexts: Any, state: Any, labels: Any) -> bool:
    """Decode a chunk's classification layer into `labels`, from the class of its first point; False if the layer is cut off.

    An empty layer repeats the class before. `state` is that of CHANNELS x CLASS_MODELS models.
    """
    if len(data) == 0:
        labels[:] = first
        return True
    last = np.zeros(CHANNELS, np.int64)
    known = np.zeros(CHANNELS, np.bool_)
    channel = np.int64(contexts[0] >> CHANNEL_SHIFT)
    last[channel] = first
    known[channel] = True
    labels[0] = first
    value, length, at = start(data, 0, len(data))
    for point in range(1, len(labels)):
        context = np.int64(contexts[point])
        now = context >> CHANNEL_SHIFT
        if not known[now]:
            known[now] = True
            last[now] = last[channel]
        channel = now
        model = (channel * CLASS_MODELS + ((last[channel] & 0x1F) << 1) + (context & ONLY_RETURN)) * HEAD
        symbol, value, length, at = decode(data, at, len(data), value, length, state, model)
        last[channel] = symbol
        labels[point] = symbol
    return bool(at <= len(data))


@compiled(types.boolean(READ, types.int64, types.int64, types.int64, FIRST, STATE, WHOLE, WHOLE, WHOLE, BYTES, BYTES))
def decode_points(
    data: Any,
    places_at: int,
    heights_at: int,
    stop: int,
    first: Any,
    state: Any,
    x: Any,
    y: Any,
    z: Any,
    returns: Any,
    contexts: Any,
) -> bool:
    """Decode the layers of positions and returns, and of heights, of a chunk; False if one is cut off.

    The layers are data[places_at:heights_at] and data[heights_at:stop]. `first` is the first point (x, y, z, returns byte,
    flags byte) as int64; `state` that of POINT_MODELS models and 3 bits, once for each channel (shape (CHANNELS, ...)). The
    columns that are filled are int32 x, y, z, uint8 returns (number in the low four bits, count in the high) and contexts.
    """
    last_x, last_y, last_z = np.zeros(CHANNELS, np.int64), np.zeros(CHANNELS, np.int64), np.zeros(CHANNELS, np.int64)
    number, of, again = np.zeros(CHANNELS, np.int64), np.zeros(CHANNELS, np.int64), np.zeros(CHANNELS, np.int64)
    known = np.zeros(CHANNELS, np.bool_)
    levels = np.zeros(CHANNELS * 8, np.int64)
    medians = np.zeros(CHANNELS * 24 * MEDIAN, np.int64)
    medians[5::MEDIAN] = 1
    width = state.size // CHANNELS
    bits_at = width - 3 * BIT

    with_heights = stop > heights_at
    channel = np.int64((first[4] >> 4) & 3)
    known[channel] = True
    px, py, pz, r, n, gps = first[0], first[1], first[2], first[3] & 15, first[3] >> 4, np.int64(0)
    levels[channel * 8 : channel * 8 + 8] = pz
    x[0], y[0], z[0], returns[0] = px, py, pz, first[3]
    contexts[0] = (channel << CHANNEL_SHIFT) | (1 if r == 1 and r >= n else 0)
    base = channel * width
    value, length, at = start(data, places_at, heights_at)
    value_z, length_z, at_z = start(data, heights_at, stop)
    for point in range(1, len(x)):
        kind = (1 if r == 1 else 0) | (2 if r >= n else 0) | (gps << 2)
        changes, value, length, at = decode(data, at, heights_at, value, length, state, base + (CHANGES + kind) * HEAD)
        if changes & 64:
            step, value, length, at = decode(data, at, heights_at, value, length, state, base + CHANNEL * HEAD)
            last_x[channel], last_y[channel], last_z[channel] = px, py, pz
            number[channel], of[channel], again[channel] = r, n, gps
            now = (channel + step + 1) & 3
            if known[now]:
                px, py, pz, r, n = last_x[now], last_y[now], last_z[now], number[now], of[now]
            else:
                known[now] = True
                levels[now * 8 : now * 8 + 8] = pz
            channel = now
            base = channel * width
        gps = (changes >> 4) & 1
        if changes & 4:
            n_before = n
            n, value, length, at = decode(data, at, heights_at, value, length, state, base + (COUNTS + n_before) * HEAD)
        kind = changes & 3
        if kind == 1:
            r = (r + 1) & 15
        elif kind == 2:
            r = (r + 15) & 15
        elif kind == 3:
            model = base + ((NUMBERS + r) if gps else NUMBER_SAME) * HEAD
            step, value, length, at = decode(data, at, heights_at, value, length, state, model)
            r = step if gps else (r + step + 2) & 15
        single = 1 if n == 1 else 0
        which = ((channel * 12) + ((np.int64(RETURN_MAP[(n * 16 + r) & 255]) << 1) | gps)) * (2 * MEDIAN) & PLACE

        step, bits_x, value, length, at = decode_integer(
            data, at, heights_at, value, length, state, base + (DX + single) * HEAD, base + DX_EXACT * HEAD, base + bits_at
        )
        step = wrapped(medians[which + 2] + step)
        follow(medians, which, step)
        px = wrapped(px + step)

        model = base + (DY + single + ((bits_x & ~1) if bits_x < 20 else 20)) * HEAD
        step, bits_y, value, length, at = decode_integer(
            data, at, heights_at, value, length, state, model, base + DY_EXACT * HEAD, base + bits_at + BIT
        )
        step = wrapped(medians[which + MEDIAN + 2] + step)
        follow(medians, which + MEDIAN, step)
        py = wrapped(py + step)

        if with_heights:
            bits_x = (bits_x + bits_y) >> 1
            model = base + (DZ + single + ((bits_x & ~1) if bits_x < 18 else 18)) * HEAD
            step, bits_y, value_z, length_z, at_z = decode_integer(
                data, at_z, stop, value_z, length_z, state, model, base + DZ_EXACT * HEAD, base + bits_at + 2 * BIT
            )
            level = (channel * 8 + min(abs(n - r), 7)) & PLACE
            pz = wrapped(levels[level] + step)
            levels[level] = pz
        x[point], y[point], z[point] = px, py, pz
        returns[point] = r | (n << 4)
        contexts[point] = (channel << CHANNEL_SHIFT) | (1 if r == 1 and r >= n else 0)
    return bool(at <= heights_at and (not with_heights or at_z <= stop))

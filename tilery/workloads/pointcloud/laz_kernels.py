"""Compiled coders of single layers of layered LAZ chunks (point formats 6 to 10): positions and returns, classification,
intensity and colour.

A layered chunk is: first point raw | u32 points | u32 bytes of each layer | the layers. Each layer is an arithmetic code of
its own, so what is needed can be decoded, and one layer replaced, without the others. All state is per chunk.

The coder is A. Said's adaptive range coder with 32-bit variables and periodic updates of the models, as LASzip uses it;
contexts and predictors are those of LASzip's version 3 items. Here a model is a row of `HEAD` numbers and a run of symbols in
flat arrays, made when it is first used.

What costs is waiting: for a division and two loads a symbol, one after another, and for guesses of the processor that turn out
wrong. So what is as likely as not (another byte to read, the next symbol, where a median takes a value in) is computed without
a branch.

Source: A. Said, "Introduction to arithmetic coding: theory and practice", HPL-2004-76; Isenburg, "LASzip: lossless compression
of LiDAR data", 2013; LASzip 3.4 `laswriteitemcompressed_v3.cpp`, `lasreaditemcompressed_v3.cpp`, `integercompressor.cpp`.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from tilery.machine_code import FLAG, LONG, Array, called, inlined, kernel

PADDING = 4
"""Bytes that must be there behind a layer: decoders look so far ahead."""
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
NEW_TIME = 1 << 3
"""What that of intensities must know besides: whether the GPS time is another than that of the point before in its channel."""

# models of one scanner channel in the layer of positions and returns, and in that of heights
CHANGES, CHANNEL, COUNTS, NUMBERS, NUMBER_SAME = 0, 8, 9, 25, 41
DX, DX_EXACT = 42, 44
DY, DY_EXACT = 76, 98
DZ, DZ_EXACT = 130, 150
POINT_MODELS, POINT_BITS = 182, 3
# models of one scanner channel in the layer of intensities
KINDS, EXACT = 0, 4
INTENSITY_MODELS, INTENSITY_BITS = 20, 1
# and in that of colours: which bytes change, and how much each
COLOUR_CHANGES, COLOUR_BYTES = 0, 1
COLOUR_MODELS = 7
CORRECTOR_BITS = 8
"""Correctors of more bits have their low bits stored as they are."""

_RETURN_MAP = """
0123453445555555 1013333333333333 2124444444433333 3345444444444444 4344544444444444 5344454444444444 3344445444444444
4344444544444444 4344444454444444 5344444445444444 5344444444544444 5334444444455444 5334444444455544 5334444444445554
5334444444444555 5334444444444455
"""
RETURN_MAP = np.array([int(digit) for digit in "".join(_RETURN_MAP.split())], np.uint8)
"""(number of returns, return number) -> which of six predictors of the step in x and y."""


READ = Array("uint8", readonly=True)
BYTES = Array("uint8")
STATE = Array("uint32")
WHOLE = Array("int32")
NUMBERS_64 = Array("int64")
GREY = Array("uint16")
COLOUR = Array("uint16", 2)


def table_shift(symbols: int) -> int:
    """By how much a probability is shifted to look up where to search; 0 for few symbols."""
    return SHIFT - (5 if symbols <= 16 else 7 if symbols <= 128 else 8)


def models_of(symbols: list[int], bits: int = 0, tables: bool = True) -> Any:
    """The state of models of so many symbols each, none made yet, and of `bits` models of one bit: uint32, models first.

    Behind the symbols of each is one that is never reached. Only decoders use tables.
    """
    heads = np.zeros((len(symbols), HEAD), np.uint32)
    at = heads.size
    for head, number in zip(heads, symbols, strict=True):
        head[AT], head[SYMBOLS], head[TABLE_SHIFT] = at, number, table_shift(number) if tables else 0
        at += number + 1
        if head[TABLE_SHIFT]:
            head[TABLE_AT] = at
            at += (1 << (SHIFT - int(head[TABLE_SHIFT]))) + 2
    state = np.zeros(at + bits * BIT, np.uint32)
    state[: heads.size] = heads.reshape(-1)
    state[at:] = [1, 2, 1 << (BIT_SHIFT - 1), 4, 4] * bits
    return state


def _exact(most_bits: int) -> list[int]:
    return [1 << min(bits, CORRECTOR_BITS) for bits in range(1, most_bits + 1)]


POINT_SYMBOLS = [*[128] * 8, 3, *[16] * 32, 13, *[33] * 2, *_exact(32), *[33] * 22, *_exact(32), *[33] * 20, *_exact(32)]
"""Symbols of each model of one scanner channel in the layers of positions and heights."""
INTENSITY_SYMBOLS = [*[17] * 4, *_exact(16)]
COLOUR_SYMBOLS = [128, *[256] * 6]


@called
def make_model(state: Any, model: Any) -> None:
    """Give a model its first, even probabilities."""
    first, symbols = np.int64(state[model + AT]), np.int64(state[model + SYMBOLS])
    for at in range(first, first + symbols):
        state[at] = COUNT_ONE
    state[first + symbols] = SHARE
    state[model + TOTAL] = 0
    state[model + CYCLE] = symbols
    renew_model(state, model)
    state[model + CYCLE] = state[model + UNTIL] = (symbols + 6) >> 1


@called
def renew_model(state: Any, model: Any) -> None:
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


@called
def carry(out: Any, at: int) -> None:
    """Add one to what is written already."""
    at -= 1
    while out[at] == 0xFF:
        out[at] = 0
        at -= 1
    out[at] += 1


@inlined
def four_bytes(data: Any, at: Any) -> Any:
    """The four bytes from here on as a number, the first one highest."""
    here = at & PLACE
    high, low = np.uint32(data[here]) << np.uint32(24), np.uint32(data[here + 2]) << np.uint32(8)
    return np.uint32(high | (np.uint32(data[here + 1]) << np.uint32(16)) | low | np.uint32(data[here + 3]))


@inlined
def start(data: Any, at: Any) -> Any:
    """The decoder's first state: (value, length, next byte)."""
    return np.uint32(min(four_bytes(data, at), np.uint32(MOST_LENGTH - 1))), np.uint32(MOST_LENGTH), at + 4


@inlined
def refill(data: Any, at: Any, stop: Any, value: Any, length: Any) -> Any:
    """Read bytes, three at most, until the interval is wide again. Behind the end there are any, and `at` tells."""
    missing = np.int64(length < 1 << 24) + np.int64(length < 1 << 16) + np.int64(length < 1 << 8)
    bits = missing << 3
    value = np.uint32((np.int64(value) << bits) | (np.int64(four_bytes(data, min(at, stop))) >> (32 - bits)))
    return value, np.uint32(np.int64(length) << bits), at + missing


@inlined
def decode(data: Any, at: Any, stop: Any, value: Any, length: Any, state: Any, model: Any) -> Any:
    """One symbol of a model: (symbol, value, length, next byte)."""
    model &= PLACE
    if state[model + TOTAL] == 0:
        make_model(state, model)
    first, symbols = np.int64(state[model + AT]), np.int64(state[model + SYMBOLS])
    shift = np.int64(state[model + TABLE_SHIFT])
    whole = length
    length = np.uint32(length >> np.uint32(SHIFT))
    wanted: Any = min(np.int64(np.uint32(value // length)), (1 << SHIFT) - 1)
    here = first + np.int64(state[np.int64(state[model + TABLE_AT]) + (wanted >> shift)])
    here += np.int64(np.int64(state[here + 1] & SHARE) <= wanted)  # half of the time: not worth a guess
    while np.int64(state[here + 1] & SHARE) <= wanted:
        here += 1
    symbol = here - first
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
def decode_raw(data: Any, at: Any, stop: Any, value: Any, length: Any, bits: Any) -> Any:
    """Bits that are stored as they are, at most 19: (bits, value, length, next byte)."""
    length = np.uint32(length >> np.uint32(bits))
    symbol = np.uint32(value // length)
    value = np.uint32(value - np.uint32(length * symbol))
    value, length, at = refill(data, at, stop, value, length)
    return np.int64(symbol), value, length, at


@called
def decode_bit(data: Any, at: Any, stop: Any, value: Any, length: Any, state: Any, bit: Any) -> Any:
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


@inlined
def decode_integer(data: Any, at: Any, stop: Any, value: Any, length: Any, state: Any, width: Any, exact: Any, bit: Any) -> Any:
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
def follow(medians: Any, at: Any, step: Any) -> None:
    """Move a running median by another value: it takes the place of the largest or of the least one, by turns."""
    at &= PLACE
    largest = medians[at + 5]
    middle = medians[at + 2]
    rest = (at + 1 - largest) & PLACE
    a, b, c, d = medians[rest], medians[rest + 1], medians[rest + 2], medians[rest + 3]
    medians[at] = min(a, step)
    medians[at + 1] = max(a, min(b, step))
    medians[at + 2] = max(b, min(c, step))
    medians[at + 3] = max(c, min(d, step))
    medians[at + 4] = max(d, step)
    medians[at + 5] = np.int64(step < middle + 1 - largest)


@inlined
def wrapped(number: Any) -> Any:
    """As a signed 32-bit integer."""
    return np.int64(np.int32(number))


SCRATCH = 28 + CHANNELS * 8 + CHANNELS * 24 * MEDIAN
"""Numbers (int64) that a coder needs room for."""


# ---- what other modules call


@kernel(LONG, READ, READ, STATE, NUMBERS_64, BYTES)
def encode_classes(labels: Any, contexts: Any, state: Any, scratch: Any, out: Any) -> int:
    """Code a chunk's classes, the first of which is stored raw and here only a context; returns the bytes written to `out`.

    `labels` and `contexts` are uint8 of the chunk's points; `state` is that of CHANNELS x CLASS_MODELS models without tables;
    `out` has room for 2 bytes a point and 16 more. 0 bytes are returned where no class differs from the one before it in its
    channel: then the layer is empty.
    """
    scratch[:] = 0
    last, known = scratch[:CHANNELS], scratch[CHANNELS : 2 * CHANNELS]
    channel = np.int64(contexts[0] >> CHANNEL_SHIFT)
    last[channel] = labels[0]
    known[channel] = 1
    changed = False
    low, length, at = np.uint64(0), np.uint64(MOST_LENGTH), 0
    for point in range(1, len(labels)):
        context, symbol = np.int64(contexts[point]), np.int64(labels[point])
        now = context >> CHANNEL_SHIFT
        if not known[now]:
            known[now] = 1
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


@kernel(FLAG, READ, LONG, LONG, LONG, READ, STATE, NUMBERS_64, BYTES)
def decode_classes(data: Any, at: int, stop: int, first: int, contexts: Any, state: Any, scratch: Any, labels: Any) -> bool:
    """Decode the classification layer data[at:stop] of a chunk into `labels`, from the class of its first point; False if the
    layer is cut off. An empty layer repeats the class before. `state` is that of CHANNELS x CLASS_MODELS models.
    """
    if at == stop:
        labels[:] = first
        return True
    scratch[:] = 0
    last, known = scratch[:CHANNELS], scratch[CHANNELS : 2 * CHANNELS]
    channel = np.int64(contexts[0] >> CHANNEL_SHIFT) & 3
    last[channel] = first
    known[channel] = 1
    labels[0] = first
    value, length, at = start(data, at)
    for point in range(1, len(labels)):
        context = np.int64(contexts[point])
        now = (context >> CHANNEL_SHIFT) & 3
        if not known[now]:
            known[now] = 1
            last[now] = last[channel]
        channel = now
        model = (channel * CLASS_MODELS + ((last[channel] & 0x1F) << 1) + (context & ONLY_RETURN)) * HEAD
        symbol, value, length, at = decode(data, at, stop, value, length, state, model)
        last[channel] = symbol
        labels[point] = symbol
    return bool(at <= stop)


@kernel(FLAG, READ, LONG, LONG, LONG, READ, READ, STATE, NUMBERS_64, GREY)
def decode_intensities(
    data: Any, at: int, stop: int, first: int, contexts: Any, returns: Any, state: Any, scratch: Any, grey: Any
) -> bool:
    """Decode the layer of intensities data[at:stop] of a chunk into `grey` (uint16), from that of its first point; False if it
    is cut off.

    `contexts` with NEW_TIME and `returns` are as `decode_points` gives them; `state` is that of CHANNELS x INTENSITY_MODELS
    models and as many bits.
    """
    if at == stop:
        grey[:] = first
        return True
    scratch[:] = 0
    last, known = scratch[: CHANNELS * 8], scratch[CHANNELS * 8 : CHANNELS * 9]
    bits_at = state.size - CHANNELS * INTENSITY_BITS * BIT
    channel = np.int64(contexts[0] >> CHANNEL_SHIFT) & 3
    known[channel] = 1
    last[channel * 8 : channel * 8 + 8] = first
    before = np.int64(first)
    grey[0] = first
    value, length, at = start(data, at)
    for point in range(1, len(grey)):
        context, of = np.int64(contexts[point]), np.int64(returns[point])
        channel = (context >> CHANNEL_SHIFT) & 3
        if not known[channel]:
            known[channel] = 1
            last[channel * 8 : channel * 8 + 8] = before
        kind = (1 if of & 15 == 1 else 0) | (2 if of & 15 >= of >> 4 else 0)
        place = (channel * 8 + kind * 2 + (1 if context & NEW_TIME else 0)) & PLACE
        base = channel * INTENSITY_MODELS
        width, exact, bit = (base + KINDS + kind) * HEAD, (base + EXACT) * HEAD, bits_at + channel * BIT
        step, _, value, length, at = decode_integer(data, at, stop, value, length, state, width, exact, bit)
        before = (last[place] + step) & 0xFFFF
        last[place] = before
        grey[point] = before
    return bool(at <= stop)


@kernel(FLAG, READ, LONG, LONG, NUMBERS_64, READ, STATE, NUMBERS_64, COLOUR)
def decode_colours(data: Any, at: int, stop: int, first: Any, contexts: Any, state: Any, scratch: Any, colours: Any) -> bool:
    """Decode the layer of colours data[at:stop] of a chunk into `colours` (uint16, one row a point), from those of its first
    point (int64 red, green, blue); False if it is cut off.

    `state` is that of CHANNELS x COLOUR_MODELS models. Version 3 of LASzip's items knows the scanner channel only of points
    where it changes, and takes it for 0 elsewhere; after a change, colours are told from those of the context before, and kept
    there. Nothing but the size of the layer depends on it.
    """
    colours[0, 0], colours[0, 1], colours[0, 2] = first[0], first[1], first[2]
    if at == stop:
        for point in range(1, len(colours)):
            colours[point, 0], colours[point, 1], colours[point, 2] = first[0], first[1], first[2]
        return True
    scratch[:] = 0
    last, known, rise = scratch[: CHANNELS * 6], scratch[CHANNELS * 6 : CHANNELS * 7], scratch[CHANNELS * 7 : CHANNELS * 7 + 2]
    new = scratch[CHANNELS * 7 + 2 : CHANNELS * 7 + 8]
    before_channel: Any = np.int64(contexts[0] >> CHANNEL_SHIFT) & 3
    context: Any = before_channel
    known[context] = 1
    for byte in range(6):
        last[context * 6 + byte] = (first[byte >> 1] >> (8 * (byte & 1))) & 0xFF
    value, length, at = start(data, at)
    for point in range(1, len(colours)):
        channel = (np.int64(contexts[point]) >> CHANNEL_SHIFT) & 3
        now, told_from = 0 if channel == before_channel else channel, context
        before_channel = channel
        if now != context:
            context = now
            if not known[context]:
                known[context] = 1
                for byte in range(6):
                    last[context * 6 + byte] = last[told_from * 6 + byte]
                told_from = context
        was = told_from * 6
        base = context * COLOUR_MODELS
        changes, value, length, at = decode(data, at, stop, value, length, state, (base + COLOUR_CHANGES) * HEAD)
        for step in range(6 if changes & 64 else 2):
            byte = (step if step < 3 else 4 if step == 3 else 3 if step == 4 else 5) & PLACE
            half = byte & 1
            before = last[was + byte]
            told = before
            if changes & (1 << byte):
                more, value, length, at = decode(data, at, stop, value, length, state, (base + COLOUR_BYTES + byte) * HEAD)
                told = (min(max(before + rise[half], 0), 255) if step > 1 else before) + more & 0xFF
            new[byte] = told
            if byte < 2:
                rise[half] = told - before
            elif byte < 4:
                rise[half] += told - before
                rise[half] = (rise[half] + (1 if rise[half] < 0 else 0)) >> 1
        if not changes & 64:
            new[2] = new[4] = new[0]
            new[3] = new[5] = new[1]
        for byte in range(6):
            last[was + byte] = new[byte]
        for colour in range(3):
            colours[point, colour] = new[2 * colour] | (new[2 * colour + 1] << 8)
    return bool(at <= stop)


@kernel(FLAG, READ, LONG, LONG, LONG, NUMBERS_64, STATE, NUMBERS_64, WHOLE, WHOLE, WHOLE, BYTES, BYTES)
def decode_points(
    data: Any,
    places_at: int,
    heights_at: int,
    stop: int,
    first: Any,
    state: Any,
    scratch: Any,
    x: Any,
    y: Any,
    z: Any,
    returns: Any,
    contexts: Any,
) -> bool:
    """Decode the layers of positions and returns, and of heights, of a chunk; False if one is cut off.

    The layers are data[places_at:heights_at] and data[heights_at:stop]. `first` is the first point (x, y, z, returns byte,
    flags byte) as int64; `state` that of CHANNELS x POINT_MODELS models and CHANNELS x POINT_BITS bits. The columns that are
    filled are int32 x, y, z, uint8 returns (number in the low four bits, count in the high) and contexts, with NEW_TIME.
    """
    scratch[:] = 0
    last_x, last_y, last_z, number = scratch[0:4], scratch[4:8], scratch[8:12], scratch[12:16]
    of, again, known, levels = scratch[16:20], scratch[20:24], scratch[24:28], scratch[28 : 28 + CHANNELS * 8]
    medians = scratch[28 + CHANNELS * 8 : SCRATCH]
    medians[5::MEDIAN] = 1
    bits_at = state.size - CHANNELS * POINT_BITS * BIT

    with_heights = stop > heights_at
    channel = np.int64((first[4] >> 4) & 3)
    known[channel] = 1
    px, py, pz, r, n, gps = first[0], first[1], first[2], first[3] & 15, first[3] >> 4, np.int64(0)
    levels[channel * 8 : channel * 8 + 8] = pz
    x[0], y[0], z[0], returns[0] = px, py, pz, first[3]
    contexts[0] = (channel << CHANNEL_SHIFT) | (1 if r == 1 and r >= n else 0)
    base, bit = channel * POINT_MODELS * HEAD, bits_at + channel * POINT_BITS * BIT
    value, length, at = start(data, places_at)
    value_z, length_z, at_z = start(data, heights_at)
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
                known[now] = 1
                levels[now * 8 : now * 8 + 8] = pz
            channel = now
            base, bit = channel * POINT_MODELS * HEAD, bits_at + channel * POINT_BITS * BIT
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
            data, at, heights_at, value, length, state, base + (DX + single) * HEAD, base + DX_EXACT * HEAD, bit
        )
        step = wrapped(medians[which + 2] + step)
        follow(medians, which, step)
        px = wrapped(px + step)

        model = base + (DY + single + ((bits_x & ~1) if bits_x < 20 else 20)) * HEAD
        step, bits_y, value, length, at = decode_integer(
            data, at, heights_at, value, length, state, model, base + DY_EXACT * HEAD, bit + BIT
        )
        step = wrapped(medians[which + MEDIAN + 2] + step)
        follow(medians, which + MEDIAN, step)
        py = wrapped(py + step)

        if with_heights:
            bits_x = (bits_x + bits_y) >> 1
            model = base + (DZ + single + ((bits_x & ~1) if bits_x < 18 else 18)) * HEAD
            step, bits_y, value_z, length_z, at_z = decode_integer(
                data, at_z, stop, value_z, length_z, state, model, base + DZ_EXACT * HEAD, bit + 2 * BIT
            )
            level = (channel * 8 + min(abs(n - r), 7)) & PLACE
            pz = wrapped(levels[level] + step)
            levels[level] = pz
        x[point], y[point], z[point] = px, py, pz
        returns[point] = r | (n << 4)
        contexts[point] = (channel << CHANNEL_SHIFT) | (1 if r == 1 and r >= n else 0) | (NEW_TIME if gps else 0)
    return bool(at <= heights_at and (not with_heights or at_z <= stop))

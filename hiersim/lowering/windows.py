"""Convolutions as the libraries of GPUs run them: implicit matrix products, and tensors laid out anew before and after.

Frameworks keep images as (image, channel, row, column); kernels for a matrix unit want the channels of a place next to
each other. So a library first copies the input, and a weight with a window, into that order, and the result back: three
further launches. It copies through squares of 32 × 32 elements, one at a time, so that a square with three channels
costs what a full one does. Not where a convolution is a plain product (window and stride 1, one group): there the rows
of an image are rows of a matrix as they lie, one product per image, unless their length is odd. Nor in compiled
schedules, whose compiler lays tensors out once. [Names and times of kernels of cuDNN 9 in the bundled measurements.]

An implicit product looks up a line for every place of its window: the channels of a place, 128 bytes at most. Groups
are packed: each gets 32 channels and filters, or a multiple, two fill a block, and what they get beyond their own is
filled with zeros before. Since the groups then lie apart, a compiled schedule copies too: element by element. Where
each channel has a filter of its own, a direct kernel loads an element and a weight for every tap.

Ordinary Python with types for Cython: compiled where there is a C compiler, interpreted elsewhere, with the same
results. `windows.pxd` declares the fields.
"""

from __future__ import annotations

import cython

from hiersim.lowering.blocks import WIDEST
from hiersim.lowering.tile_choice import TileChoice
from hiersim.units import TICKS_PER_SECOND
from hiersim.units import UNLIMITED as NO_LIMIT

if cython.compiled:
    from cython.cimports.hiersim.columns import column
    from cython.cimports.hiersim.exact import ceil_share3, floor_share, product, total
    from cython.cimports.hiersim.lowering.rounding import ceil_div, padded_to
    from cython.cimports.hiersim.lowering.tile_estimate import common
    from cython.cimports.hiersim.lowering.work import Work, held
    from cython.cimports.libc.math import ceil
else:
    from math import ceil

    from hiersim.columns import column
    from hiersim.exact import ceil_share3, floor_share, product, total
    from hiersim.lowering.rounding import ceil_div, padded_to
    from hiersim.lowering.tile_estimate import common
    from hiersim.lowering.work import Work, held

UNLIMITED = cython.declare(cython.longlong, NO_LIMIT)
SECOND = cython.declare(cython.longlong, TICKS_PER_SECOND)
WIDE = cython.declare(cython.longlong, WIDEST)
DIMS = cython.declare(cython.longlong, 7)
"""Columns of `KernelClasses.type_dims`."""
SQUARE = cython.declare(cython.longlong, 32)
"""Side of what is laid out anew at once, in elements."""
LINE = cython.declare(cython.longlong, 128)
"""Bytes of a line of a core's own cache: CUDA C++ Best Practices Guide."""
BLOCK = cython.declare(cython.longlong, 64)
"""Channels and filters that groups fill together: tiles of 64 x 64 x 64, in names of cuDNN's kernels with groups."""
LEAST_PACKED = cython.declare(cython.longlong, 16)
"""Channels of a group from which groups are packed; of fewer nothing is known."""
LEAST_ELEMENTS = cython.declare(cython.longlong, 2)
"""Elements of an access of a kernel that takes rows of many images as they lie (CUTLASS `align2`)."""


@cython.cclass
class Windows(TileChoice):
    """What a convolution is run as. `plan_convolution` chooses it.

    `direct`: no product at all, a filter per channel; `gathered`: an implicit product; `packed`: of `groups` that have
    `padded_own` channels and `padded_filters` each; `laid_out`: with layouts changed around it, `spread` element by
    element, in which case `cleared` are bytes filled with zeros before, `layouts` are the launches before it,
    `read_before` and `written_before` the bytes that those read and write, `after` those that the one after it reads,
    `squares_before` and `squares_after` the squares they go through. (levels,) `far_before` are what each farther tier
    supplies to those before, `far_weight` what it supplies of a weight that the product reads as it lies; `lost_before`
    and `lost_after` what it takes, and gives back, of what one launch hands to the next. `set_up` are ticks before the
    product's first block.
    """

    def __init__(self, work: Work) -> None:
        TileChoice.__init__(self, work)
        self.gathered = self.laid_out = self.direct = self.packed = self.spread = False
        self.groups = self.padded_own = self.padded_filters = 1
        self.layouts = self.read_before = self.written_before = self.cleared = self.after = 0
        self.squares_before = self.squares_after = self.set_up = 0
        self.far_before, self.lost_before = column(work.levels), column(work.levels)
        self.lost_after, self.far_weight = column(work.levels), column(work.levels)

    @cython.cfunc
    def plan_convolution(self) -> cython.longlong:
        """How the convolution at hand is run, after its operands are found: its product, and what goes around it."""
        self.gathered = self.laid_out = self.direct = self.packed = False
        self.layouts = self.set_up = 0
        anchor: cython.longlong = self.work.anchor
        images: cython.longlong = self.classes.type_images[anchor]
        if images == 0 or self.figures.threads == 0 or self.figures.scratchpad > 0 or self.systolic:
            return 0
        if self.unit != self.figures.matrix_unit:
            return 0
        first: cython.longlong = anchor * DIMS
        window: cython.longlong = max(1, self.classes.type_dims[first + 4])
        stride: cython.longlong = max(1, self.classes.type_dims[first + 5])
        if self.batch > 1 and self.n == 1 and self.k == window:  # a filter per channel: every element by itself
            self.direct = True
            self.width, self.access_rate = self.element, self.figures.tap_rate(window)
            return 0
        compiled: cython.bint = self.classes.type_padded[anchor] > 0
        plain: cython.bint = window == 1 and stride == 1 and self.batch == 1
        if plain and (compiled or self.takes_rows(images)):
            return 0
        self.gathered, self.set_up = True, self.figures.window_set_up
        own: cython.longlong = max(1, self.k // window)
        filters: cython.longlong = product(self.batch, self.n)
        self.groups = self.batch
        self.packed = self.batch > 1 and window > 1 and own >= LEAST_PACKED
        if self.packed:
            self.pack_groups(window, own)
        else:
            self.widen_channels(window, own)
        if self.packed or not compiled:
            self.lay_out(images, window, own, filters, compiled)
        return 0

    @cython.cfunc
    def takes_rows(self, images: cython.longlong) -> cython.bint:
        """Make it one product per image where rows of an image, as they lie, can be loaded; whether that is so."""
        places: cython.longlong = self.m // images
        width: cython.longlong = common(places * self.element, WIDE)
        if places == 1:  # both orders are the same
            return True
        least: cython.longlong = LEAST_ELEMENTS * self.element
        if places * images != self.m or (images > 1 and width < least):
            return False
        self.batch, self.m = images, places
        self.operand_b = product(self.operand_b, images)
        if width < WIDE:
            self.width, self.access_rate = min(width, least), self.figures.narrow_rate
        return True

    @cython.cfunc
    def pack_groups(self, window: cython.longlong, own: cython.longlong) -> cython.longlong:
        """Groups are given whole squares of channels and filters, as many as fill a block, and become one product."""
        wide: cython.longlong = padded_to(own, SQUARE)
        high: cython.longlong = padded_to(self.n, SQUARE)
        together: cython.longlong = max(1, BLOCK // max(wide, high))
        self.operand_a = product(product(product(self.batch, self.m), window), wide)
        self.operand_b = product(product(product(self.batch, high), window), wide)
        self.batch = ceil_div(self.batch, together)
        self.k, self.n = product(product(window, wide), together), high * together
        self.padded_own, self.padded_filters = wide, high
        self.width, self.access_rate = min(wide * together * self.element, LINE), self.figures.lookup_rate
        return 0

    @cython.cfunc
    def widen_channels(self, window: cython.longlong, own: cython.longlong) -> cython.longlong:
        """Channels are padded to whole accesses; what lies together at a place of the window is one line at most."""
        padded: cython.longlong = padded_to(own, max(1, WIDE // self.element))
        self.padded_own, self.padded_filters = padded, self.n
        self.operand_a = product(product(product(self.batch, self.m), window), padded)
        self.operand_b = product(product(product(self.batch, self.n), window), padded)
        self.k = product(window, padded)
        self.width, self.access_rate = min(padded * self.element, LINE), self.figures.lookup_rate
        return 0

    @cython.cfunc
    def lay_out(
        self,
        images: cython.longlong,
        window: cython.longlong,
        own: cython.longlong,
        filters: cython.longlong,
        compiled: cython.bint,
    ) -> cython.longlong:
        """Bytes and squares of the copies before and after; groups have their channels side by side.

        Where a compiler laid tensors out, copies that spread and gather groups look up every element.
        """
        channels: cython.longlong = product(self.groups, own)
        source: cython.longlong = self.work.read_size(self.read_a)
        weight: cython.longlong = self.work.read_size(self.read_b) if window > 1 else 0
        places: cython.longlong = ceil_div(source, product(product(images, channels), self.element))
        self.laid_out, self.spread = True, compiled
        self.layouts = 2 if window > 1 else 1
        self.read_before = total(source, weight)
        self.written_before = ceil_div(product(self.read_before, self.padded_own), own)
        self.after = ceil_div(product(product(self.work.write_size, self.padded_filters), self.groups), filters)
        self.cleared = 0
        if self.packed:
            self.cleared = self.written_before
            self.layouts += 2
        self.squares_before = product(product(images, ceil_div(channels, SQUARE)), ceil_div(places, SQUARE))
        if window > 1:
            self.squares_before += product(product(filters, ceil_div(own, SQUARE)), ceil_div(window, SQUARE))
        self.squares_after = product(
            product(images, ceil_div(filters, SQUARE)), ceil_div(ceil_div(self.m, images), SQUARE)
        )
        if compiled:
            self.squares_before = ceil_div(self.read_before // self.element, SQUARE * SQUARE)
            self.squares_after = ceil_div(self.after // self.element, SQUARE * SQUARE)
        level: cython.longlong
        for level in range(self.work.levels):
            self.far_before[level] = self.work.far(self.read_a, level)
            self.far_weight[level] = self.work.far(self.read_b, level) if self.read_b >= 0 else 0
            if window > 1:
                self.far_before[level] = total(self.far_before[level], self.far_weight[level])
                self.far_weight[level] = 0
            if self.classes.beside and level < self.work.levels - 1:  # what is laid out anew lives in the home tier
                self.lost_before[level] = self.lost_after[level] = 0
                continue
            self.lost_before[level] = self.lost(level, self.written_before, self.read_before, self.after)
            self.lost_after[level] = self.lost(level, self.after, self.written_before, self.after)
        return 0

    @cython.cfunc
    def lost(
        self, level: cython.longlong, size: cython.longlong, earlier: cython.longlong, later: cython.longlong
    ) -> cython.longlong:
        """Of `size` bytes that one launch writes and the next one reads, what leaves the cache before `level`.

        Between the two touches of an element the rest of what the first launch reads and writes goes by, and as much
        of what the second one has by then.
        """
        near: cython.double = float(size) + float(min(earlier, later))
        far: cython.double = float(size) + float(max(earlier, later))
        kept: cython.double = held(near, far, float(self.figures.capacity(level)))
        return cython.cast(cython.longlong, ceil((1.0 - kept) * float(size)))

    @cython.cfunc
    def count_far_loads(self) -> cython.longlong:
        """As of any product; one that is laid out reads what a copy before it wrote."""
        if not self.laid_out:
            return TileChoice.count_far_loads(self)
        level: cython.longlong
        for level in range(self.work.levels):
            loads: cython.longlong = total(self.again_from(level), self.lost_before[level])
            loads = total(loads, self.far_weight[level])
            behind: cython.bint = level > 0 and not self.classes.beside
            self.far_loads[level] = min(loads, self.far_loads[level - 1]) if behind else loads
        return 0

    @cython.cfunc
    def asked(self) -> cython.longlong:
        """Bytes that the product reads at least: all that was laid out for it, and a weight as it lies."""
        as_is: cython.longlong = self.work.read_size(self.read_a) + self.work.read_size(self.read_b) - self.read_before
        return total(self.written_before, max(0, as_is))

    @cython.cfunc
    def square_ticks(self, squares: cython.longlong, active: cython.longlong) -> cython.longlong:
        """Ticks of `active` cores for laying out so many squares: each element is an access of its own.

        Where groups are spread it has an address of its own, and a lookup where channels are last already.
        """
        rate: cython.longlong = self.figures.narrow_rate
        if self.packed:
            rate = self.figures.lookup_rate
            if not self.spread and rate < UNLIMITED:
                rate = max(1, floor_share(rate, self.figures.lookup, self.figures.address))
        if rate >= UNLIMITED:
            return 0
        return ceil_share3(product(squares, SQUARE * SQUARE), 1, SECOND, product(rate, active))

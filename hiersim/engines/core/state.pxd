# What other compiled modules use of state.py.
cdef class State:
    # the program
    cdef long long resources, tiers, columns, row_size, longest
    cdef long long[::1] port_tier, unit_engine, depth, buffer_tier, total, nest, loop_ptr, loop_repeat, body_ptr
    cdef long long[::1] body_count, body_tile, type_nest, stage_ptr, release, complete, resource, ticks, latency
    cdef long long[::1] useful, padding, tail, fair, marks
    # the resource at which all tiles of a nest wait in line from the start of their kernel; NONE where they do not
    cdef long long[::1] line
    # the columns of the program one after the other, and how much of them has its own name
    cdef long long[::1] whole
    cdef long long taken
    # time, and what waits where
    cdef long long now, next_start
    # the least `due` and whose it is; how many idle resources have a queue, and which was the last to
    cdef long long next_due, next_place, waiting, ready_place
    cdef long long[::1] serving, service_end, queue_head, queue_tail, flight_head, flight_tail, busy, due
    # slots of tiles; `granted` holds the grant of every stage so far, `longest` places a slot: at `tile_base` + stage
    cdef long long free_slot, slots, live
    cdef long long[::1] tile_kernel, tile_number, tile_type, tile_stage, tile_buffer, tile_time, tile_active, after
    cdef long long[::1] before, granted, tile_share, tile_base
    cdef long long last_slot, last_time
    # who waits at a fair port: the first slot of each kernel, and when a kernel was last found there
    cdef long long[::1] firsts, found
    # kernels that issue tiles or wait for them
    cdef long long actives
    cdef long long[::1] active_kernel, active_loop, active_repeat, active_body, active_count, active_free
    cdef long long[::1] active_number, active_left, active_open, active_time, active_slot
    # of a nest in line: its resource, and the tile that waits there for all that are behind it
    cdef long long[::1] active_line, active_front
    # per kernel: times, and the union of all units' work until then (in a stream only one has a place: wide = 0)
    cdef long long wide, current
    cdef long long[::1] ready, start, end, worked_ready, worked_start, computed, worked_computed, begun, producer
    # how kernels drained after their last computation: intervals, each with a ledger column
    cdef long long[::1] drain_from, drain_to, drain_computed, drain_worked
    cdef long long drains
    cdef long long[::1] drain_begin, drain_end, drain_column, drain_worked_begin, drain_worked_end
    # the ledger, and the past that it looks up: when any unit worked, whom each port served
    cdef long long[::1] book, covered, worked_cover
    cdef long long worked, work_count
    cdef long long[::1] work_start, work_end
    cdef long long past
    cdef long long[::1] past_count, past_start, past_end, past_kernel
    cdef long long pieces
    cdef long long[::1] piece_begin, piece_end, piece_column
    # the stage log, when it is kept
    cdef bint keep_log
    cdef long long log_rows
    cdef long long[::1] log
    # whether what repeats is skipped, and whether events are noted: see drift.py
    cdef bint fast
    cdef long long tracing
    # counted work
    cdef long long stages, skipped, steps, snapshots, jumps

    cdef long long[::1] part(self, long long length)
    cdef long long count_tiles(self) noexcept
    cdef long long find_lines(self) noexcept
    cdef long long line_of(self, long long nest) noexcept
    cdef bint in_line(self, long long slot) noexcept
    cdef long long more_slots(self) except -1
    cdef long long vacate(self, long long first) noexcept
    cdef long long remember(self, long long place, long long kernel, long long end) except -1
    cdef long long horizon(self) noexcept
    cdef long long since(self, long long slot) noexcept
    cdef long long line_horizon(self, long long place, long long time) noexcept
    cdef long long forget(self) except -1
    cdef long long forget_past(self, long long time) noexcept
    cdef long long forget_work(self) except -1

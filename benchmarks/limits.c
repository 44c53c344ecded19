/* What is left of the engine when nobody asks why: the makespan of one kernel of equal tiles, without a ledger.
 *
 * events: an event loop by the rules of docs/semantics.md (completions, then buffers, then ports and units, each to
 *         the smallest (request time, tile, stage)); right for any ports.
 * known:  a recurrence of next-free times; right where every port serves the tiles in order.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

typedef int64_t i64;

enum { MOST = 4096, PORTS = 64 };

typedef struct { i64 time; i64 tile; int stage; int served; } Event;      /* end of a service, or an arrival */
typedef struct { i64 time; i64 tile; int stage; } Request;
typedef struct { Request at[MOST]; int count; int busy; } Queue;

static Event heap[MOST];
static int events_waiting;
static Queue queues[PORTS];

static void push(Event event) {
    int at = events_waiting++;
    while (at && heap[(at - 1) / 2].time > event.time) { heap[at] = heap[(at - 1) / 2]; at = (at - 1) / 2; }
    heap[at] = event;
}

static Event pop(void) {
    Event first = heap[0], last = heap[--events_waiting];
    int at = 0;
    for (;;) {
        int child = 2 * at + 1;
        if (child >= events_waiting) break;
        if (child + 1 < events_waiting && heap[child + 1].time < heap[child].time) child++;
        if (heap[child].time >= last.time) break;
        heap[at] = heap[child];
        at = child;
    }
    heap[at] = last;
    return first;
}

static int before(Request a, Request b) {
    if (a.time != b.time) return a.time < b.time;
    return a.tile != b.tile ? a.tile < b.tile : a.stage < b.stage;
}

static void grant(Queue *queue, i64 now, const i64 *ticks) {
    int best = 0;
    for (int at = 1; at < queue->count; at++) if (before(queue->at[at], queue->at[best])) best = at;
    Request chosen = queue->at[best];
    queue->at[best] = queue->at[--queue->count];
    queue->busy = 1;
    push((Event){now + ticks[chosen.stage], chosen.tile, chosen.stage, 1});
}

/* Makespan, or -1 when more tiles are under way than there is room for. */
i64 events(i64 tiles, int stages, const i64 *port, const i64 *ticks, const i64 *latency, int release, i64 depth,
           int ports, i64 start) {
    i64 now = start, next = 0, makespan = 0, free = depth;
    events_waiting = 0;
    memset(queues, 0, sizeof queues);
    for (;;) {
        while (free && next < tiles) {
            Queue *queue = &queues[port[0]];
            if (queue->count >= MOST - 1) return -1;
            queue->at[queue->count++] = (Request){now, next++, 0};
            free--;
        }
        for (int index = 0; index < ports; index++)
            if (queues[index].count && !queues[index].busy) grant(&queues[index], now, ticks);
        if (!events_waiting) return makespan;
        now = heap[0].time;
        while (events_waiting && heap[0].time == now) {
            Event event = pop();
            if (event.served) {
                queues[port[event.stage]].busy = 0;
                if (event.stage == release) free++;
                if (latency[event.stage]) {
                    if (events_waiting >= MOST - 1) return -1;
                    push((Event){now + latency[event.stage], event.tile, event.stage, 0});
                    continue;
                }
            }
            if (event.stage + 1 < stages) {
                Queue *queue = &queues[port[event.stage + 1]];
                if (queue->count >= MOST - 1) return -1;
                queue->at[queue->count++] = (Request){now, event.tile, event.stage + 1};
            } else if (now > makespan) makespan = now;
        }
    }
}

i64 known(i64 tiles, int stages, const i64 *port, const i64 *ticks, const i64 *latency, int release, i64 depth,
          int ports, i64 start) {
    i64 idle_from[PORTS] = {0}, makespan = 0, *released = calloc((size_t)depth, sizeof(i64));
    for (int index = 0; index < ports; index++) idle_from[index] = start;
    for (i64 slot = 0; slot < depth; slot++) released[slot] = start;
    i64 slot = 0;
    for (i64 tile = 0; tile < tiles; tile++) {
        i64 time = released[slot];
        for (int stage = 0; stage < stages; stage++) {
            i64 idle = idle_from[port[stage]];
            time = (time > idle ? time : idle) + ticks[stage];
            idle_from[port[stage]] = time;
            if (stage == release) released[slot] = time;
            time += latency[stage];
        }
        if (time > makespan) makespan = time;
        if (++slot == depth) slot = 0;
    }
    free(released);
    return makespan;
}

/*
 * The link gate: at most `link cap` file-placing system calls in flight on the whole host.
 *
 * Workers and janitor, any number of threads.  A permit is one cell in shared memory that holds the
 * number of the slot that has it: one compare-and-swap takes it, one store gives it back, and a
 * dead holder's cells are found by its number (slot_repair).  Uncontended, taking and giving back
 * cost no system call.  Never hold a permit over anything but the one call.
 *
 *   permit = gate_enter(region, slot); rc = linkat(...); gate_leave(region, slot, permit);
 *
 * gate_enter waits as long as it takes: holders always give back (a killed one through the
 * supervisor).  It cannot fail.  No more than `cap` cells are ever looked at, which is the bound.
 * link_gate_high_water shows it: the cells in use, counted after taking one by a slot's first
 * sixteen permits, by every sixteenth after those, and whenever the wanted cell was taken; it
 * belongs to the cap in force and starts at 0 when that changes.
 */
#ifndef SHM_GATE_H
#define SHM_GATE_H

#include <stdint.h>

#include "shm/region.h"
#include "shm/slot.h"

uint32_t gate_enter(struct region *region, struct slot *slot);
void gate_leave(struct region *region, struct slot *slot, uint32_t permit);

/* Permits held now, by anyone. */
uint32_t gate_in_flight(const struct region *region);

#endif

/*
 * Trees that workers would like to find cached next time: a short ring of Directory digests in each
 * worker's slot.
 *
 * wanted_add: the slot's owner.  wanted_take: the janitor, one digest at a time, -ENOENT when a
 * slot has none; what it returns is taken, whether it is built or not.  No lock, no wait, no system
 * call.  A ring that overflows forgets the oldest: these are wishes.  An overtaken reader may see a
 * digest half of one and half of another: it names no blob, and building it fails as that of any
 * unknown digest does.
 *
 * After a crash: of the owner, what it wished for stays; of the janitor, the wish that it was at is
 * gone.
 */
#ifndef SHM_WANTED_H
#define SHM_WANTED_H

#include "base/digest.h"
#include "shm/region.h"
#include "shm/slot.h"

enum { WANTED_MAX = 16 };

void wanted_add(struct slot *slot, const struct digest *directory);
int wanted_take(struct region *region, uint32_t slot_number, struct digest *ret_directory);

#endif

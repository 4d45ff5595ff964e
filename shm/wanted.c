#include "shm/wanted.h"

#include <errno.h>
#include <string.h>

#include "shm/internal.h"

_Static_assert((WANTED_MAX & (WANTED_MAX - 1)) == 0, "the ring's counts may overflow");

void
wanted_add(struct slot *slot, const struct digest *directory)
{
	uint32_t head = atom_load_relaxed(&slot->wanted_head);
	shared_u64 *place = slot->wanted[head % WANTED_MAX];
	uint64_t words[DIGEST_WORDS];

	memcpy(words, directory, sizeof(words));
	for (int i = 0; i < DIGEST_WORDS; i++)
		atom_store_relaxed(&place[i], words[i]);
	atom_store_release(&slot->wanted_head, head + 1);
}

int
wanted_take(struct region *region, uint32_t slot_number, struct digest *ret_directory)
{
	struct slot *slot = slot_at(region, slot_number);
	uint32_t head = atom_load_acquire(&slot->wanted_head);
	uint32_t done = atom_load_relaxed(&slot->wanted_done);
	uint64_t words[DIGEST_WORDS];

	if (head == done)
		return -ENOENT;
	if (head - done > WANTED_MAX)
		done = head - WANTED_MAX;
	for (int i = 0; i < DIGEST_WORDS; i++)
		words[i] = atom_load_relaxed(&slot->wanted[done % WANTED_MAX][i]);
	atom_store_relaxed(&slot->wanted_done, done + 1);
	memcpy(ret_directory, words, sizeof(words));
	return 0;
}

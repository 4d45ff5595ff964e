/* Links that were forced where the action could have written through them. */
#include <sys/stat.h>

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

#include "cas/hash.h"
#include "workers/place.h"

struct placed_link {
	struct digest digest;
	bool executable;
};

int
placer_record_link(struct placer *placer, const struct digest *digest, bool executable)
{
	if (placer->link_count == placer->link_room) {
		size_t room = placer->link_room == 0 ? 256 : placer->link_room * 2;
		struct placed_link *grown = reallocarray(placer->links, room, sizeof *grown);
		if (grown == NULL)
			return -ENOMEM;
		placer->links = grown;
		placer->link_room = room;
	}
	placer->links[placer->link_count++] =
	    (struct placed_link){.digest = *digest, .executable = executable};
	return 0;
}

/* Mode and bytes: times can be set back by whoever may write, and every link changes ctime. */
static bool
is_whole(struct placer *placer, const struct placed_link *link)
{
	char name[CAS_NAME_SIZE + 1];
	struct digest now;
	struct stat st;

	cas_blob_name(&link->digest, link->executable, name);
	int fd = openat(placer->cas_fd, name, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
	if (fd < 0)
		return errno == ENOENT; /* evicted meanwhile: harms nobody */
	bool whole = fstat(fd, &st) == 0 &&
	    (st.st_mode & 07777) == (link->executable ? 0555 : 0444) &&
	    st.st_size == link->digest.size_bytes && hash_fd(fd, &now) == 0 &&
	    digest_equal(&now, &link->digest);
	close(fd);
	return whole;
}

int
placer_check_links(struct placer *placer, struct error_text *err)
{
	struct digest first;
	size_t changed = 0;

	for (size_t i = 0; i < placer->link_count; i++) {
		const struct placed_link *link = &placer->links[i];
		if (is_whole(placer, link))
			continue;
		cas_drop(placer->cas, &link->digest);
		counter_add(placer->slot, COUNTER_cas_corrupt, 1);
		if (changed++ == 0)
			first = link->digest;
	}
	placer->link_count = 0;
	if (changed == 0)
		return 0;
	char text[DIGEST_TEXT_SIZE];
	return error_set(err, -EBADMSG,
	    "the action wrote into its inputs: %zu blobs changed, the first %s; dropped from the "
	    "store (engine hardlink is unguarded here: use another engine)",
	    changed, digest_to_text(&first, '/', text));
}

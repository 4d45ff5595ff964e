#include "ipc/walk.h"

#include <errno.h>

struct walk {
	const uint8_t *at, *end;
	size_t left[WALK_DEPTH_MAX]; /* values still to come in each open container */
	int depth;
};

static int
walk_skip(struct walk *walk, uint64_t bytes)
{
	if (bytes > (uint64_t)(walk->end - walk->at))
		return -EPROTO;
	walk->at += bytes;
	return 0;
}

static int
walk_length(struct walk *walk, int bytes, uint64_t *ret_length)
{
	uint64_t length = 0;

	if (walk->end - walk->at < bytes)
		return -EPROTO;
	for (int i = 0; i < bytes; i++)
		length = length << 8 | *walk->at++;
	*ret_length = length;
	return 0;
}

/* Every value takes a byte at least, so a count above the bytes left is a lie. */
static int
walk_enter(struct walk *walk, uint64_t values)
{
	if (values > (uint64_t)(walk->end - walk->at) || walk->depth == WALK_DEPTH_MAX)
		return -EPROTO;
	walk->left[walk->depth++] = (size_t)values;
	return 0;
}

static int
walk_sized(struct walk *walk, int length_bytes, int values_each)
{
	uint64_t length;
	int rc = walk_length(walk, length_bytes, &length);

	if (rc != 0)
		return rc;
	if (values_each == 0)
		return walk_skip(walk, length);
	return walk_enter(walk, length * (uint64_t)values_each);
}

static int
walk_value(struct walk *walk)
{
	uint8_t tag = *walk->at++;

	if (tag <= 0x7f || tag >= 0xe0 || tag == 0xc0 || tag == 0xc2 || tag == 0xc3)
		return 0;
	if (tag <= 0x8f)
		return walk_enter(walk, 2 * (uint64_t)(tag & 0x0f));
	if (tag <= 0x9f)
		return walk_enter(walk, tag & 0x0f);
	if (tag <= 0xbf)
		return walk_skip(walk, tag & 0x1f);
	switch (tag) {
	case 0xc4: /* bin 8, 16, 32 */
	case 0xc5:
	case 0xc6:
		return walk_sized(walk, 1 << (tag - 0xc4), 0);
	case 0xca: /* float */
		return walk_skip(walk, 4);
	case 0xcb:
		return walk_skip(walk, 8);
	case 0xcc: /* uint 8, 16, 32, 64 */
	case 0xcd:
	case 0xce:
	case 0xcf:
		return walk_skip(walk, (uint64_t)1 << (tag - 0xcc));
	case 0xd0: /* int 8, 16, 32, 64 */
	case 0xd1:
	case 0xd2:
	case 0xd3:
		return walk_skip(walk, (uint64_t)1 << (tag - 0xd0));
	case 0xd9: /* str 8, 16, 32 */
	case 0xda:
	case 0xdb:
		return walk_sized(walk, 1 << (tag - 0xd9), 0);
	case 0xdc: /* array 16, 32 */
		return walk_sized(walk, 2, 1);
	case 0xdd:
		return walk_sized(walk, 4, 1);
	case 0xde: /* map 16, 32 */
		return walk_sized(walk, 2, 2);
	case 0xdf:
		return walk_sized(walk, 4, 2);
	default:
		return -EPROTO;
	}
}

int
walk_check(const uint8_t *data, size_t len)
{
	struct walk walk = {.at = data, .end = data + len};

	do {
		int rc;

		if (walk.at == walk.end)
			return -EPROTO;
		if (walk.depth > 0)
			walk.left[walk.depth - 1]--;
		rc = walk_value(&walk);
		if (rc != 0)
			return rc;
		while (walk.depth > 0 && walk.left[walk.depth - 1] == 0)
			walk.depth--;
	} while (walk.depth > 0);
	return walk.at == walk.end ? 0 : -EPROTO;
}

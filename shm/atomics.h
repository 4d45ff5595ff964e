/*
 * The one way to touch memory that two processes share.
 *
 * Any process, any thread.  Each operation names its order; the field's declaration (layout.h) says
 * who else uses it.  What pairs with what:
 *
 *   release, acquire  a store (or a successful atom_cas, or atom_add) with release is seen whole by
 * a load with acquire that reads its value: a word and what it vouches for seq               the
 * stores and loads of which each side stores one thing and then looks at the other's ("lease, then
 * word" against "word, then leases"; "cell, then waiters" against "waiters, then cells"): at least
 * one of the two sees the other relaxed           figures for people, and fields that only their
 * owner reads back
 *
 * There are no fences: ThreadSanitizer does not understand them, and a reader that must notice a
 * change loads the data with acquire and its word again after that.
 *
 * With -DRAMET_EXPLORE every access first calls explore_step, so that tests/explore can run all
 * orders.  Otherwise each is the plain machine instruction.
 */
#ifndef SHM_ATOMICS_H
#define SHM_ATOMICS_H

#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

typedef struct {
	_Atomic uint32_t value;
} shared_u32;

typedef struct {
	_Atomic uint64_t value;
} shared_u64;

_Static_assert(sizeof(shared_u32) == 4 && _Alignof(shared_u32) == 4, "shared_u32 is 4 bytes");
_Static_assert(sizeof(shared_u64) == 8 && _Alignof(shared_u64) == 8, "shared_u64 is 8 bytes");
_Static_assert(ATOMIC_INT_LOCK_FREE == 2, "32-bit atomics are lock-free");
_Static_assert(ATOMIC_LONG_LOCK_FREE == 2 && sizeof(long) == 8, "64-bit atomics are lock-free");

#ifdef RAMET_EXPLORE
void explore_step(const char *op, const void *address);
void explore_relax(void);
#define ATOM_STEP(op, p) explore_step((op), (p))
#else
#define ATOM_STEP(op, p) ((void)0)
#endif

#define atom_load_relaxed(p)                                                                       \
	(ATOM_STEP("load", p), atomic_load_explicit(&(p)->value, memory_order_relaxed))
#define atom_load_acquire(p)                                                                       \
	(ATOM_STEP("load", p), atomic_load_explicit(&(p)->value, memory_order_acquire))
#define atom_load_seq(p)                                                                           \
	(ATOM_STEP("load", p), atomic_load_explicit(&(p)->value, memory_order_seq_cst))
#define atom_store_relaxed(p, v)                                                                   \
	(ATOM_STEP("store", p), atomic_store_explicit(&(p)->value, (v), memory_order_relaxed))
#define atom_store_release(p, v)                                                                   \
	(ATOM_STEP("store", p), atomic_store_explicit(&(p)->value, (v), memory_order_release))
#define atom_store_seq(p, v)                                                                       \
	(ATOM_STEP("store", p), atomic_store_explicit(&(p)->value, (v), memory_order_seq_cst))

/* Both return the value before.  atom_add wraps. */
#define atom_add_relaxed(p, v)                                                                     \
	(ATOM_STEP("add", p), atomic_fetch_add_explicit(&(p)->value, (v), memory_order_relaxed))
#define atom_add_seq(p, v)                                                                         \
	(ATOM_STEP("add", p), atomic_fetch_add_explicit(&(p)->value, (v), memory_order_seq_cst))

/* Strong, seq_cst when it succeeds; on failure *expected is what was there (acquire). */
#define atom_cas(p, expected, v)                                                                   \
	(ATOM_STEP("cas", p),                                                                      \
	    atomic_compare_exchange_strong_explicit(                                               \
		&(p)->value, (expected), (v), memory_order_seq_cst, memory_order_acquire))

/* One turn of a bounded spin. */
static inline void
atom_relax(void)
{
#if defined(RAMET_EXPLORE)
	explore_relax();
#elif defined(__x86_64__)
	__builtin_ia32_pause();
#elif defined(__aarch64__)
	__asm__ __volatile__("yield");
#endif
}

/* Bytes in and out of shared words, eight at a time; the last word is filled with zeros. */
static inline void
atom_copy_in(shared_u64 *to, const void *from, size_t len)
{
	const unsigned char *bytes = from;

	for (size_t at = 0; at < len; at += 8, to++) {
		uint64_t word = 0;

		memcpy(&word, bytes + at, len - at < 8 ? len - at : 8);
		atom_store_release(to, word);
	}
}

static inline void
atom_copy_out(void *to, const shared_u64 *from, size_t len)
{
	unsigned char *bytes = to;

	for (size_t at = 0; at < len; at += 8, from++) {
		uint64_t word = atom_load_acquire(from);

		memcpy(bytes + at, &word, len - at < 8 ? len - at : 8);
	}
}

#endif

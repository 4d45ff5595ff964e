/*
 * lookup P...: nanoseconds for looking up, pinning and unpinning one present entry, all P processes
 * the same one, against a limit taken in the same processes: comparing a digest, one sequentially
 * consistent store and one plain one.  One JSON object a line.
 *
 * On Linux the measured loop runs under a seccomp filter that kills at any system call but exit:
 * that no process was killed proves that there was none.  (The strict mode takes the clock away,
 * too.)
 */
#include <sys/mman.h>
#include <sys/wait.h>

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#ifdef __linux__
#include <sys/prctl.h>
#include <sys/syscall.h>

#include <linux/filter.h>
#include <linux/seccomp.h>
#endif

#include "shm/index.h"
#include "shm/layout.h"

enum { PROCESSES_MAX = 64, SAMPLES = 400, BATCH = 200, WARM_UP = 5 };

/* What the processes of one measurement share. */
struct board {
	_Alignas(128) shared_u32 ready;
	_Alignas(128) shared_u32 go;
	struct {
		_Alignas(128) shared_u64 cell;
		double lookup_ns[SAMPLES], limit_ns[SAMPLES];
	} of[PROCESSES_MAX];
};

static uint64_t
now_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now); /* the vDSO: no system call */
	return (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
}

static struct digest
entry_digest(void)
{
	struct digest digest = {.size_bytes = 4711};

	for (int i = 0; i < DIGEST_HASH_BYTES; i++)
		digest.hash[i] = (uint8_t)(i * 37 + 11);
	return digest;
}

static bool
lookup_batch(struct region *region, struct slot *slot, const struct digest *digest)
{
	struct index_pin pin;

	for (int i = 0; i < BATCH; i++) {
		if (index_pin(region, slot, digest, &pin) != 0)
			return false;
		index_unpin(region, slot, &pin);
	}
	return true;
}

static bool
limit_batch(shared_u64 *cell, const struct digest *a, const struct digest *b)
{
	bool equal = true;

	for (int i = 0; i < BATCH; i++) {
		equal = equal && digest_equal(a, b);
		atom_store_seq(cell, (uint64_t)i + 1);
		atom_store_release(cell, 0);
	}
	return equal;
}

/* From here on a system call is death (Linux). */
static void
no_system_calls(void)
{
#ifdef __linux__
	struct sock_filter code[] = {
	    BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
	    BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_exit_group, 1, 0),
	    BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS),
	    BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};
	struct sock_fprog filter = {.len = sizeof(code) / sizeof(code[0]), .filter = code};

	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0 ||
	    prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &filter) != 0)
		_exit(3);
#endif
}

_Noreturn static void
measure(struct region *region, struct board *board, uint32_t number)
{
	struct slot *slot = slot_at(region, SLOT_WORKER_FIRST + number);
	struct digest digest = entry_digest(), copy = digest;
	bool good = true;

	atom_add_seq(&board->ready, 1);
	while (atom_load_acquire(&board->go) == 0)
		sched_yield();
	no_system_calls();
	for (int i = -WARM_UP; i < SAMPLES && good; i++) {
		uint64_t start = now_ns(), middle, end;

		good = lookup_batch(region, slot, &digest);
		middle = now_ns();
		good = good && limit_batch(&board->of[number].cell, &digest, &copy);
		end = now_ns();
		if (i < 0)
			continue;
		board->of[number].lookup_ns[i] = (double)(middle - start) / BATCH;
		board->of[number].limit_ns[i] = (double)(end - middle) / BATCH;
	}
	_exit(good ? 0 : 1);
}

static int
by_value(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return (x > y) - (x < y);
}

static void
print_result(const struct board *board, unsigned processes)
{
	static double lookup[PROCESSES_MAX * SAMPLES], limit[PROCESSES_MAX * SAMPLES];
	size_t n = (size_t)processes * SAMPLES;

	for (unsigned p = 0; p < processes; p++) {
		memcpy(lookup + p * SAMPLES, board->of[p].lookup_ns, sizeof(double) * SAMPLES);
		memcpy(limit + p * SAMPLES, board->of[p].limit_ns, sizeof(double) * SAMPLES);
	}
	qsort(lookup, n, sizeof(double), by_value);
	qsort(limit, n, sizeof(double), by_value);
	printf("{\"name\":\"lookup/%u\",\"unit\":\"ns\",\"n\":%zu,\"median\":%.1f,\"p99\":%.1f,"
	       "\"limit_name\":\"compare+store\",\"limit\":%.1f,\"system_calls\":0}\n",
	    processes, n * BATCH, lookup[n / 2], lookup[n - 1 - n / 100], limit[n / 2]);
	fflush(stdout);
}

static int
wait_all(const pid_t *pids, unsigned count)
{
	int rc = 0, status;

	for (unsigned p = 0; p < count; p++) {
		if (waitpid(pids[p], &status, 0) < 0 || !WIFEXITED(status) ||
		    WEXITSTATUS(status) != 0) {
			if (rc == 0 && WIFSIGNALED(status))
				fprintf(stderr,
				    "lookup: killed by signal %d (SIGSYS: a system call)\n",
				    WTERMSIG(status));
			rc = 1;
		}
	}
	return rc;
}

static int
run(struct region *region, unsigned processes)
{
	struct board *board =
	    mmap(NULL, sizeof(*board), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	pid_t pids[PROCESSES_MAX];
	int rc;

	if (board == MAP_FAILED)
		return 1;
	for (unsigned p = 0; p < processes; p++) {
		pids[p] = fork();
		if (pids[p] == 0)
			measure(region, board, p);
		if (pids[p] < 0) {
			perror("lookup: fork");
			atom_store_release(&board->go, 1);
			wait_all(pids, p);
			return 1;
		}
	}
	while (atom_load_acquire(&board->ready) < processes)
		sched_yield();
	atom_store_release(&board->go, 1);
	rc = wait_all(pids, processes);
	if (rc == 0)
		print_result(board, processes);
	munmap(board, sizeof(*board));
	return rc;
}

static int
prepare(int state_fd, struct region **ret_region)
{
	struct region_config config = {.entry_count = 65536};
	struct index_tree tree = {.files = 1978, .bytes = 1000000};
	struct digest digest = entry_digest();
	struct error_text err = {""};
	enum region_origin origin;
	struct index_claim claim;
	struct index_pin pin;
	struct region *region;

	if (region_open(state_fd, &config, &origin, &region, &err) != 0) {
		fprintf(stderr, "lookup: %s\n", err.text);
		return 1;
	}
	for (uint32_t n = 0; n < PROCESSES_MAX; n++) {
		slot_assign(region, SLOT_WORKER_FIRST + n);
		slot_activate(region, SLOT_WORKER_FIRST + n, getpid());
	}
	if (index_claim(region, slot_at(region, SLOT_WORKER_FIRST), &digest, &claim) != 0 ||
	    index_publish(region, slot_at(region, SLOT_WORKER_FIRST), &claim, &tree, &pin) != 0)
		return 1;
	index_unpin(region, slot_at(region, SLOT_WORKER_FIRST), &pin);
	*ret_region = region;
	return 0;
}

int
main(int argc, char **argv)
{
	static const char *const standard[] = {"1", "2", "4", "16", "64"};
	const char *const *counts = argc > 1 ? (const char *const *)argv + 1 : standard;
	char path[] = "/tmp/ramet-lookup-XXXXXX";
	int count = argc > 1 ? argc - 1 : 5, fd, rc;
	struct region *region;

	if (mkdtemp(path) == NULL || (fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC)) < 0) {
		perror("lookup");
		return 1;
	}
	rc = prepare(fd, &region);
	for (int i = 0; i < count && rc == 0; i++) {
		long processes = strtol(counts[i], NULL, 10);

		if (processes < 1 || processes > PROCESSES_MAX) {
			fprintf(stderr, "usage: lookup [PROCESSES (1 to 64)]...\n");
			rc = 2;
		} else {
			rc = run(region, (unsigned)processes);
		}
	}
	unlinkat(fd, "index", 0);
	rmdir(path);
	return rc;
}

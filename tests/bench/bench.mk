# make bench: tests/bench/run.py runs the programs here and writes build/bench.json.
#
# Each of the programs is linked with every layer below it.  bench_gate needs the linker to wrap
# gate_enter and gate_leave, bench_parallel barriers between processes: both are Linux's alone.  Those of the gateway have gRPC, and call no
# fork after it has begun.

BENCH ?=
BENCH_DIR := $(O)/tests/bench
BENCH_PROGRAMS := $(patsubst %,$(BENCH_DIR)/bench_%,lookup stage recycle dispatch $(if $(filter linux,$(OS)),gate parallel) \
	gateway_execute gateway_blobs gateway_memory)
BENCH_COMMON := $(patsubst %,$(BENCH_DIR)/%.o,series shape host isolate isolate_$(OS) daemon)
BENCH_LIBS := $(patsubst %,$(O)/lib%.a,$(LIBS_workers))

BENCH_JSON := $(BUILD)/bench.json

.PHONY: bench bench-run bench-built
bench:
	@sh mk/deps.sh bench
	@+$(MAKE) --no-print-directory bench-run

bench-run: bench-built all
	@sh mk/selfbuild.sh $(OS) $(CC) $(CPPFLAGS_ALL) -Ibuild/gen -std=gnu17 -pthread $(OPT_debug) \
	    $(WARN) $(CFLAGS) -- $(PKG_LIBS) -- $(GATEWAY_LIBS) > $(BUILD)/selfbuild-debug.jsonl
	@python3 tests/bench/run.py --programs '$(BENCH_DIR)' --rametd '$(abspath $(BUILD)/bin/rametd)' \
	    --jobs $(BUILD)/selfbuild-debug.jsonl --source $(BUILD)/bench-source \
	    --json $(BENCH_JSON) --only '$(value BENCH)'; rc=$$?; \
	    python3 tests/bench/plot.py $(BENCH_JSON) $(BUILD)/bench.svg; exit $$rc

bench-built: $(BENCH_PROGRAMS)

$(BENCH_DIR)/bench_gate: $(BENCH_DIR)/gate_linux.o $(BENCH_DIR)/crowd_linux.o $(BENCH_COMMON) $(BENCH_LIBS)
	$(LINK) -lm -Wl,--wrap=gate_enter,--wrap=gate_leave
$(BENCH_DIR)/bench_parallel: $(BENCH_DIR)/parallel_linux.o $(BENCH_DIR)/crowd_linux.o \
	$(BENCH_DIR)/stage_trial.o $(BENCH_COMMON) $(BENCH_LIBS)
	$(LINK) -lm
$(BENCH_DIR)/bench_gateway_%: $(BENCH_DIR)/gateway_%.o $(BENCH_DIR)/gateway_client.o \
	$(BENCH_DIR)/copy_server.o $(BENCH_COMMON) $(BENCH_LIBS)
	$(LINK) $(GATEWAY_LIBS) -lm
$(BENCH_DIR)/bench_stage: $(BENCH_DIR)/stage_trial.o
$(BENCH_DIR)/bench_%: $(BENCH_DIR)/%.o $(BENCH_COMMON) $(BENCH_LIBS)
	$(LINK) -lm

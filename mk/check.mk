# Tests.  tests/run runs what a plan lists, one test a line: "label|user|seconds|command".
# Each build is a make of its own, because V and CC choose it.

T ?=
FUZZ_S ?= 3
SKIP ?=
CHECK_JOBS ?= $(shell getconf _NPROCESSORS_ONLN)
CHECK_PLAN := $(BUILD)/check.plan
RUN = tests/run --jobs $(CHECK_JOBS) --only '$(T)'
PLAN = tests/plan --build '$(BUILD)' --fuzz-s $(FUZZ_S) --skip '$(SKIP)'
SUB = @+$(MAKE) --no-print-directory $(if $(findstring jobserver,$(MAKEFLAGS)),,-j$(CHECK_JOBS)) \
	WERROR=1 BUILD='$(BUILD)'

.PHONY: tests-built fuzz-built unit volume scenario reapi bazel crash fuzz check check-built

# Under tsan only what threads share, as tests/plan has it.
TSAN_UNIT := shm/% workers/test_place_parallel $(patsubst %,gateway/test_%,link operations pollers upload)
tests-built: $(if $(filter tsan,$(V)),$(filter $(patsubst %,$(O)/tests/unit/%,$(TSAN_UNIT)),$(UNIT_BIN)),$(UNIT_BIN))

unit: tests-built
	@$(PLAN) unit:$(notdir $(O)) > $(CHECK_PLAN)
	@$(RUN) $(CHECK_PLAN)

# With faults, and at the speed of C: what is staged is large.
volume:
	$(SUB) V=debug CC='$(CC)' stage-built
	@$(PLAN) volume:debug-$(notdir $(firstword $(CC))) > $(CHECK_PLAN)
	@$(RUN) $(CHECK_PLAN)

.PHONY: stage-built
stage-built: $(filter $(patsubst %,$(O)/tests/unit/workers/test_%,stage% recycle%),$(UNIT_BIN))

scenario: all
	@$(PLAN) scenario > $(CHECK_PLAN)
	@$(RUN) $(CHECK_PLAN)

reapi: all
	@$(PLAN) reapi > $(CHECK_PLAN)
	@$(RUN) $(CHECK_PLAN)

bazel: all
	@$(PLAN) bazel > $(CHECK_PLAN)
	@$(RUN) $(CHECK_PLAN)

crash:
	$(SUB) V=debug CC='$(CC)' crash-built
	@$(PLAN) crash:debug-$(notdir $(firstword $(CC))) > $(CHECK_PLAN)
	@$(RUN) $(CHECK_PLAN)

.PHONY: crash-built
crash-built: $(O)/bin/rametd $(O)/bin/ramet $(O)/bin/ramet-gateway

# tests/fuzz/fuzz_<what>.c is one libFuzzer program, linked with every layer (V=fuzz CC=clang).
FUZZ_BIN := $(patsubst %.c,$(O)/%,$(wildcard tests/fuzz/fuzz_*.c))
fuzz-built: $(FUZZ_BIN)
$(O)/tests/fuzz/fuzz_%: $(O)/tests/fuzz/fuzz_%.o $(patsubst %,$(O)/lib%.a,tools $(LIBS_supervisor))
	$(LINK) -fsanitize=fuzzer
$(O)/tests/fuzz/fuzz_gateway $(O)/tests/fuzz/fuzz_resource_name: $(O)/tests/fuzz/%: $(O)/tests/fuzz/%.o $(call layer_libs,gateway)
	$(LINK) -fsanitize=fuzzer

fuzz:
	$(SUB) V=fuzz CC=clang fuzz-built
	@$(PLAN) fuzz > $(CHECK_PLAN)
	@$(RUN) $(CHECK_PLAN)

check:
	@SKIP='$(SKIP)' sh mk/deps.sh check
	@+$(MAKE) --no-print-directory check-built

check-built:
	$(SUB) V=release CC=gcc all tests-built
	$(SUB) V=release CC=gcc $(BUILD)/release-gcc/explore/explore $(BUILD)/release-gcc/explore/mutant-found
	$(SUB) V=release CC=clang tests-built
	$(SUB) V=asan CC=gcc tests-built
	$(SUB) V=asan CC=clang tests-built
	$(SUB) V=tsan CC=gcc tests-built
	$(SUB) V=debug CC=gcc crash-built stage-built
	$(SUB) V=fuzz CC=clang fuzz-built
	@$(PLAN) all > $(CHECK_PLAN)
	@$(RUN) $(CHECK_PLAN)

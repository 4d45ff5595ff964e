# `make explore`: the shared memory's own code, every interleaving (explore.h), and a seeded bug that
# must be found.  Objects of its own: atomics.h calls the explorer, buckets have two ways.

EXPLORE_SRC := $(wildcard tests/explore/*.c) \
	$(filter-out shm/wait_% shm/usage.c,$(call layer_src,shm)) \
	base/check.c base/digest.c base/error_text.c
EXPLORE_FLAGS := -D_GNU_SOURCE -DRAMET_EXPLORE -DRAMET_INDEX_WAYS=2 -I. $(PKG_CFLAGS) $(CPPFLAGS) \
	-std=gnu17 -pthread -O1 -g $(WARN) $(CFLAGS)
EXPLORE_O := $(O)/explore
EXPLORE_OBJ := $(patsubst %.c,$(EXPLORE_O)/plain/%.o,$(EXPLORE_SRC))
MUTANT_OBJ := $(patsubst %.c,$(EXPLORE_O)/mutant/%.o,$(EXPLORE_SRC))

.PHONY: explore
explore: $(EXPLORE_O)/explore $(EXPLORE_O)/mutant-found
	$(Q)$(EXPLORE_O)/explore
	$(Q)$(EXPLORE_O)/mutant-found 2>/dev/null

$(EXPLORE_O)/explore: $(EXPLORE_OBJ)
$(EXPLORE_O)/mutant-found: $(MUTANT_OBJ)
$(EXPLORE_O)/explore $(EXPLORE_O)/mutant-found:
	$(Q)$(CC) -pthread $(LDFLAGS) -o $@ $^ $(shell $(PKG_CONFIG) --libs libbsd-overlay)

$(EXPLORE_O)/plain/%.o: %.c $(O)/flags
	@mkdir -p $(@D)
	$(Q)$(CC) $(EXPLORE_FLAGS) -MMD -MP -c -o $@ $<

$(EXPLORE_O)/mutant/%.o: %.c $(O)/flags
	@mkdir -p $(@D)
	$(Q)$(CC) $(EXPLORE_FLAGS) -DRAMET_EXPLORE_MUTANT=1 -MMD -MP -c -o $@ $<

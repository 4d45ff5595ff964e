# What must say nothing: see mk/lint.sh and mk/cross.sh.

.PHONY: lint cross

lint:
	@sh mk/deps.sh ci
	@+$(MAKE) --no-print-directory lint-built

.PHONY: lint-built
lint-built: $(GEN_HDR)
	@CPPFLAGS='$(subst ','\'',$(CPPFLAGS_ALL))' BUILD='$(BUILD)' sh mk/lint.sh

cross:
	@sh mk/deps.sh ci
	@+$(MAKE) --no-print-directory cross-built

.PHONY: cross-built
cross-built: $(GEN_HDR) $(GEN)/descriptors.c
	@BUILD='$(BUILD)' VERSION='$(VERSION)' sh mk/cross.sh

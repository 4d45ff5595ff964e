# What make run does: packages, the build, and the main job on a host of its own.
# pkg-config is asked when make starts, so the build proper is a second make, after the packages.

.PHONY: deps run run-built

deps:
	@sh mk/deps.sh run

run:
	@sh mk/deps.sh run
	@$(MAKE) --no-print-directory run-built

run-built: all
	@sh mk/selfbuild.sh '$(BUILD)/bin' '$(CC)' '$(OS)' > $(BUILD)/selfbuild.jsonl.tmp
	@mv $(BUILD)/selfbuild.jsonl.tmp $(BUILD)/selfbuild.jsonl
	$(BUILD)/bin/ramet --state '$(or $(RAMET_STATE),var)' batch $(BUILD)/selfbuild.jsonl

# What make run does: packages, the build, and the main job on a host of its own.
# pkg-config is asked when make starts, so the build proper is a second make, after the packages.

RUN_STATE := $(or $(RAMET_STATE),var)
LISTEN ?= default
HTTP ?= default

.PHONY: deps run run-built demo-bazel

deps:
	@sh mk/deps.sh run

run:
	@sh mk/deps.sh run
	@+$(MAKE) --no-print-directory run-built

run-built: all
	@sh mk/selfbuild.sh $(OS) $(CC) $(CPPFLAGS_ALL) -Ibuild/gen -std=gnu17 -pthread $(OPT_$(V)) \
	    $(WARN) $(CFLAGS) -- $(PKG_LIBS) -- $(GATEWAY_LIBS) > $(BUILD)/selfbuild.jsonl
	@sh mk/host.sh $(BUILD)/bin $(RUN_STATE) '$(LISTEN)' '$(HTTP)'
	@$(BUILD)/bin/ramet --state $(RUN_STATE) batch $(BUILD)/selfbuild.jsonl
	@sed -n 's|^grpc.*://.*|Bazel runs its actions here with: bazel build --remote_executor=& //...|p' \
	    $(RUN_STATE)/listening 2>/dev/null || :
	@sed -n 's|^http://.*|Metrics and health: &/metrics, &/healthz, &/readyz|p' \
	    $(RUN_STATE)/listening 2>/dev/null || :
	@! command -v bazel >/dev/null || echo "Bazel is here: make demo-bazel builds a workspace on this host"
	@echo "The host stays; stop it with: $(BUILD)/bin/ramet --state $(RUN_STATE) stop"

# A Bazel build on the host that make run started.
demo-bazel:
	@sh tests/bazel/demo.sh $(RUN_STATE) $(BUILD)/demo-bazel

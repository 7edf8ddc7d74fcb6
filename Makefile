# One command for each thing that is done with this project. `make demo`, `make test`, `make test-cluster`,
# `make test-vm`, `make test-runtimes`, `make test-kubernetes`, `make bench`, `make bench-cluster`,
# `make demo-kubernetes`, `make demo-etcd` and `make conformance` install what they need on Debian 12;
# the others expect it there.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.ONESHELL:
.NOTPARALLEL:
.DEFAULT_GOAL := build
.PHONY: build manual deb tarball docker-plugin image test-image manifests demo demo-kubernetes demo-etcd test test-cluster test-vm test-runtimes test-podman test-kubernetes conformance checks fmt lint dependencies oldest unit e2e faults doc bench bench-attach bench-scale bench-datapath bench-cluster fuzz schema clean

# Where the executable ends up, whatever target it is built for.
BIN := target/release
# The fuzz targets; what libFuzzer makes fuzzers of them with is a workspace of its own.
FUZZ := tests/fuzz
# Namespaces need root; compiling does not.
SUDO := $(if $(filter 0,$(shell id -u)),,sudo)
# How cargo runs as root what it has compiled as another user.
ifneq ($(SUDO),)
AS_ROOT := --config "target.'cfg(all())'.runner = ['sudo', 'env', 'PATH=$$PATH:/usr/sbin:/sbin']"
endif
# What tests and documents are made of. Features are those of all crates together, whichever of them a command wants:
# what several have in common is compiled once.
ALL := --locked --workspace --all-features
BENCH = cargo run --locked -p flatnet-bench $(AS_ROOT) --

# What compiles the C of crates for musl, and links: this machine's own compiler serves, no musl-gcc is needed; for
# the other machine it is Debian's.
MACHINES := x86_64 aarch64
gcc = $(if $(filter $(1),$(shell uname -m)),cc,$(1)-linux-gnu-gcc)
export CC_x86_64_unknown_linux_musl ?= $(call gcc,x86_64)
export CC_aarch64_unknown_linux_musl ?= $(call gcc,aarch64)
export CARGO_TARGET_X86_64_UNKNOWN_LINUX_MUSL_LINKER ?= $(call gcc,x86_64)
export CARGO_TARGET_AARCH64_UNKNOWN_LINUX_MUSL_LINKER ?= $(call gcc,aarch64)

# Static: against musl where that target is installed, else against glibc. A target is always
# named: without one, `crt-static` would also hit procedural macros, which must be dynamic.
# The agent is built by itself: else features that only its crates want would be the plugin's too. It is built
# beside the plugin, whose optimizer is at work on one core for most of the time. So is the driver of Docker, a server too.
build:
	@host=$$(rustc -vV | sed -n 's/^host: //p')
	target=$${host%%-*}-unknown-linux-musl
	flags=
	if [ ! -d "$$(rustc --print target-libdir --target "$$target")" ]; then
		target=$$host
		flags="-C target-feature=+crt-static"
	fi
	export RUSTFLAGS="$${RUSTFLAGS:-} $$flags"
	cargo build --locked --profile agent --target "$$target" -p flatnet-agent -p flatnet-docker &
	cargo build --locked --release --target "$$target" -p flatnet -p flatnet-ipam
	wait $$!
	mkdir -p $(BIN)
	# What is the same stays: tests may be running it.
	install -C "$${CARGO_TARGET_DIR:-target}/$$target/"{release/flatnet,release/flatnet-ipam,agent/flatnet-agent,agent/flatnet-docker} $(BIN)/

# Man pages and shell completions.
manual:
	cargo build $(ALL) --example manual --example man --example docker_man
	"$${CARGO_TARGET_DIR:-target}/debug/examples/manual" target/manual
	"$${CARGO_TARGET_DIR:-target}/debug/examples/man" target/manual
	"$${CARGO_TARGET_DIR:-target}/debug/examples/docker_man" target/manual

# Debian packages of the plugin and of the agent, and the plugin's files as a tar.gz; into target/package.
deb: build manual
	packaging/build deb
	packaging/build agent-deb
tarball: build manual
	packaging/build tarball

# What `docker plugin create flatnet FOLDER` takes: target/docker-plugin.
docker-plugin: build
	packaging/docker-plugin/build

# An image for amd64 and arm64, without Docker and without a registry: target/image/flatnet.tar.
image:
	@.ci/install image
	build() {
		for machine in $(MACHINES); do
			cargo build --locked --profile "$$1" --target "$$machine-unknown-linux-musl" "$${@:2}"
		done
	}
	build agent -p flatnet-agent &
	build release -p flatnet -p flatnet-ipam
	wait $$!
	packaging/image

# The same for the tests: target/test-image/flatnet.tar. What is for the other machine only says there that it runs:
# optimized, it would take a third of the time in which all the rest is compiled.
test-image: build
	@.ci/install image
	cargo build --locked --profile quick --target $(filter-out $(shell uname -m),$(MACHINES))-unknown-linux-musl \
		-p flatnet-agent -p flatnet -p flatnet-ipam
	packaging/image target/test-image quick

# What `kubectl apply -f` takes, of the kustomize base beside it.
KUBERNETES := packaging/kubernetes
manifests:
	@.ci/install manifests
	target/tools/kustomize build $(KUBERNETES)/base >$(KUBERNETES)/flatnet.yaml

# Three nodes with two pods each on this machine, and who reaches whom.
demo:
	@.ci/install build
	$(MAKE) --no-print-directory build
	$(SUDO) $(BIN)/flatnet lab up --nodes 3 --pods 2
	trap 'status=$$?; $(SUDO) $(BIN)/flatnet lab down || status=1; exit $$status' EXIT
	$(SUDO) $(BIN)/flatnet lab matrix

# A Kubernetes on this machine, its pods, and who reaches whom.
demo-kubernetes:
	@.ci/install kubernetes
	$(MAKE) --no-print-directory build test-image
	cargo run --locked --quiet -p flatnet-cluster $(AS_ROOT) -- demo

# Nodes without a Kubernetes, which go by an etcd; a member of it dies, and a node.
demo-etcd:
	@.ci/install kubernetes
	$(MAKE) --no-print-directory build
	cargo run --locked --quiet -p flatnet-cluster $(AS_ROOT) -- demo-etcd

# $(call counted,TARGETS,NAME) makes all targets even if one fails, with what they print in target/NAME.log. The
# last line is the total.
define counted
	mkdir -p target
	status=0
	$(MAKE) --no-print-directory --keep-going $(1) 2>&1 | tee target/$(2).log || status=1
	awk '/^test result:/ { passed += $$4; failed += $$6 }
		END { printf "%d passed, %d failed\n", passed, failed }' target/$(2).log
	exit $$status
endef

# Every check for which this machine is enough.
test:
	@.ci/install test
	$(call counted,checks,test)

# Those for which it is not.
test-cluster:
	@.ci/install cluster
	$(call counted,test-runtimes test-kubernetes test-vm,cluster)

# End-to-end tests on Debian's own kernel, in a virtual machine: see docs/testing.md. Left out is what needs
# programs that are not there, containerd and podman above all, and, as each takes without acceleration ten
# times as long as here, what says least about a kernel. The last leaves modules that slow down the others.
TESTS := lifecycle overlay idempotence families firewall forwarding hostile::source hostile::vxlan \
	hostile::underlay doctor::rivals doctor::underlay doctor::fast_path::no_ethernet_device_toward_the_peers \
	fastpath::it_is_switched_on fastpath_uplink::good_ones underlays
test-vm:
	@.ci/install cluster
	$(MAKE) --no-print-directory build
	tests/vm/run $(TESTS)

# Runtimes that know no CNI: Docker, and netavark, called as podman 5 calls it.
test-runtimes:
	@.ci/install runtimes
	$(MAKE) --no-print-directory build
	tests/run --root 1 "$$(nproc)" 'tests/test/@(docker*|netavark)'

# podman 5 itself, which takes long to build.
test-podman:
	@.ci/install podman
	$(MAKE) --no-print-directory build
	tests/run --root 1 "$$(nproc)" 'tests/test/podman5'

# A real Kubernetes on this machine: see docs/testing.md. Two clusters at a time, for each waits more than it computes.
test-kubernetes:
	@.ci/install kubernetes
	.ci/kubernetes flannel
	$(MAKE) --no-print-directory build test-image
	tests/run --root 2 "$$(nproc)" 'tests/cluster/*'

# Kubernetes' own tests of a network, which take long to build. FOCUS chooses others.
FOCUS :=
conformance:
	@.ci/install conformance
	$(MAKE) --no-print-directory build test-image
	cargo run --locked --quiet -p flatnet-cluster $(AS_ROOT) -- conformance $(if $(FOCUS),--focus '$(FOCUS)')

checks: fmt lint dependencies oldest unit e2e doc

fmt:
	cargo fmt --all --check
	cargo fmt --manifest-path $(FUZZ)/fuzzers/Cargo.toml --check

lint:
	cargo clippy $(ALL) --all-targets -- -D warnings

# Licences, sources and second versions of what is linked, as deny.toml allows. That allows more than each of the
# two workspaces has.
DENY := target/tools/cargo-deny --locked
dependencies:
	$(DENY) check --allow license-exception-not-encountered licenses bans sources
	$(DENY) --manifest-path $(FUZZ)/fuzzers/Cargo.toml check --config $(CURDIR)/deny.toml \
		--allow license-exception-not-encountered --allow unmatched-skip licenses bans sources

# The oldest Rust that Cargo.toml promises compiles everything. In a folder of its own: in the same, each would
# compile again what the other had.
oldest:
	@rust=$$(sed -n 's/^rust-version = "\(.*\)"/\1.0/p' Cargo.toml)
	if cargo "+$$rust" --version >/dev/null 2>&1; then
		cargo "+$$rust" check --locked --workspace --target-dir target/oldest
	else
		echo "make oldest: skipped: there is no Rust $$rust beside $$(rustc --version) (rustup toolchain install $$rust)"
	fi

unit:
	status=0
	tests/run 1 "$$(nproc)" '!(tests|tests/*)/*' 'tests/fuzz/*' || status=1
	cargo test $(ALL) --doc --no-fail-fast || status=1
	exit $$status

# The real executables between real network namespaces, and that the benchmark runs. Two programs of tests at a time, for
# they wait half of the time; what waits most of it waits side by side.
WAITING := doctor|fastpath_safe|fastpath_uplink
e2e: build manual test-image
	status=0
	tests/run --root 1 "$$((4 * $$(nproc)))" 'tests/test/@($(WAITING))' || status=1
	tests/run --root 2 "$$(nproc)" 'tests/lib/*' 'tests/bench/*' 'tests/test/!(docker*|netavark|podman5|$(WAITING))' || status=1
	exit $$status

# Faults and attacks only, with how many of each were tried and what came of them; part of e2e.
FAULTS := doctor faults hostile hostile_fast hostile_uplink fastpath_safe fastpath_uplink foreign blockade drift replacing unreachable uplinks ways strange_devices own_addresses empty_node egress
faults: build
	@mkdir -p target
	status=0
	cargo test $(ALL) --no-fail-fast $(AS_ROOT) $(addprefix --test ,$(FAULTS)) -- --nocapture \
		> target/faults.log 2>&1 || status=1
	awk -f tests/faults.awk target/faults.log
	[ $$status = 0 ] || grep -E "panicked|FAILED|^error" target/faults.log
	exit $$status

doc:
	RUSTDOCFLAGS="-D warnings" cargo doc $(ALL) --no-deps

# flatnet and its peers in one run; refreshes docs/performance.md.
bench:
	@.ci/install bench
	$(MAKE) --no-print-directory build
	$(BENCH) --document docs/performance.md

# A part of it; prints, and writes to target/bench only. Of the data path there are two.
bench-attach bench-scale bench-datapath:
	@.ci/install bench
	$(MAKE) --no-print-directory build
	$(BENCH) $(patsubst datapath,datapath fastpath,$(@:bench-%=%))

# flatnet-agent among 5,000 nodes, in a Kubernetes and with an etcd, and flannel's daemon beside it; refreshes
# docs/performance-cluster.md. SHORT=1 shows in a minute that it works, and refreshes nothing.
SHORT :=
bench-cluster:
	@.ci/install bench-cluster
	$(MAKE) --no-print-directory build
	cargo run --locked --quiet -p flatnet-cluster $(AS_ROOT) -- bench \
		$(if $(SHORT),--short,--document docs/performance-cluster.md)

# Each fuzz target for so many seconds; says how many executions and findings, and fails on any.
SECONDS := 60
fuzz:
	@.ci/install fuzz
	$(FUZZ)/run $(SECONDS)


# The published JSON Schemas, from the types that parse the files, and the reference of docs/configuration.md from them.
schema:
	cargo run --locked -p flatnet-conf --features schema --example schema

clean:
	cargo clean

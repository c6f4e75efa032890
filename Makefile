# nfio. `make` alone prints help.
.POSIX:
.SUFFIXES:

CARGO = cargo
# More words for the build: FLAGS=--no-default-features leaves the driver for libvirt out.
FLAGS =
# Where the built files are: cargo's own choice, also when CARGO_TARGET_DIR is not set.
TARGET = $${CARGO_TARGET_DIR:-target}/release

.PHONY: help demo demo-chain test conformance build check bench

help:
	@echo 'make demo    build, then show a directory become a firewall that drops packets'
	@echo 'make demo-chain  the same for a service chain: firewall, ids and nat between a client and a server'
	@echo 'make test    run all tests: unit tests, doctests, end-to-end on real mounts'
	@echo 'make conformance   run external suites over a mount: POSIX, data, load'
	@echo 'make build   build nfio (target/release/nfio) and install the plugins into plugins/'
	@echo 'make check   what must be clean before a commit: format, lints, documentation'
	@echo 'make bench   measure, side by side with what nfio is compared to'

demo:
	@examples/demo/demo.sh

demo-chain:
	@examples/demo/chain.sh

test:
	@tests/run.sh

conformance:
	@tests/conformance.sh

# A crate that is no cdylib is a library of plugins. A plugin is replaced by rename, so that no nfio meets it half
# written.
build:
	$(CARGO) build --release $(FLAGS)
	@set -e; for crate in $$(grep -l '"cdylib"' plugins/*/Cargo.toml); do \
		type=$$(basename "$${crate%/Cargo.toml}"); new="plugins/.lib$$type.so.new"; \
		install -m 0755 "$(TARGET)/lib$$type.so" "$$new"; \
		mv -f "$$new" "plugins/lib$$type.so"; \
		echo "plugins/lib$$type.so"; \
	done

check:
	$(CARGO) fmt --all --check
	$(CARGO) clippy --workspace --all-targets -- -D warnings
	$(CARGO) clippy -p nfio-host --no-default-features --all-targets -- -D warnings
	RUSTDOCFLAGS="-D warnings" $(CARGO) doc --workspace --no-deps
	$(CARGO) fmt --manifest-path tests/fuzz/Cargo.toml --check
	@cp Cargo.lock examples/rate-limiter/   # so that it is checked with what nfio is built with
	$(CARGO) fmt --manifest-path examples/rate-limiter/Cargo.toml --check
	$(CARGO) clippy --manifest-path examples/rate-limiter/Cargo.toml --all-targets --target-dir "$${CARGO_TARGET_DIR:-target}" -- -D warnings

bench:
	@tests/bench.sh

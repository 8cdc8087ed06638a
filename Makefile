# Two commands matter: `make demo` shows Humdrum at work, `make test` runs every test.
# All of it is short scripts and cargo; nothing here hides a flag.

.PHONY: demo test lint bench tools release

BINARY := target/release/humdrum

demo:
	@scripts/need.sh demo
	cargo build --release --locked -p humdrum-cli
	$(BINARY) demo

# Cheap answers first: style, then the tests of the crates, then whole stories with the released binary.
test:
	@scripts/need.sh test
	@scripts/test-tools.sh
	cargo xtask tidy
	cargo test --workspace --locked --no-fail-fast
	@scripts/e2e.sh

lint:
	@scripts/need.sh demo
	cargo fmt --all --check
	cargo clippy --workspace --all-targets --locked -- -D warnings

bench:
	@scripts/need.sh test
	@scripts/test-tools.sh
	cargo build --release --locked -p humdrum-cli
	@for script in bench/*.sh; do echo "== $$script"; HUMDRUM=$(BINARY) "$$script" || exit 1; done

tools:
	@scripts/test-tools.sh

release:
	cargo build --release --locked -p humdrum-cli

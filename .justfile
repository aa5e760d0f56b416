# Shortcuts; each line also works on its own. `just` lists them.
_default:
    @just --list

# Set up what tests need, build, run every test.
test *ARGUMENTS:
    ./tests/run {{ARGUMENTS}}

# All that must hold before a change lands.
ci:
    ./.ci/run

# The whole story on a throw-away etcd: back up, prove, prune, lose, restore.
quickstart *ARGUMENTS:
    ./examples/quickstart {{ARGUMENTS}}

# Wall time, CPU and memory next to etcdctl, zstd and age on a 1 GiB database.
bench *ARGUMENTS:
    ./tests/bench {{ARGUMENTS}}

# Grow inputs for each fuzz target until one breaks or the seconds are over.
fuzz *ARGUMENTS:
    ./tests/fuzz {{ARGUMENTS}}

# Format all Rust sources.
fmt:
    cargo fmt --all
    cargo fmt --manifest-path agent/etcd/fuzz/Cargo.toml

# Makes and builds a crate (make), then builds it again on top (change): nothing is to be done until a
# source changes, which is judged by times.
set -eu
unset CARGO_TARGET_DIR CARGO_BUILD_TARGET_DIR RUSTFLAGS
build() { "${CARGO:-cargo}" build --offline --verbose > log 2>&1 || { cat log; exit 1; }; }

# What the last build did must show the line.
did() { grep -q "$1" log || { echo "no '$1':"; cat log; exit 1; }; }

case $1 in
make)
  mkdir src
  cat > Cargo.toml <<'TOML'
[package]
name = "small"
version = "1.0.0"
edition = "2021"
[workspace]
TOML
  cat > build.rs <<'RUST'
fn main() {
    let out = std::path::PathBuf::from(std::env::var_os("OUT_DIR").unwrap());
    std::fs::write(out.join("number.rs"), "const NUMBER: u32 = 42;").unwrap();
    println!("cargo::rerun-if-changed=build.rs");
}
RUST
  echo 'pub fn word() -> &'\''static str { "before" }' > src/lib.rs
  cat > src/main.rs <<'RUST'
include!(concat!(env!("OUT_DIR"), "/number.rs"));
fn main() {
    println!("{} {NUMBER}", small::word());
}
RUST
  build
  did Compiling
  [ "$(target/debug/small)" = "before 42" ]
  build
  did "Fresh small"
  ;;
change)
  build
  did "Fresh small"
  echo 'pub fn word() -> &'\''static str { "after" }' > src/lib.rs
  build
  did "Dirty small"
  [ "$(target/debug/small)" = "after 42" ]
  ;;
esac

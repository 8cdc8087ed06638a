//! The smallest program that can be a jail's first stage, for this crate's tests.

fn main() {
    humdrum_jail::inner_main();
}

//! The smallest program that can be a jail's first stage; what it does outside of one is nothing.

fn main() {
    humdrum_jail::inner_main();
}

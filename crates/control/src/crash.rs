//! Numbered crash points: before and after each commit and each effect. With `HUMDRUM_CRASH_LEDGER` set, the process kills itself the first
//! time it reaches each of them; the ledger file remembers which were passed, so one rollout over many restarts meets every point once.

use std::fs::OpenOptions;
use std::io::Write;
use std::path::PathBuf;
use std::sync::OnceLock;

/// Environment variable that names the ledger file.
pub const LEDGER: &str = "HUMDRUM_CRASH_LEDGER";

fn ledger() -> Option<&'static PathBuf> {
    static PATH: OnceLock<Option<PathBuf>> = OnceLock::new();
    PATH.get_or_init(|| std::env::var_os(LEDGER).map(PathBuf::from)).as_ref()
}

/// Passes a point; does not return when this is the first time that any process of this ledger reached it.
pub fn point(name: &str) {
    let Some(path) = ledger() else { return };
    let known = std::fs::read_to_string(path).unwrap_or_default();
    if known.lines().any(|line| line == name) {
        return;
    }
    let written = OpenOptions::new().create(true).append(true).open(path).and_then(|mut file| {
        writeln!(file, "{name}")?;
        file.sync_all()
    });
    if written.is_ok() {
        let me = rustix::process::getpid();
        // SIGKILL, not abort: nothing may be flushed or cleaned up on the way out.
        let _ = rustix::process::kill_process(me, rustix::process::Signal::KILL);
    }
}

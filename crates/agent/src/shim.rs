//! The shim: one small process for each instance. It owns the log files and the exit status, so that the agent may
//! die or be replaced while the instance runs on.
//!
//! It decides nothing: it obeys `order.json` once, forwards a stop, writes down the end, and goes.

mod journal;

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::PathBuf;
use std::process::Stdio;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use humdrum_jail::{Ending, JailError, Jailed, Launcher, Outcome};
use rustix::fs::{FlockOperation, flock};
use rustix::process::Signal;
use tokio::signal::unix::{SignalKind, signal};

use crate::durable;
use crate::identity::{Identity, Owned};
use crate::order::{
    Answer, Exit, Folder, LOCKED_CODE, Order, ShimFile, Started, StopOrder, VERSION, notes_in_words,
};
use journal::Journal;

/// The hidden first argument that makes a process a shim; the second is the instance's folder.
pub const HIDDEN_COMMAND: &str = "__shim";

/// After the instance has ended, its pipes are read for this long: a grandchild at the weakest rung may hold them open.
const DRAIN: Duration = Duration::from_secs(2);

/// Becomes a shim when this process was started as one, else returns at once.
///
/// Call it early in `main`, after `humdrum_jail::inner_main` and before any thread or runtime exists. When the hidden
/// command was given it never returns.
pub fn shim_main() {
    let mut arguments = std::env::args_os().skip(1);
    if arguments.next().is_none_or(|first| first != HIDDEN_COMMAND) {
        return;
    }
    let code = match arguments.next() {
        Some(folder) => run(Folder(PathBuf::from(folder))),
        None => 2,
    };
    std::process::exit(code);
}

/// The instance's exit is in `exit.json`; the shim's own code only tells whether the shim could do its work.
fn run(folder: Folder) -> i32 {
    // A shim in the session of a terminal would die with it. It fails only for a group leader, which has left already.
    let _ = rustix::process::setsid();
    let Ok(Some(_lock)) = lock(&folder) else { return LOCKED_CODE };
    let order = match durable::read_json::<Order>(&folder.order()) {
        Ok(Some(order)) if order.version == VERSION => order,
        other => {
            complain(&format!("order.json cannot be obeyed: {other:?}"));
            return 2;
        }
    };
    match obey(&folder, &order) {
        Ok(()) => 0,
        Err(error) => {
            complain(&format!("instance {}: {error}", order.name));
            1
        }
    }
}

/// Standard error is the shim's own log file.
fn complain(text: &str) {
    drop(writeln!(io::stderr(), "{} {text}", now_ms()));
}

/// Takes the folder for one living shim; `None` when another process has it.
pub(crate) fn lock(folder: &Folder) -> io::Result<Option<File>> {
    let file = OpenOptions::new().write(true).create(true).truncate(false).open(folder.lock())?;
    match flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(Some(file)),
        Err(rustix::io::Errno::WOULDBLOCK) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

fn obey(folder: &Folder, order: &Order) -> io::Result<()> {
    durable::write_fleeting(
        &folder.shim(),
        &ShimFile {
            attempt: order.attempt,
            key: order.key.clone(),
            name: order.name.clone(),
            port: order.port,
            shim: Identity::of(std::process::id())?,
        },
    )?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    // The handler exists before the instance does, so that no stop is lost between the two.
    let stop = runtime.block_on(async { signal(SignalKind::terminate()) })?;
    match Launcher::default().spawn(&order.jail, Stdio::piped(), Stdio::piped()) {
        Ok(jailed) => runtime.block_on(attend(folder, order, jailed, stop)),
        Err(error) => {
            end(folder, order.attempt, "not started".into(), Some(in_words(order, &error)))
        }
    }
}

async fn attend(
    folder: &Folder,
    order: &Order,
    mut jailed: Jailed,
    mut stop: tokio::signal::unix::Signal,
) -> io::Result<()> {
    let journal = Arc::new(Journal::open(folder, order)?);
    let out = jailed.take_stdout().map(|pipe| journal::copy(pipe, "stdout", journal.clone()));
    let err = jailed.take_stderr().map(|pipe| journal::copy(pipe, "stderr", journal.clone()));
    // Taken before the wait may reap it, hence certainly the supervisor of our jail.
    let supervisor = Identity::of(jailed.supervisor_pid())?.open();
    tell_started(folder, order, &jailed);
    let mut ended = tokio::task::spawn_blocking(move || jailed.wait());
    let outcome = tokio::select! {
        outcome = &mut ended => outcome,
        _ = stop.recv() => {
            ask_to_end(folder, order, supervisor.as_ref(), &mut ended).await
        }
    };
    let how = outcome.map_err(io::Error::other)?.map_or_else(|e| format!("lost: {e}"), how);
    for copier in [out, err].into_iter().flatten() {
        drop(tokio::time::timeout(DRAIN, copier).await);
    }
    journal.finish();
    end(folder, order.attempt, how, None)
}

type Ended = tokio::task::JoinHandle<Result<Outcome, JailError>>;

/// SIGTERM now, SIGKILL to the whole jail after the grace.
async fn ask_to_end(
    folder: &Folder,
    order: &Order,
    supervisor: Option<&Owned>,
    ended: &mut Ended,
) -> Result<Result<Outcome, JailError>, tokio::task::JoinError> {
    let told = durable::read_json::<StopOrder>(&folder.stop()).ok().flatten();
    let grace = Duration::from_millis(told.map_or(order.grace_ms, |stop| stop.grace_ms));
    if let Some(supervisor) = supervisor {
        drop(supervisor.signal(Signal::TERM));
    }
    if let Ok(outcome) = tokio::time::timeout(grace, &mut *ended).await {
        return outcome;
    }
    if let Some(supervisor) = supervisor {
        drop(supervisor.signal(Signal::KILL));
    }
    match ended.await {
        // The supervisor was killed by us and could not tell; what it ran was killed with it.
        Ok(Err(JailError::Vanished { .. })) => {
            Ok(Ok(Outcome { ending: Ending::Signaled(9), memory_bytes_max: None }))
        }
        other => other,
    }
}

fn tell_started(folder: &Folder, order: &Order, jailed: &Jailed) {
    // An instance that ended already has no start time to read; its exit follows at once.
    let Ok(instance) = Identity::of(jailed.pid()) else { return };
    let limits = &order.jail.limits;
    let limited =
        limits.memory_bytes.or(limits.open_files).is_some() || limits.cpu_millis.is_some();
    let started = Started {
        attempt: order.attempt,
        instance,
        at_ms: now_ms(),
        notes: notes_in_words(jailed.notes(), limited),
    };
    if let Err(error) = durable::write_fleeting(&folder.started(), &started) {
        complain(&format!("started.json cannot be written: {error}"));
    }
    answer(&Answer::Started(started));
}

fn end(folder: &Folder, attempt: u64, how: String, not_started: Option<String>) -> io::Result<()> {
    let exit = Exit { attempt, how, not_started, at_ms: now_ms() };
    let written = durable::write_json(&folder.exit(), &exit);
    answer(&Answer::Ended(exit));
    written
}

/// The agent may be gone: then the files tell the next one.
fn answer(answer: &Answer) {
    if let Ok(mut line) = serde_json::to_vec(answer) {
        line.push(b'\n');
        let mut out = io::stdout().lock();
        drop(out.write_all(&line).and_then(|()| out.flush()));
    }
}

fn how(outcome: Outcome) -> String {
    match outcome.ending {
        Ending::Exited(code) => format!("exit {code}"),
        Ending::Signaled(signal) => format!("signal {signal}"),
        other => other.to_string(),
    }
}

fn in_words(order: &Order, error: &JailError) -> String {
    let program = order.jail.argv.first().map_or("", String::as_str);
    match error {
        JailError::Setup { step, error } if step.starts_with("starting") => {
            format!("command `{program}` cannot be started in the image: {error}")
        }
        JailError::Setup { step, error } => {
            format!("command `{program}` cannot be jailed: {step}: {error}")
        }
        other => format!("command `{program}` cannot be jailed: {other}"),
    }
}

fn now_ms() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}

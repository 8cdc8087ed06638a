//! The roles that one machine needs: control, edge and agent, each a process of its own, and the hidden helpers.

use std::process::ExitCode;

pub(crate) mod agent;
pub(crate) mod control;
pub(crate) mod edge;
pub(crate) mod secrets;

use tokio_util::sync::CancellationToken;

/// Answers to the hidden commands of jails and shims; none for everything else. Jails never return.
pub(crate) fn hidden() -> Option<ExitCode> {
    humdrum_jail::inner_main();
    humdrum_agent::shim_main();
    humdrum_policy::worker::worker_main().map(ExitCode::from)
}

/// Logs of a role: one line an event, to standard error, which the supervisor keeps in a file.
pub(crate) fn log() {
    let filter = tracing_subscriber::EnvFilter::try_from_env("HUMDRUM_LOG")
        .unwrap_or_else(|_| tracing_subscriber::EnvFilter::new("info"));
    let _ = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(false)
        .try_init();
}

/// Cancels the token at SIGTERM or SIGINT.
pub(crate) async fn until_signal(stop: CancellationToken) {
    use tokio::signal::unix::{SignalKind, signal};
    let (Ok(mut term), Ok(mut int)) =
        (signal(SignalKind::terminate()), signal(SignalKind::interrupt()))
    else {
        return;
    };
    tokio::select! {
        _ = term.recv() => {}
        _ = int.recv() => {}
        () = stop.cancelled() => {}
    }
    stop.cancel();
}

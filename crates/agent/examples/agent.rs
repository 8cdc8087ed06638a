//! The agent as a process of its own, for the tests: `agent DATA SOCKET USER PASSWORD FIRST_PORT LAST_PORT RETIRED_MS`.

use std::io::Write;
use std::process::ExitCode;
use std::time::Duration;

use humdrum_agent::AgentConfig;
use tokio_util::sync::CancellationToken;

fn main() -> ExitCode {
    humdrum_jail::inner_main();
    humdrum_agent::shim_main();
    let runtime = tokio::runtime::Runtime::new().expect("a runtime can be made");
    runtime.block_on(agent())
}

async fn agent() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let [data, socket, user, password, first, last, retired] = &words[..] else {
        complain("7 arguments are needed");
        return ExitCode::from(2);
    };
    let exe = std::env::current_exe().expect("a process has an executable");
    let mut config = AgentConfig::new(data.into(), socket.into(), exe);
    config.registry_user.clone_from(user);
    config.registry_password.clone_from(password);
    let number = |text: &String| text.parse::<u64>().expect("a number");
    let port = |text: &String| u16::try_from(number(text)).expect("a port");
    config.port_range = port(first)..=port(last);
    config.retired_keep = Duration::from_millis(number(retired));
    let shutdown = CancellationToken::new();
    let asked = shutdown.clone();
    tokio::spawn(async move {
        let mut term = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate())
            .expect("SIGTERM can be handled");
        term.recv().await;
        asked.cancel();
    });
    match humdrum_agent::run(config, shutdown).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            complain(&format!("the agent cannot run: {error}"));
            ExitCode::FAILURE
        }
    }
}

fn complain(text: &str) {
    drop(writeln!(std::io::stderr(), "{text}"));
}

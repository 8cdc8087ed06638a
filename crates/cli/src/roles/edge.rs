//! The edge as a process.

use humdrum_edge::{EdgeConfig, run};
use tokio_util::sync::CancellationToken;

use super::until_signal;
use crate::exit::{Exit, Failure, Outcome};
use crate::places::Places;

pub(crate) fn edge(places: &Places) -> Outcome {
    super::log();
    places.make()?;
    let stop = CancellationToken::new();
    let watched = stop.clone();
    // The edge makes its own runtimes, one for each core; signals have a thread of their own.
    std::thread::spawn(move || crate::commands::block_on(until_signal(watched)));
    let config = EdgeConfig { data: places.edge(), admin_socket: places.edge_socket(), threads: 0 };
    run(config, stop).map_err(|error| {
        Failure::new(Exit::Failed, "edge", "the edge cannot run")
            .cause(&error)
            .next("humdrum doctor")
    })?;
    Ok(Exit::Ok)
}

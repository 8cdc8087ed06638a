//! Runs an edge alone, for its tests and benchmarks: `edge DATA [THREADS]`; the admin socket is `DATA/admin.sock`.

use std::path::PathBuf;

use humdrum_edge::{EdgeConfig, run};
use tokio_util::sync::CancellationToken;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let data = PathBuf::from(arguments.next().ok_or("usage: edge DATA [THREADS]")?);
    let threads = arguments.next().map_or(Ok(0), |n| n.parse())?;
    let shutdown = CancellationToken::new();
    let stop = shutdown.clone();
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        runtime.block_on(async {
            tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate())?.recv().await;
            stop.cancel();
            Ok::<_, std::io::Error>(())
        })
    });
    run(EdgeConfig { admin_socket: data.join("admin.sock"), data, threads }, shutdown)?;
    Ok(())
}

//! Measures how long pushes wait for a collection: the same pushes without one and beside one, in one run.
//!
//! `cargo run --release -p humdrum-registry --example collect_bench -- FOLDER [IMAGES]` fills FOLDER, which must not exist, with IMAGES
//! (20,000) untagged images, has collections take them beside pushes, and prints one JSON line.

use std::io::Write as _;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::time::{Duration, Instant};

use humdrum_registry::collect::Collecting;
use humdrum_registry::manifest::OCI_IMAGE;
use humdrum_registry::name::Reference;
use humdrum_registry::{Registry, RegistryError};
use humdrum_store::blobs::{Algorithm, BlobDigest, Mutability};
use serde_json::{Value, json};

const DAY_MS: i64 = 24 * 3_600_000;
/// Pushes at a time.
const CLIENTS: usize = 8;
/// Pushes without a collection, for comparison.
const ALONE: Duration = Duration::from_secs(5);

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let folder = PathBuf::from(arguments.next().ok_or("name a folder that does not exist")?);
    let images: usize = arguments.next().map_or(Ok(20_000), |text| text.parse())?;
    std::fs::create_dir(&folder)?;
    let now = Arc::new(AtomicI64::new(100 * DAY_MS));
    let clock = now.clone();
    let registry = Registry::open(&folder, Arc::new(|_, _| Mutability::Mutable))?
        .with_clock(Arc::new(move || clock.load(Ordering::Relaxed)));
    for first in (0..images).step_by(64) {
        let pushes = (first..images.min(first + 64)).map(|n| push(&registry, "old", n));
        futures::future::try_join_all(pushes).await?;
    }
    let goes_on = AtomicBool::new(true);
    let (alone, ()) = futures::join!(load(&registry, "alone", &goes_on), async {
        tokio::time::sleep(ALONE).await;
        goes_on.store(false, Ordering::Relaxed);
    });
    goes_on.store(true, Ordering::Relaxed);
    let (beside, collections) = futures::join!(load(&registry, "beside", &goes_on), async {
        let all = collections(&registry, &now).await;
        goes_on.store(false, Ordering::Relaxed);
        all
    });
    let line = json!({ "images": images, "clients": CLIENTS, "alone_ms": spread(alone), "beside_ms": spread(beside),
        "collections": collections? });
    writeln!(std::io::stdout(), "{line}")?;
    Ok(())
}

/// The first takes all old images to the trash, the second frees their bytes.
async fn collections(registry: &Registry, now: &AtomicI64) -> Result<Vec<Value>, RegistryError> {
    let mut all = Vec::new();
    for _ in 0..2 {
        now.fetch_add(15 * DAY_MS, Ordering::Relaxed);
        let started = Instant::now();
        let done = registry.collect(&Collecting::default()).await?;
        all.push(json!({ "seconds": started.elapsed().as_secs_f64(), "manifests": done.manifests_trashed.count,
            "blobs": done.blobs_trashed.count, "freed": done.bytes_freed.count, "busy": done.busy }));
    }
    Ok(all)
}

/// Pushes an image of two blobs by its digest.
async fn push(registry: &Registry, kind: &str, n: usize) -> Result<(), RegistryError> {
    let (config, layer) = (format!("{{\"{kind}\":{n}}}"), format!("{kind} layer {n}"));
    let (config_size, layer_size) = (config.len(), layer.len());
    let config = registry.put_blob("shop", config.into()).await?;
    let layer = registry.put_blob("shop", layer.into()).await?;
    let text = json!({ "schemaVersion": 2,
        "config": { "mediaType": "application/vnd.oci.image.config.v1+json", "digest": config.as_str(), "size": config_size },
        "layers": [{ "mediaType": "application/vnd.oci.image.layer.v1.tar", "digest": layer.as_str(), "size": layer_size }] })
    .to_string();
    let reference = Reference::Digest(BlobDigest::of(Algorithm::Sha256, text.as_bytes()));
    registry.put_manifest("shop", &reference, Some(OCI_IMAGE), text.into()).await.map(|_| ())
}

/// The times of pushes by all clients while `goes_on`.
async fn load(registry: &Registry, kind: &str, goes_on: &AtomicBool) -> Vec<Duration> {
    let clients = (0..CLIENTS).map(|client| async move {
        let (mut times, mut n) = (Vec::new(), client);
        while goes_on.load(Ordering::Relaxed) {
            let started = Instant::now();
            push(registry, kind, n).await.expect("a push beside a collection succeeds");
            times.push(started.elapsed());
            n += CLIENTS;
        }
        times
    });
    futures::future::join_all(clients).await.concat()
}

fn spread(mut times: Vec<Duration>) -> Value {
    times.sort();
    let ms = |part: f64| {
        let at = ((times.len() as f64 * part) as usize).min(times.len().saturating_sub(1));
        times.get(at).map_or(0.0, |time| time.as_secs_f64() * 1000.0)
    };
    json!({ "pushes": times.len(), "p50": ms(0.5), "p99": ms(0.99), "p999": ms(0.999), "max": ms(1.0) })
}

//! Keeps bytes from being deleted between the moment in which a push finds them in their place and the one in which it links them.
//!
//! Pushes pass together; who deletes passes alone, never waits for a push, and holds the gate only for a rename.

use humdrum_store::blobs::BlobDigest;
use tokio::sync::{Semaphore, SemaphorePermit};

/// Digests share a gate with 1 in 256 others, so that a push hardly ever meets a deletion that is not its own.
const STRIPES: usize = 256;
/// Pushes that may pass a stripe at once: more than connections.
const ARRIVALS: u32 = 1 << 20;

/// The gate of one store of bytes.
pub(crate) struct Gate {
    stripes: Vec<Semaphore>,
    collecting: Semaphore,
}

impl Default for Gate {
    fn default() -> Self {
        let stripes = (0..STRIPES).map(|_| Semaphore::new(ARRIVALS as usize)).collect();
        Self { stripes, collecting: Semaphore::new(1) }
    }
}

impl Gate {
    /// As long as the permit lives, nobody deletes these bytes.
    pub(crate) async fn arriving(&self, digest: &BlobDigest) -> SemaphorePermit<'_> {
        self.stripe(digest).acquire().await.expect("the gate is never closed")
    }

    /// As long as the permit lives, no push comes to rely on these bytes; `None` while one is about to.
    pub(crate) fn leaving(&self, digest: &BlobDigest) -> Option<SemaphorePermit<'_>> {
        self.stripe(digest).try_acquire_many(ARRIVALS).ok()
    }

    /// The right to collect, which one caller has at a time.
    pub(crate) fn collecting(&self) -> Option<SemaphorePermit<'_>> {
        self.collecting.try_acquire().ok()
    }

    fn stripe(&self, digest: &BlobDigest) -> &Semaphore {
        let first = u8::from_str_radix(&digest.hex()[..2], 16);
        &self.stripes[usize::from(first.expect("a digest has hex digits"))]
    }
}

#[cfg(test)]
mod tests {
    use humdrum_store::blobs::Algorithm;

    use super::*;

    #[tokio::test]
    async fn pushes_pass_together_and_a_deletion_alone() {
        let gate = Gate::default();
        let digest = BlobDigest::of(Algorithm::Sha256, b"x");
        let (one, two) = (gate.arriving(&digest).await, gate.arriving(&digest).await);
        assert!(gate.leaving(&digest).is_none());
        drop(one);
        assert!(gate.leaving(&digest).is_none());
        drop(two);
        let leaving = gate.leaving(&digest).unwrap();
        let mut waits = std::pin::pin!(gate.arriving(&digest));
        assert!(futures::poll!(waits.as_mut()).is_pending());
        drop(leaving);
        drop(waits.await);
    }
}

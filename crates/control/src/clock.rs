//! The one place in control that asks what time it is.

use std::time::{SystemTime, UNIX_EPOCH};

use jiff::Timestamp;

/// Now, in Unix ms.
pub fn now_ms() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}

/// Now, to the ms: what is stored and what is decided on are the same number.
pub fn now() -> Timestamp {
    Timestamp::from_millisecond(now_ms()).unwrap_or(Timestamp::UNIX_EPOCH)
}

//! What histories met: a simulation that rarely reaches interesting states proves nothing.

use std::collections::BTreeMap;

/// Counts by kind and word.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Coverage {
    counts: BTreeMap<&'static str, BTreeMap<String, u64>>,
}

impl Coverage {
    pub(crate) fn count(&mut self, kind: &'static str, what: &str) {
        let of_kind = self.counts.entry(kind).or_default();
        match of_kind.get_mut(what) {
            Some(count) => *count += 1,
            None => {
                of_kind.insert(what.to_owned(), 1);
            }
        }
    }

    pub fn of(&self, kind: &str, what: &str) -> u64 {
        self.counts.get(kind).and_then(|of_kind| of_kind.get(what)).copied().unwrap_or(0)
    }

    pub(crate) fn merge(&mut self, other: &Self) {
        for (kind, of_kind) in &other.counts {
            for (what, count) in of_kind {
                *self.counts.entry(kind).or_default().entry(what.clone()).or_default() += count;
            }
        }
    }

    /// Kind, word and count, in order.
    pub fn rows(&self) -> Vec<(&'static str, String, u64)> {
        let of_kind = |(kind, counts): (&&'static str, &BTreeMap<String, u64>)| {
            let kind = *kind;
            counts.iter().map(|(what, count)| (kind, what.clone(), *count)).collect::<Vec<_>>()
        };
        self.counts.iter().flat_map(of_kind).collect()
    }

    /// A Markdown table of counts per 1000 histories.
    pub fn table(&self, histories: u64) -> String {
        let mut text = String::from("| kind | what | per 1000 histories |\n|---|---|---:|\n");
        for (kind, what, count) in self.rows() {
            let per = count as f64 * 1000.0 / histories.max(1) as f64;
            text.push_str(&format!("| {kind} | {what} | {per:.1} |\n"));
        }
        text
    }
}

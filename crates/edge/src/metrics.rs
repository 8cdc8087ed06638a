//! The edge's numbers for Prometheus (text format 0.0.4), summed from sealed blocks: late by at most one block.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use humdrum_model::block::{Block, LATENCY_BASE};
use humdrum_model::route::RouteTable;

use crate::answer::REASONS;

/// Series kept; when more instances were seen, the one that was silent longest is dropped.
const SERIES_MAX: usize = 2_000;
/// Upper bounds of the exported histogram, seconds: the defaults of the client libraries and a few for slow answers.
const BOUNDS_S: [f64; 13] =
    [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0];

#[derive(Debug, Default)]
struct Series {
    labels: String,
    requests: u64,
    errors: u64,
    /// Not cumulative; the last is +Inf.
    buckets: [u64; BOUNDS_S.len() + 1],
    seconds: f64,
    touched: u64,
}

#[derive(Debug, Default)]
pub(crate) struct Metrics {
    /// By route, arm and instance.
    series: BTreeMap<(String, String, String), Series>,
    blocks: u64,
}

impl Metrics {
    /// Adds a sealed block; the table tells what its instances belong to.
    pub(crate) fn add(&mut self, block: &Block, table: &RouteTable) {
        self.blocks += 1;
        for cell in &block.cells {
            let key = (block.route.clone(), cell.arm.clone(), cell.instance.clone());
            let series = self.series.entry(key).or_default();
            if let Some(labels) = labels(table, &cell.arm, &cell.instance) {
                series.labels = labels;
            }
            if cell.requests > 0 || series.touched == 0 {
                series.touched = self.blocks;
            }
            series.requests += cell.requests;
            series.errors += cell.errors;
            for (bucket, n) in &cell.latency {
                // An unanswered request has no latency: it stands in +Inf and adds nothing to the sum.
                let seconds = if *bucket == i32::MAX {
                    f64::INFINITY
                } else {
                    LATENCY_BASE.powi(*bucket) / 1e3
                };
                let place = BOUNDS_S.iter().position(|b| seconds <= *b).unwrap_or(BOUNDS_S.len());
                series.buckets[place] += n;
                series.seconds += if seconds.is_finite() { seconds * *n as f64 } else { 0.0 };
            }
        }
        while self.series.len() > SERIES_MAX {
            let oldest = self.series.iter().min_by_key(|(_, s)| s.touched).map(|(k, _)| k.clone());
            oldest.and_then(|key| self.series.remove(&key));
        }
    }

    /// The whole page.
    pub(crate) fn page(&self, in_flight: &[(String, String, u32)]) -> String {
        let mut text = String::new();
        let known = || self.series.values().filter(|s| !s.labels.is_empty());
        head(
            &mut text,
            "humdrum_edge_requests_total",
            "counter",
            "Requests assigned to an instance.",
        );
        known().for_each(|s| line(&mut text, "humdrum_edge_requests_total", &s.labels, s.requests));
        head(
            &mut text,
            "humdrum_edge_errors_total",
            "counter",
            "Answers 500 to 599 and requests without an answer.",
        );
        known().for_each(|s| line(&mut text, "humdrum_edge_errors_total", &s.labels, s.errors));
        head(
            &mut text,
            "humdrum_edge_latency_seconds",
            "histogram",
            "Time to the head of the answer.",
        );
        known().for_each(|s| histogram(&mut text, s));
        head(&mut text, "humdrum_edge_in_flight", "gauge", "Open requests by slot.");
        for (route, slot, n) in in_flight {
            line(
                &mut text,
                "humdrum_edge_in_flight",
                &format!("route=\"{route}\",slot=\"{slot}\""),
                *n,
            );
        }
        head(
            &mut text,
            "humdrum_edge_answers_total",
            "counter",
            "Answers that the edge made itself, by reason.",
        );
        for reason in REASONS {
            line(
                &mut text,
                "humdrum_edge_answers_total",
                &format!("reason=\"{}\"", reason.as_str()),
                reason.made(),
            );
        }
        text
    }
}

fn labels(table: &RouteTable, arm: &str, instance: &str) -> Option<String> {
    let arm = table
        .arms
        .iter()
        .find(|a| a.name == arm && a.instances.iter().any(|i| i.instance == instance))?;
    let (service, environment) = table.route.split_once('.').unwrap_or((&table.route, ""));
    Some(format!(
        "service=\"{}\",environment=\"{}\",deployment_id=\"{}\",slot=\"{}\",instance=\"{}\"",
        escaped(service),
        escaped(environment),
        escaped(&arm.deployment_id),
        arm.slot,
        escaped(instance)
    ))
}

fn escaped(text: &str) -> String {
    text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

fn head(text: &mut String, name: &str, kind: &str, help: &str) {
    let _ = writeln!(text, "# HELP {name} {help}\n# TYPE {name} {kind}");
}

fn line(text: &mut String, name: &str, labels: &str, value: impl std::fmt::Display) {
    let _ = writeln!(text, "{name}{{{labels}}} {value}");
}

fn histogram(text: &mut String, series: &Series) {
    let mut below = 0;
    for (at, n) in series.buckets.iter().enumerate() {
        below += n;
        let bound = BOUNDS_S.get(at).map_or("+Inf".to_owned(), f64::to_string);
        let labels = format!("{},le=\"{bound}\"", series.labels);
        line(text, "humdrum_edge_latency_seconds_bucket", &labels, below);
    }
    line(text, "humdrum_edge_latency_seconds_sum", &series.labels, series.seconds);
    line(text, "humdrum_edge_latency_seconds_count", &series.labels, below);
}

//! From the table that control wrote to what workers use: checks, and the compiled plan.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::Arc;

use http::{HeaderName, HeaderValue};
use humdrum_model::route::{RouteTable, WEIGHT_TOTAL};

use crate::gauge::Gauges;
use crate::split::Schedule;

/// Arms of one table: baseline, canary, a paired baseline and room.
pub(crate) const ARMS_MAX: usize = 8;
/// Instances of one table; each costs about 5 KB of counters for each worker.
pub(crate) const INSTANCES_MAX: usize = 256;
/// Routes of one edge.
pub(crate) const ROUTES_MAX: usize = 500;
/// Characters of a name in a table.
const NAME_MAX: usize = 200;

/// A checked table in the form the hot path reads. Immutable; a new table is a new plan.
#[derive(Debug)]
pub(crate) struct Plan {
    pub(crate) table: RouteTable,
    pub(crate) schedule: Schedule,
    pub(crate) arms: Vec<PlanArm>,
    pub(crate) endpoints: Vec<PlanEndpoint>,
    pub(crate) tester: Option<Tester>,
    pub(crate) gauges: Arc<Gauges>,
}

#[derive(Debug)]
pub(crate) struct PlanArm {
    /// Indexes into [`Plan::endpoints`].
    pub(crate) endpoints: std::ops::Range<usize>,
    /// What the sticky cookie holds for this arm: slot and release.
    pub(crate) cookie: String,
    /// The whole `Set-Cookie` value, when the table is sticky.
    pub(crate) set_cookie: Option<HeaderValue>,
}

#[derive(Debug)]
pub(crate) struct PlanEndpoint {
    pub(crate) arm: usize,
    pub(crate) instance: Arc<str>,
    pub(crate) addr: SocketAddr,
}

#[derive(Debug)]
pub(crate) struct Tester {
    pub(crate) header: HeaderName,
    pub(crate) value: HeaderValue,
    pub(crate) arm: usize,
}

impl Plan {
    /// Compiles a table that [`problems`] found nothing in.
    pub(crate) fn new(table: RouteTable, gauges: Arc<Gauges>) -> Self {
        let weights: Vec<u32> = table.arms.iter().map(|a| a.weight).collect();
        let mut endpoints = Vec::new();
        let mut arms = Vec::new();
        for (index, arm) in table.arms.iter().enumerate() {
            let start = endpoints.len();
            endpoints.extend(arm.instances.iter().map(|e| PlanEndpoint {
                arm: index,
                instance: e.instance.as_str().into(),
                addr: e.addr,
            }));
            let cookie = cookie_value(&arm.slot.to_string(), &arm.release);
            let set_cookie = table.sticky.as_ref().and_then(|s| {
                let text = format!("{}={cookie}; Path=/; HttpOnly; SameSite=Lax", s.cookie);
                HeaderValue::from_str(&text).ok()
            });
            arms.push(PlanArm { endpoints: start..endpoints.len(), cookie, set_cookie });
        }
        let tester = table.testers.as_ref().and_then(|rule| {
            Some(Tester {
                header: HeaderName::from_bytes(rule.header.as_bytes()).ok()?,
                value: HeaderValue::from_str(&rule.value).ok()?,
                arm: table.arms.iter().position(|a| a.name == rule.arm)?,
            })
        });
        Self { schedule: Schedule::new(&weights), arms, endpoints, tester, gauges, table }
    }

    /// Why the route serves nothing, when no arm has weight.
    pub(crate) fn closed(&self) -> Option<&str> {
        if self.table.arms.iter().any(|a| a.weight > 0) {
            return None;
        }
        Some(self.table.closed_reason.as_deref().unwrap_or("no release has traffic yet"))
    }
}

/// Only characters that are safe in a cookie, so that a release id of any form can be named.
fn cookie_value(slot: &str, release: &str) -> String {
    let safe = release.chars().filter(|c| c.is_ascii_alphanumeric() || "-_.".contains(*c));
    format!("{slot}.{}", safe.take(64).collect::<String>())
}

/// Everything that is wrong with a table, in words for its author. Empty means it can be used.
pub(crate) fn problems(table: &RouteTable, others: &BTreeMap<String, RouteTable>) -> Vec<String> {
    let mut found = Vec::new();
    check_name(&table.route, &mut found);
    check_arms(table, &mut found);
    check_instances(table, &mut found);
    check_rules(table, &mut found);
    check_limits(table, &mut found);
    check_listen(table, others, &mut found);
    found
}

fn check_name(route: &str, found: &mut Vec<String>) {
    let clean = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-' || b == b'.';
    // The name becomes a file name.
    if route.is_empty()
        || route.len() > NAME_MAX
        || route.starts_with('.')
        || !route.bytes().all(clean)
    {
        found.push(format!(
            "route `{route}` must be 1 to {NAME_MAX} of a-z 0-9 - . and not start with a dot"
        ));
    }
}

fn check_arms(table: &RouteTable, found: &mut Vec<String>) {
    if table.arms.len() > ARMS_MAX {
        found.push(format!("{} arms are more than {ARMS_MAX}", table.arms.len()));
    }
    let sum: u64 = table.arms.iter().map(|a| u64::from(a.weight)).sum();
    if sum != 0 && sum != u64::from(WEIGHT_TOTAL) {
        found.push(format!("weights sum to {sum}, expected {WEIGHT_TOTAL} or all 0"));
    }
    let mut names = BTreeSet::new();
    for arm in &table.arms {
        if arm.name.is_empty() || arm.name.len() > NAME_MAX {
            found.push(format!("arm name `{}` must have 1 to {NAME_MAX} characters", arm.name));
        }
        if !names.insert(&arm.name) {
            found.push(format!("arm `{}` is named twice", arm.name));
        }
        if arm.weight > 0 && arm.instances.is_empty() {
            found.push(format!("arm `{}` has weight {} and no instance", arm.name, arm.weight));
        }
    }
}

fn check_instances(table: &RouteTable, found: &mut Vec<String>) {
    let (mut names, mut addrs) = (BTreeSet::new(), BTreeSet::new());
    let all = || table.arms.iter().flat_map(|a| &a.instances);
    if all().count() > INSTANCES_MAX {
        found.push(format!("{} instances are more than {INSTANCES_MAX}", all().count()));
    }
    for endpoint in all() {
        if endpoint.instance.is_empty() || endpoint.instance.len() > NAME_MAX {
            found.push(format!(
                "instance `{}` must have 1 to {NAME_MAX} characters",
                endpoint.instance
            ));
        }
        if !names.insert(&endpoint.instance) {
            found.push(format!("instance `{}` is named twice", endpoint.instance));
        }
        if !addrs.insert(endpoint.addr) {
            found.push(format!("address {} belongs to two instances", endpoint.addr));
        }
        if endpoint.addr.port() == 0 {
            found.push(format!("instance `{}` has port 0", endpoint.instance));
        }
    }
}

fn check_rules(table: &RouteTable, found: &mut Vec<String>) {
    if let Some(rule) = &table.testers {
        if HeaderName::from_bytes(rule.header.as_bytes()).is_err() {
            found.push(format!("tester header `{}` is not a header name", rule.header));
        }
        if HeaderValue::from_str(&rule.value).is_err() {
            found.push("the tester value is not a header value".into());
        }
        if !table.arms.iter().any(|a| a.name == rule.arm) {
            found.push(format!("testers go to arm `{}`, which does not exist", rule.arm));
        }
    }
    if let Some(sticky) = &table.sticky
        && HeaderName::from_bytes(sticky.cookie.as_bytes()).is_err()
    {
        found.push(format!("`{}` is not a cookie name", sticky.cookie));
    }
}

fn check_limits(table: &RouteTable, found: &mut Vec<String>) {
    if !(100..=60_000).contains(&table.block_ms) {
        found.push(format!("block_ms is {}, expected 100 to 60000", table.block_ms));
    }
    let limits = &table.limits;
    #[rustfmt::skip]
    let zero = [
        ("response_ms", limits.response_ms == 0), ("connect_ms", limits.connect_ms == 0),
        ("idle_ms", limits.idle_ms == 0), ("in_flight", limits.in_flight == 0),
    ];
    for (name, is_zero) in zero {
        if is_zero {
            found.push(format!("limit {name} is 0"));
        }
    }
    // A day: longer is a typing error, and the sum with a clock must not overflow.
    const WAIT_MAX_MS: u64 = 86_400_000;
    for (name, ms) in [
        ("response_ms", limits.response_ms),
        ("connect_ms", limits.connect_ms),
        ("drain_ms", limits.drain_ms),
        ("idle_ms", limits.idle_ms),
    ] {
        if ms > WAIT_MAX_MS {
            found.push(format!("limit {name} is {ms}, more than a day"));
        }
    }
}

fn check_listen(
    table: &RouteTable,
    others: &BTreeMap<String, RouteTable>,
    found: &mut Vec<String>,
) {
    if table.listen.addr.port() == 0 {
        found.push("the listener has port 0".into());
    }
    if let Some(host) = &table.listen.host
        && (host.is_empty()
            || host.contains([':', '/', '@', ' '])
            || http::uri::Authority::try_from(host.as_str()).is_err())
    {
        found.push(format!("host `{host}` must be a bare host name"));
    }
    let host = |t: &RouteTable| t.listen.host.as_ref().map(|h| h.to_ascii_lowercase());
    for other in
        others.values().filter(|o| o.route != table.route && o.listen.addr == table.listen.addr)
    {
        if host(other) == host(table) {
            let claim = host(table).map_or("every host".into(), |h| format!("host `{h}`"));
            found.push(format!(
                "{} and {claim} belong to route `{}`",
                table.listen.addr, other.route
            ));
        }
    }
}

#[cfg(test)]
mod tests {
    use humdrum_model::name::Slot;
    use humdrum_model::route::{Arm, Endpoint, HeaderRule, Listen, Sticky};

    use super::*;

    fn arm(name: &str, weight: u32, ports: &[u16]) -> Arm {
        Arm {
            name: name.into(),
            slot: Slot::A,
            release: "r1".into(),
            deployment_id: "d1".into(),
            weight,
            instances: ports
                .iter()
                .map(|p| Endpoint { instance: format!("i{p}"), addr: ([127, 0, 0, 1], *p).into() })
                .collect(),
        }
    }

    fn table(arms: Vec<Arm>) -> RouteTable {
        RouteTable {
            route: "shop.dev".into(),
            fence: 1,
            generation: 1,
            listen: Listen { addr: ([127, 0, 0, 1], 8080).into(), host: None },
            arms,
            closed_reason: None,
            sticky: None,
            testers: None,
            limits: Default::default(),
            block_ms: 1000,
        }
    }

    #[test]
    fn each_mistake_is_named() {
        let good = table(vec![arm("baseline", 9_000, &[1]), arm("canary", 1_000, &[2])]);
        assert_eq!(problems(&good, &BTreeMap::new()), Vec::<String>::new());
        type Break = fn(&mut RouteTable);
        #[rustfmt::skip]
        let cases: [(Break, &str); 13] = [
            (|t| t.route = "../etc".into(), "route `../etc` must be"),
            (|t| t.arms[0].weight = 8_000, "weights sum to 9000, expected 10000"),
            (|t| t.arms[1].name = "baseline".into(), "arm `baseline` is named twice"),
            (|t| t.arms[1].instances.clear(), "arm `canary` has weight 1000 and no instance"),
            (|t| t.arms[1].instances[0].instance = "i1".into(), "instance `i1` is named twice"),
            (|t| t.arms[1].instances[0].addr.set_port(1), "belongs to two instances"),
            (|t| t.testers = Some(HeaderRule { header: "x-t".into(), value: "1".into(), arm: "nine".into() }), "arm `nine`, which does not exist"),
            (|t| t.testers = Some(HeaderRule { header: "x t".into(), value: "1".into(), arm: "canary".into() }), "is not a header name"),
            (|t| t.sticky = Some(Sticky { cookie: "a=b".into() }), "is not a cookie name"),
            (|t| t.block_ms = 99, "block_ms is 99"),
            (|t| t.limits.connect_ms = 0, "limit connect_ms is 0"),
            (|t| t.listen.addr.set_port(0), "port 0"),
            (|t| t.listen.host = Some("a/b".into()), "bare host name"),
        ];
        for (spoil, expected) in cases {
            let mut bad = good.clone();
            spoil(&mut bad);
            let found = problems(&bad, &BTreeMap::new());
            assert_eq!(found.len(), 1, "{found:?}");
            assert!(found[0].contains(expected), "{found:?} lacks {expected}");
        }
    }

    #[test]
    fn routes_share_a_port_only_by_host() {
        let mut other = table(vec![]);
        other.route = "cart.dev".into();
        let others = BTreeMap::from([("cart.dev".to_owned(), other.clone())]);
        let mut mine = table(vec![]);
        assert!(problems(&mine, &others)[0].contains("belong to route `cart.dev`"));
        mine.listen.host = Some("shop.test".into());
        assert!(problems(&mine, &others).is_empty());
        other.listen.host = Some("SHOP.test".into());
        let others = BTreeMap::from([("cart.dev".to_owned(), other)]);
        assert!(problems(&mine, &others)[0].contains("host `shop.test`"));
    }
}

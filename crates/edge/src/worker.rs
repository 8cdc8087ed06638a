//! One worker: a thread with its own runtime, listeners, pools, counters and copy of the routing table.
//!
//! Nothing on a request's path is shared with other workers but the gauges. The keeper talks to a worker by [`Order`]s; a
//! worker that has answered one has already acted on it, which is what makes an acknowledged weight true.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, HashMap};
use std::net::{SocketAddr, TcpListener};
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use http::HeaderValue;
use humdrum_model::block::Cell as BlockCell;
use humdrum_model::name::Slot;
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;

use crate::count::{Count, Outcome, merge};
use crate::flight::{Cut, Drain, SWEEP, Wait, Waits};
use crate::gauge::Gauges;
use crate::pool::{Endpoint, Pool};
use crate::serve;
use crate::table::Plan;

/// Orders that may wait for a worker; the keeper waits when there are more.
const ORDERS_MAX: usize = 64;
/// After leaving began, a connection without a request is kept this long: the caller may be about to use it.
const LEAVING_IDLE: Duration = Duration::from_secs(5);

/// Log lines of one worker in a second; a failing service must not fill the disk.
const LOG_LINES: u32 = 5;

/// What the keeper asks of a worker. Every order is answered.
pub(crate) enum Order {
    /// Accept on this listener, too.
    Listen { addr: SocketAddr, listener: TcpListener, done: oneshot::Sender<()> },
    /// Stop accepting; connections go on. With an address only there.
    StopListening { addr: Option<SocketAddr>, done: oneshot::Sender<()> },
    /// Use this plan from now on, or forget the route. Answers what was counted under the former plan.
    Apply { route: String, plan: Option<Arc<Plan>>, done: oneshot::Sender<Vec<BlockCell>> },
    /// Answers what was counted since the last time.
    Take { route: String, done: oneshot::Sender<Vec<BlockCell>> },
    /// Answers end their connections; idle ones are closed after a while. Answers the open connections.
    Leave { done: oneshot::Sender<usize> },
}

/// The keeper's end of a worker.
#[derive(Debug)]
pub(crate) struct WorkerHandle {
    pub(crate) orders: mpsc::Sender<Order>,
}

/// Starts the thread of a worker.
pub(crate) fn start(index: usize, seed: u64) -> std::io::Result<WorkerHandle> {
    let (orders, inbox) = mpsc::channel(ORDERS_MAX);
    std::thread::Builder::new().name(format!("edge-{index}")).spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build_local(tokio::runtime::LocalOptions::default());
        match runtime {
            Ok(runtime) => runtime.block_on(Worker::new(seed).obey(inbox)),
            Err(error) => tracing::error!(%error, "cannot start the runtime of a worker"),
        }
    })?;
    Ok(WorkerHandle { orders })
}

/// One table on one worker, with the counters of its running block.
pub(crate) struct View {
    pub(crate) plan: Arc<Plan>,
    /// By index of [`Plan::endpoints`].
    pub(crate) endpoints: Vec<Rc<Endpoint>>,
    /// By index of [`Plan::arms`].
    pub(crate) drains: Vec<Rc<Drain>>,
    counts: RefCell<Vec<Count>>,
    /// Replaced by a newer table: late outcomes belong to that one's block.
    replaced: Cell<bool>,
}

impl View {
    fn take(&self) -> Vec<BlockCell> {
        self.counts.borrow_mut().iter_mut().map(Count::take).collect()
    }

    pub(crate) fn limits(&self) -> &humdrum_model::route::RouteLimits {
        &self.plan.table.limits
    }
}

/// The routes of one listening address.
#[derive(Default)]
pub(crate) struct Port {
    pub(crate) hosts: HashMap<String, Rc<View>>,
    pub(crate) rest: Option<Rc<View>>,
}

pub(crate) struct Worker {
    routes: RefCell<BTreeMap<String, Rc<View>>>,
    ports: RefCell<HashMap<SocketAddr, Rc<RefCell<Port>>>>,
    accepting: RefCell<Vec<(SocketAddr, CancellationToken)>>,
    /// Requests and tunnels that are open.
    pub(crate) flights: Rc<Waits>,
    /// Callers' connections.
    pub(crate) connections: Rc<Waits>,
    pub(crate) pool: Pool,
    drains: RefCell<BTreeMap<(String, String), Rc<Drain>>>,
    leaving: Cell<Option<Instant>>,
    seed: u64,
    requests: Cell<u64>,
    /// Lines that may still be logged in the second that began then.
    log: Cell<(Instant, u32)>,
}

impl Worker {
    fn new(seed: u64) -> Rc<Self> {
        Rc::new(Self {
            routes: RefCell::default(),
            ports: RefCell::default(),
            accepting: RefCell::default(),
            flights: Rc::default(),
            connections: Rc::default(),
            pool: Pool::default(),
            drains: RefCell::default(),
            leaving: Cell::new(None),
            seed,
            requests: Cell::new(0),
            log: Cell::new((Instant::now(), LOG_LINES)),
        })
    }

    /// Lives until the keeper drops its end.
    async fn obey(self: Rc<Self>, mut inbox: mpsc::Receiver<Order>) {
        let mut sweep = tokio::time::interval(SWEEP);
        sweep.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Skip);
        loop {
            tokio::select! {
                biased;
                order = inbox.recv() => match order {
                    Some(order) => self.act(order),
                    None => break,
                },
                _ = sweep.tick() => self.sweep(),
            }
        }
    }

    fn act(self: &Rc<Self>, order: Order) {
        // An answer that nobody waits for is an order of a keeper that is gone.
        match order {
            Order::Listen { addr, listener, done } => {
                self.listen(addr, listener);
                let _ = done.send(());
            }
            Order::StopListening { addr, done } => {
                self.stop_listening(addr);
                let _ = done.send(());
            }
            Order::Apply { route, plan, done } => {
                let _ = done.send(self.apply(&route, plan));
            }
            Order::Take { route, done } => {
                let view = self.routes.borrow().get(&route).cloned();
                let _ = done.send(view.map(|v| v.take()).unwrap_or_default());
            }
            Order::Leave { done } => {
                let _ = done.send(self.leave());
            }
        }
    }

    fn sweep(&self) {
        let now = Instant::now();
        self.flights.sweep(now);
        self.connections.sweep(now);
        self.pool.sweep(now);
        if self.leaving.get().is_some_and(|since| now - since > LEAVING_IDLE) {
            self.connections.cut_all(Cut::Leaving);
            self.leaving.set(Some(now));
        }
    }

    fn listen(self: &Rc<Self>, addr: SocketAddr, listener: TcpListener) {
        let token = CancellationToken::new();
        self.accepting.borrow_mut().push((addr, token.clone()));
        let port = self.ports.borrow_mut().entry(addr).or_default().clone();
        match listener
            .set_nonblocking(true)
            .and_then(|()| tokio::net::TcpListener::from_std(listener))
        {
            Ok(listener) => {
                drop(tokio::task::spawn_local(serve::accept(self.clone(), listener, port, token)))
            }
            Err(error) => tracing::error!(%addr, %error, "cannot accept connections"),
        }
    }

    fn stop_listening(&self, addr: Option<SocketAddr>) {
        self.accepting.borrow_mut().retain(|(at, token)| {
            let stop = addr.is_none_or(|a| a == *at);
            if stop {
                token.cancel();
            }
            !stop
        });
    }

    fn apply(&self, route: &str, plan: Option<Arc<Plan>>) -> Vec<BlockCell> {
        let view = plan.map(|plan| Rc::new(self.view(route, plan)));
        let former = match &view {
            Some(view) => self.routes.borrow_mut().insert(route.to_owned(), view.clone()),
            None => self.routes.borrow_mut().remove(route),
        };
        self.start_drains(route, former.as_deref(), view.as_deref());
        self.rebuild_ports();
        former.map_or_else(Vec::new, |former| {
            former.replaced.set(true);
            former.take()
        })
    }

    fn view(&self, route: &str, plan: Arc<Plan>) -> View {
        let drain = |deployment: &str| {
            let key = (route.to_owned(), deployment.to_owned());
            self.drains.borrow_mut().entry(key).or_default().clone()
        };
        View {
            endpoints: plan.endpoints.iter().map(|e| self.pool.endpoint(e.addr)).collect(),
            drains: plan.table.arms.iter().map(|a| drain(&a.deployment_id)).collect(),
            counts: RefCell::new(
                plan.endpoints
                    .iter()
                    .map(|e| {
                        Count::new(e.instance.clone(), plan.table.arms[e.arm].name.as_str().into())
                    })
                    .collect(),
            ),
            replaced: Cell::new(false),
            plan,
        }
    }

    /// Open requests of a deployment that has no weight any more get their deadline; one that has it again loses it.
    fn start_drains(&self, route: &str, former: Option<&View>, view: Option<&View>) {
        let used = |v: Option<&View>, id: &str| {
            v.is_some_and(|v| {
                let tester = v.plan.tester.as_ref().map(|t| t.arm);
                let mut arms = v.plan.table.arms.iter().enumerate();
                arms.any(|(at, a)| a.deployment_id == id && (a.weight > 0 || tester == Some(at)))
            })
        };
        let listed = |id: &str| {
            view.is_some_and(|v| v.plan.table.arms.iter().any(|a| a.deployment_id == id))
        };
        let drain_ms = view.or(former).map_or(0, |v| v.limits().drain_ms);
        let at = Instant::now() + Duration::from_millis(drain_ms);
        let mut drains = self.drains.borrow_mut();
        for ((of, id), drain) in drains.iter() {
            if of == route && used(view, id) {
                drain.cancel();
            } else if of == route && (used(former, id) || !listed(id)) {
                drain.start(at);
            }
        }
        // Nobody holds it but this table: no view and no open request.
        drains.retain(|_, drain| Rc::strong_count(drain) > 1);
    }

    fn rebuild_ports(&self) {
        let ports = self.ports.borrow();
        for port in ports.values() {
            *port.borrow_mut() = Port::default();
        }
        drop(ports);
        for view in self.routes.borrow().values() {
            let listen = &view.plan.table.listen;
            let port = self.ports.borrow_mut().entry(listen.addr).or_default().clone();
            let mut port = port.borrow_mut();
            match &listen.host {
                Some(host) => drop(port.hosts.insert(host.to_ascii_lowercase(), view.clone())),
                None => port.rest = Some(view.clone()),
            }
        }
    }

    fn leave(&self) -> usize {
        if self.leaving.get().is_none() {
            self.leaving.set(Some(Instant::now()));
        }
        self.connections.len() + self.flights.len()
    }

    pub(crate) fn is_leaving(&self) -> bool {
        self.leaving.get().is_some()
    }

    /// The table of a route that is in force now.
    pub(crate) fn current(&self, route: &str) -> Option<Rc<View>> {
        self.routes.borrow().get(route).cloned()
    }

    /// The newest view of the same route, which is `view` itself unless a table came since.
    #[inline]
    pub(crate) fn newest(&self, view: &Rc<View>) -> Option<Rc<View>> {
        if view.replaced.get() { self.current(&view.plan.table.route) } else { Some(view.clone()) }
    }

    /// Counts how a request ended, in the block that is running now.
    #[inline]
    pub(crate) fn count(&self, view: &Rc<View>, endpoint: usize, outcome: Outcome) {
        if !view.replaced.get() {
            view.counts.borrow_mut()[endpoint].add(outcome);
            return;
        }
        let Some(current) = self.current(&view.plan.table.route) else { return };
        let former = &view.counts.borrow()[endpoint];
        let mut counts = current.counts.borrow_mut();
        match counts.iter_mut().find(|c| c.instance == former.instance && c.arm == former.arm) {
            Some(count) => count.add(outcome),
            None => {
                let mut count = Count::new(former.instance.clone(), former.arm.clone());
                count.add(outcome);
                counts.push(count);
            }
        }
    }

    /// Whether one more line may be logged now.
    pub(crate) fn may_log(&self) -> bool {
        let (since, left) = self.log.get();
        let fresh = since.elapsed() >= Duration::from_secs(1);
        let (since, left) = if fresh { (Instant::now(), LOG_LINES) } else { (since, left) };
        self.log.set((since, left.saturating_sub(1)));
        left > 0
    }

    /// A name for a request that came without one: unique within this process and unlikely elsewhere.
    pub(crate) fn request_id(&self) -> HeaderValue {
        let n = self.requests.get();
        self.requests.set(n.wrapping_add(1));
        let mut text = [0; 32];
        hex_into(&mut text[..16], self.seed);
        hex_into(&mut text[16..], n);
        HeaderValue::from_bytes(&text).expect("hex digits are visible ASCII")
    }
}

fn hex_into(text: &mut [u8], number: u64) {
    for (at, digit) in text.iter_mut().enumerate() {
        *digit = b"0123456789abcdef"[(number >> (60 - 4 * at) & 15) as usize];
    }
}

/// Adds up what several workers counted.
pub(crate) fn merged(parts: Vec<Vec<BlockCell>>) -> Vec<BlockCell> {
    let mut all = Vec::new();
    parts.into_iter().for_each(|part| merge(&mut all, part));
    all
}

/// An open request or tunnel at an instance: seen in the gauges and reachable for deadlines.
pub(crate) struct Flight {
    pub(crate) wait: Wait,
    gauges: Arc<Gauges>,
    slot: Slot,
}

impl Flight {
    pub(crate) fn new(worker: &Worker, view: &View, arm: usize) -> Self {
        let slot = view.plan.table.arms[arm].slot;
        view.plan.gauges.enter(slot);
        Self {
            wait: worker.flights.enter(Some(view.drains[arm].clone())),
            gauges: view.plan.gauges.clone(),
            slot,
        }
    }
}

impl Drop for Flight {
    fn drop(&mut self) {
        self.gauges.leave(self.slot);
    }
}

/// A connection of a caller, as its requests see it.
pub(crate) struct Session {
    pub(crate) caller: crate::head::Caller,
    pub(crate) wait: Wait,
    pub(crate) open: Cell<u32>,
    pub(crate) idle: Cell<Duration>,
}

/// Held while a request of a connection is open, so that the connection does not count as idle.
pub(crate) struct Busy(Rc<Session>);

impl Busy {
    pub(crate) fn new(session: &Rc<Session>) -> Self {
        session.open.set(session.open.get() + 1);
        session.wait.until(None);
        Self(session.clone())
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        let open = self.0.open.get() - 1;
        self.0.open.set(open);
        if open == 0 {
            self.0.wait.until(Some((Instant::now() + self.0.idle.get(), Cut::Idle)));
        }
    }
}

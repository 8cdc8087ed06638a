//! The one owner of tables, listeners and blocks. It decides what workers use and seals what they counted.
//!
//! `select!` is used in [`Keeper::run`]: a question, the next moment something is due, or the end.

use std::collections::BTreeMap;
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use humdrum_model::block::{Block, Cell};
use humdrum_model::name::Slot;
use humdrum_model::route::{RouteConflict, RouteStatus, RouteTable};
use tokio::sync::{mpsc, oneshot, watch};
use tokio_util::sync::CancellationToken;

use crate::EdgeError;
use crate::blocklog::BlockLog;
use crate::count::merge;
use crate::disk::{self, DiskError, Stored};
use crate::gauge::Gauges;
use crate::handover::{self, Frame};
use crate::listeners::{self, Listeners};
use crate::metrics::Metrics;
use crate::table::{self, Plan, ROUTES_MAX};
use crate::worker::{Order, WorkerHandle, merged};

/// How often a port that was taken is tried again, and how often a leaving process looks whether it is done.
const RETRY: Duration = Duration::from_millis(500);
const LEAVING_LOOK: Duration = Duration::from_millis(50);

/// Why a table was not accepted.
#[derive(Debug)]
pub(crate) enum PutError {
    Older(RouteConflict),
    Problems(Vec<String>),
    Disk(DiskError),
    /// This process hands over or ends; the next one answers.
    Leaving,
    Gone,
}

/// JSON lines of blocks, and a bell that rings when more are sealed.
pub(crate) type Page = (Vec<String>, watch::Receiver<u64>);

/// Questions of the admin socket. Each is answered.
pub(crate) enum Ask {
    Put {
        table: Box<RouteTable>,
        reply: oneshot::Sender<Result<RouteStatus, PutError>>,
    },
    Delete {
        route: String,
        fence: u64,
        generation: u64,
        reply: oneshot::Sender<Result<(), PutError>>,
    },
    Routes {
        reply: oneshot::Sender<Vec<RouteStatus>>,
    },
    Blocks {
        route: String,
        after: u64,
        limit: usize,
        reply: oneshot::Sender<Option<Result<Page, DiskError>>>,
    },
    Metrics {
        reply: oneshot::Sender<String>,
    },
    HandOver {
        stream: UnixStream,
    },
    /// Counts of the process that handed over to this one.
    Late {
        route: String,
        cells: Vec<Cell>,
    },
}

/// A route that is served.
struct Kept {
    plan: Arc<Plan>,
    log: BlockLog,
    start_ms: i64,
    started: Instant,
    /// When the running block is full.
    next: Instant,
    late: Vec<Cell>,
    sealed: watch::Sender<u64>,
}

/// Whether the admin socket accepts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Door {
    Open,
    /// Perhaps only for a moment.
    Shut,
    Gone,
}

enum Phase {
    Serving,
    /// Finishing what is open; with the successor, if there is one.
    Leaving {
        until: Instant,
        heir: Option<UnixStream>,
    },
}

pub(crate) struct Keeper {
    tables: PathBuf,
    blocks: PathBuf,
    boot: u64,
    /// Lock of the data folder and admin socket, while they are ours.
    own: Option<(OwnedFd, OwnedFd)>,
    pub(crate) door: watch::Sender<Door>,
    workers: Vec<WorkerHandle>,
    listeners: Listeners,
    stored: BTreeMap<String, Stored>,
    kept: BTreeMap<String, Kept>,
    metrics: Metrics,
    phase: Phase,
}

/// What a keeper starts with.
pub(crate) struct Start {
    pub(crate) data: PathBuf,
    pub(crate) boot: u64,
    pub(crate) lock: OwnedFd,
    pub(crate) admin: OwnedFd,
    pub(crate) workers: Vec<WorkerHandle>,
    /// Listeners of the process that handed over; `None` on a fresh start, which leaves a gap in the blocks.
    pub(crate) inherited: Option<Listeners>,
}

impl Keeper {
    /// Reads the tables and puts them to work.
    pub(crate) async fn open(start: Start) -> Result<Self, EdgeError> {
        let tables = start.data.join("routes");
        let blocks = start.data.join("blocks");
        disk::folder(&tables)?;
        disk::folder(&blocks)?;
        let fresh = start.inherited.is_none();
        let mut keeper = Self {
            boot: start.boot,
            own: Some((start.lock, start.admin)),
            door: watch::Sender::new(Door::Open),
            workers: start.workers,
            listeners: start.inherited.unwrap_or_default(),
            stored: disk::load(&tables)?.into_iter().map(|s| (s.route.clone(), s)).collect(),
            kept: BTreeMap::new(),
            metrics: Metrics::default(),
            phase: Phase::Serving,
            tables,
            blocks,
        };
        let known: Vec<RouteTable> =
            keeper.stored.values().filter_map(|s| s.table.clone()).collect();
        for table in known {
            keeper.adopt(table, fresh).await?;
        }
        // Workers know every table before the first inherited connection is accepted.
        keeper.listeners.start_all(&keeper.workers).await;
        keeper.bind().await;
        Ok(keeper)
    }

    /// Answers questions and seals blocks until it is told to end and nothing is open any more.
    pub(crate) async fn run(
        mut self,
        mut inbox: mpsc::Receiver<Ask>,
        shutdown: CancellationToken,
    ) -> Result<(), EdgeError> {
        let mut retry = Instant::now() + RETRY;
        // While leaving, the admin socket is gone and with it everyone who asks; open requests are not.
        let mut asked = true;
        loop {
            let leaving = matches!(self.phase, Phase::Leaving { .. });
            let due = if leaving { Instant::now() + LEAVING_LOOK } else { self.next_due(retry) };
            tokio::select! {
                ask = inbox.recv(), if asked => match ask {
                    Some(ask) => self.answer(ask).await?,
                    None => asked = false,
                },
                () = tokio::time::sleep_until(due.into()) => {
                    if leaving && self.left().await? {
                        return Ok(());
                    }
                    if !leaving {
                        self.seal_due().await?;
                    }
                    if retry <= Instant::now() {
                        retry = Instant::now() + RETRY;
                        self.bind().await;
                    }
                }
                () = shutdown.cancelled(), if !leaving => self.leave(None).await?,
            }
        }
    }

    fn next_due(&self, retry: Instant) -> Instant {
        let seal = self.kept.values().map(|k| k.next).min();
        let retry = self.listeners.has_problems().then_some(retry);
        seal.into_iter()
            .chain(retry)
            .min()
            .unwrap_or_else(|| Instant::now() + Duration::from_secs(3600))
    }

    async fn answer(&mut self, ask: Ask) -> Result<(), EdgeError> {
        // A reply that nobody waits for belongs to a caller that left.
        match ask {
            Ask::Put { table, reply } => {
                let result = self.put(*table).await;
                let _ = reply.send(fatal(result)?);
            }
            Ask::Delete { route, fence, generation, reply } => {
                let result = self.delete(&route, fence, generation).await;
                let _ = reply.send(fatal(result)?);
            }
            Ask::Routes { reply } => {
                let _ = reply.send(self.kept.keys().map(|route| self.status(route)).collect());
            }
            Ask::Blocks { route, after, limit, reply } => {
                let page = self
                    .kept
                    .get(&route)
                    .map(|kept| Ok((kept.log.after(after, limit)?, kept.sealed.subscribe())));
                let _ = reply.send(page);
            }
            Ask::Metrics { reply } => {
                let _ = reply.send(self.metrics.page(&self.in_flight()));
            }
            Ask::HandOver { stream } => self.hand_over(stream).await?,
            Ask::Late { route, cells } => {
                if let Some(kept) = self.kept.get_mut(&route) {
                    merge(&mut kept.late, cells);
                }
            }
        }
        Ok(())
    }

    fn in_flight(&self) -> Vec<(String, String, u32)> {
        let of = |(route, kept): (&String, &Kept)| {
            [Slot::A, Slot::B]
                .map(|s| (route.clone(), s.to_string(), kept.plan.gauges.flight(s, false).requests))
        };
        self.kept.iter().flat_map(of).collect()
    }

    fn status(&self, route: &str) -> RouteStatus {
        let kept = &self.kept[route];
        let table = &kept.plan.table;
        let weighted = |slot| table.arms.iter().any(|a| a.slot == slot && a.weight > 0);
        RouteStatus {
            route: route.to_owned(),
            fence: table.fence,
            generation: table.generation,
            in_flight: [Slot::A, Slot::B].map(|s| kept.plan.gauges.flight(s, weighted(s))).into(),
            problem: self.listeners.problem(&table.listen.addr).cloned(),
        }
    }

    /// Checks, keeps on disk and puts to work, in this order. Answers only after every worker uses the table.
    async fn put(&mut self, table: RouteTable) -> Result<RouteStatus, PutError> {
        if matches!(self.phase, Phase::Leaving { .. }) {
            return Err(PutError::Leaving);
        }
        if let Some(known) = self.stored.get(&table.route) {
            let same = known.table.as_ref() == Some(&table);
            refuse_older(known, table.fence, table.generation, same)?;
            if same {
                return Ok(self.status(&table.route));
            }
        }
        let mut problems = table::problems(&table, &self.tables_in_use());
        if self.stored.len() >= ROUTES_MAX && !self.stored.contains_key(&table.route) {
            problems.push(format!("the edge has {ROUTES_MAX} routes already"));
        }
        if !problems.is_empty() {
            return Err(PutError::Problems(problems));
        }
        let route = table.route.clone();
        self.remember(Stored {
            route: route.clone(),
            fence: table.fence,
            generation: table.generation,
            table: Some(table.clone()),
        })?;
        match self.kept.get(&route) {
            Some(_) => self.replace(table).await?,
            None => self.adopt(table, true).await.map_err(|e| match e {
                EdgeError::Disk(error) => PutError::Disk(error),
                _ => PutError::Gone,
            })?,
        }
        self.bind().await;
        Ok(self.status(&route))
    }

    async fn delete(&mut self, route: &str, fence: u64, generation: u64) -> Result<(), PutError> {
        if matches!(self.phase, Phase::Leaving { .. }) {
            return Err(PutError::Leaving);
        }
        let Some(known) = self.stored.get(route) else { return Ok(()) };
        refuse_older(known, fence, generation, known.table.is_none())?;
        self.remember(Stored { route: route.to_owned(), fence, generation, table: None })?;
        if self.kept.contains_key(route) {
            let cells = self.apply(route, None).await?;
            self.seal(route, cells);
            self.kept.remove(route);
            self.bind().await;
        }
        Ok(())
    }

    fn tables_in_use(&self) -> BTreeMap<String, RouteTable> {
        self.kept.iter().map(|(route, kept)| (route.clone(), kept.plan.table.clone())).collect()
    }

    fn remember(&mut self, stored: Stored) -> Result<(), PutError> {
        disk::save(&self.tables, &stored).map_err(PutError::Disk)?;
        self.stored.insert(stored.route.clone(), stored);
        Ok(())
    }

    /// Begins to serve a route. Time since its last block, if it has one, is a gap.
    async fn adopt(&mut self, table: RouteTable, fresh: bool) -> Result<(), EdgeError> {
        let route = table.route.clone();
        let (mut log, newest) = BlockLog::open(self.blocks.join(&route))?;
        let mut start_ms = now_ms();
        if let Some(last) = newest {
            let end = last.start_ms + i64::from(last.length_ms);
            if fresh {
                let length_ms = u32::try_from((start_ms - end).max(0)).unwrap_or(u32::MAX);
                let (number, fence, generation) = (last.number + 1, table.fence, table.generation);
                let cells = vec![];
                log.append(&Block {
                    route: route.clone(),
                    number,
                    start_ms: end,
                    length_ms,
                    fence,
                    generation,
                    gap: true,
                    cells,
                });
            } else {
                start_ms = end;
            }
        }
        let block_ms = table.block_ms;
        let plan = Arc::new(Plan::new(table, Arc::new(Gauges::new())));
        let started = Instant::now();
        let kept = Kept {
            sealed: watch::Sender::new(log.last()),
            plan: plan.clone(),
            log,
            start_ms,
            started: started
                .checked_sub(Duration::from_millis((now_ms() - start_ms).max(0) as u64))
                .unwrap_or(started),
            next: full_at(block_ms),
            late: vec![],
        };
        self.kept.insert(route.clone(), kept);
        self.apply(&route, Some(plan)).await.map_err(|_| EdgeError::WorkerDied)?;
        Ok(())
    }

    async fn replace(&mut self, table: RouteTable) -> Result<(), PutError> {
        let route = table.route.clone();
        let former = self.kept[&route].plan.clone();
        let plan = Arc::new(Plan::new(table, former.gauges.clone()));
        let cells = self.apply(&route, Some(plan.clone())).await?;
        self.seal(&route, cells);
        for slot in [Slot::A, Slot::B] {
            let weight = |p: &Plan| {
                p.table.arms.iter().filter(|a| a.slot == slot).map(|a| a.weight).sum::<u32>()
            };
            if weight(&former) > 0 && weight(&plan) == 0 {
                plan.gauges.lost_weight(slot);
            }
        }
        let kept = self.kept.get_mut(&route).expect("the route was there a moment ago");
        kept.next = full_at(plan.table.block_ms);
        kept.plan = plan;
        Ok(())
    }

    /// Has every worker use the plan and answers what they counted before.
    async fn apply(&self, route: &str, plan: Option<Arc<Plan>>) -> Result<Vec<Cell>, PutError> {
        let order = |done| Order::Apply { route: route.to_owned(), plan: plan.clone(), done };
        self.collect(order).await.map(merged).ok_or(PutError::Gone)
    }

    /// Gives the same order to all workers at once and waits for all answers.
    async fn collect<T>(&self, order: impl Fn(oneshot::Sender<T>) -> Order) -> Option<Vec<T>> {
        let mut answers = Vec::new();
        for worker in &self.workers {
            let (done, answer) = oneshot::channel();
            worker.orders.send(order(done)).await.ok()?;
            answers.push(answer);
        }
        let mut all = Vec::new();
        for answer in answers {
            all.push(answer.await.ok()?);
        }
        Some(all)
    }

    async fn seal_due(&mut self) -> Result<(), EdgeError> {
        let now = Instant::now();
        let due: Vec<String> =
            self.kept.iter().filter(|(_, k)| k.next <= now).map(|(r, _)| r.clone()).collect();
        for route in due {
            self.seal_now(&route).await?;
        }
        Ok(())
    }

    async fn seal_now(&mut self, route: &str) -> Result<(), EdgeError> {
        let order = |done| Order::Take { route: route.to_owned(), done };
        let cells = self.collect(order).await.map(merged).ok_or(EdgeError::WorkerDied)?;
        self.seal(route, cells);
        let kept = self.kept.get_mut(route).expect("a due route is served");
        kept.next = full_at(kept.plan.table.block_ms);
        Ok(())
    }

    /// Ends the running block with these counts and begins the next one.
    fn seal(&mut self, route: &str, mut cells: Vec<Cell>) {
        let kept = self.kept.get_mut(route).expect("only served routes are sealed");
        merge(&mut cells, std::mem::take(&mut kept.late));
        let table = &kept.plan.table;
        let block = Block {
            route: route.to_owned(),
            number: kept.log.last() + 1,
            start_ms: kept.start_ms,
            length_ms: u32::try_from(kept.started.elapsed().as_millis()).unwrap_or(u32::MAX),
            fence: table.fence,
            generation: table.generation,
            gap: false,
            cells,
        };
        self.metrics.add(&block, table);
        kept.start_ms += i64::from(block.length_ms);
        kept.started += Duration::from_millis(u64::from(block.length_ms));
        // A step of the clock moves the following blocks, never the length of this one.
        if (now_ms() - kept.start_ms).abs() > 1_000 {
            (kept.start_ms, kept.started) = (now_ms(), Instant::now());
        }
        kept.log.append(&block);
        kept.sealed.send_replace(block.number);
    }

    async fn bind(&mut self) {
        if matches!(self.phase, Phase::Leaving { .. }) {
            return;
        }
        let wanted: Vec<_> = self.kept.values().map(|k| k.plan.table.listen.addr).collect();
        self.listeners.want(&wanted, &self.workers).await;
    }

    /// Gives everything to another process, or goes on as before when that does not get ready.
    async fn hand_over(&mut self, stream: UnixStream) -> Result<(), EdgeError> {
        if matches!(self.phase, Phase::Leaving { .. }) {
            return Ok(()); // Dropping the connection is the answer.
        }
        self.door.send_replace(Door::Shut);
        listeners::stop(None, &self.workers).await;
        let routes: Vec<String> = self.kept.keys().cloned().collect();
        for route in routes {
            self.seal_now(&route).await?;
        }
        match self.give(&stream) {
            Ok(()) => {
                tracing::info!("handed over; finishing what is open");
                self.leave(Some(stream)).await
            }
            Err(error) => {
                tracing::error!(%error, "the hand-over failed; going on");
                self.door.send_replace(Door::Open);
                self.listeners.start_all(&self.workers).await;
                Ok(())
            }
        }
    }

    fn give(&self, stream: &UnixStream) -> std::io::Result<()> {
        stream.set_nonblocking(false)?;
        stream.set_read_timeout(Some(handover::WAIT))?;
        stream.set_write_timeout(Some(handover::WAIT))?;
        let Some((lock, admin)) = &self.own else {
            return Err(std::io::Error::other("already given away"));
        };
        let begin = Frame::Begin { version: env!("CARGO_PKG_VERSION").into(), boot: self.boot };
        handover::give(stream, &begin, lock.as_fd(), admin.as_fd(), &self.listeners.copies()?)
    }

    async fn leave(&mut self, heir: Option<UnixStream>) -> Result<(), EdgeError> {
        self.door.send_replace(Door::Gone);
        if heir.is_some() {
            // The successor has them. If it dies, the next process must not find an ear that nobody listens with.
            self.own = None;
        }
        listeners::stop(None, &self.workers).await;
        self.listeners.close();
        let drain_ms = self.kept.values().map(|k| k.plan.table.limits.drain_ms).max().unwrap_or(0);
        self.phase =
            Phase::Leaving { until: Instant::now() + Duration::from_millis(drain_ms), heir };
        Ok(())
    }

    /// Whether everything that was open is finished or out of time. Passes counts to the successor or to the last block.
    async fn left(&mut self) -> Result<bool, EdgeError> {
        let open = self.collect(|done| Order::Leave { done }).await.ok_or(EdgeError::WorkerDied)?;
        let Phase::Leaving { until, heir } = &self.phase else { return Ok(false) };
        let over = open.iter().sum::<usize>() == 0 || *until <= Instant::now();
        let Some(heir) = heir.as_ref().map(UnixStream::try_clone) else {
            if over {
                let routes: Vec<String> = self.kept.keys().cloned().collect();
                for route in routes {
                    self.seal_now(&route).await?;
                }
            }
            return Ok(over);
        };
        let routes: Vec<String> = self.kept.keys().cloned().collect();
        for route in &routes {
            let order = |done| Order::Take { route: route.clone(), done };
            let mut cells = self.collect(order).await.map(merged).ok_or(EdgeError::WorkerDied)?;
            let kept = self.kept.get_mut(route).expect("a listed route is served");
            merge(&mut cells, std::mem::take(&mut kept.late));
            cells.retain(|c| c.requests > 0);
            if !cells.is_empty() {
                let frame = Frame::Late { route: route.clone(), cells };
                let sent = heir.as_ref().map_err(|e| std::io::Error::from(e.kind()));
                if let Err(error) = sent.and_then(|s| handover::send(s, &frame, &[])) {
                    tracing::warn!(%error, "late counts could not be passed on");
                }
            }
        }
        Ok(over)
    }
}

/// A dead worker ends the process, so that its supervisor starts a whole one.
fn fatal<T>(result: Result<T, PutError>) -> Result<Result<T, PutError>, EdgeError> {
    match result {
        Err(PutError::Gone) => Err(EdgeError::WorkerDied),
        other => Ok(other),
    }
}

fn refuse_older(known: &Stored, fence: u64, generation: u64, same: bool) -> Result<(), PutError> {
    let newer = (fence, generation) > (known.fence, known.generation);
    if newer || (same && (fence, generation) == (known.fence, known.generation)) {
        return Ok(());
    }
    Err(PutError::Older(RouteConflict {
        route: known.route.clone(),
        fence: known.fence,
        generation: known.generation,
    }))
}

/// The next multiple of the block length on the clock, so that blocks of several routes and edges line up.
fn full_at(block_ms: u32) -> Instant {
    let into = now_ms().rem_euclid(i64::from(block_ms)) as u64;
    Instant::now() + Duration::from_millis(u64::from(block_ms) - into)
}

fn now_ms() -> i64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    since.map_or(0, |d| d.as_millis() as i64)
}

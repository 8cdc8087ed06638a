//! Control as a process: store, registry, engine, watchers and the API, put together.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use humdrum_adapters::routers::edge::Edge;
use humdrum_adapters::targets::agent::Agent;
use humdrum_api::App;
use humdrum_api::governor::Governor;
use humdrum_api::publish::InProcess;
use humdrum_build::builder::Builder;
use humdrum_control::advisories::Advisories;
use humdrum_control::allocate::Allocator;
use humdrum_control::chores::keep_collecting;
use humdrum_control::engine::Engine;
use humdrum_control::facts::Gatherer;
use humdrum_control::scans::Matcher;
use humdrum_control::watch::{Boards, Watch};
use humdrum_control::workshop::local::Local;
use humdrum_control::world::real::Real;
use humdrum_evidence::provenance::BuilderMode;
use humdrum_jail::Launcher;
use humdrum_model::hold::HoldBook;
use humdrum_model::run::{HOLDS_RUN, State, WAIVERS_RUN};
use humdrum_model::settings::Settings;
use humdrum_model::waiver::WaiverBook;
use humdrum_policy::worker::Evaluator;
use humdrum_registry::lifecycle::Lifecycle;
use humdrum_registry::lifecycle::pulls::{LOOKING, PullTimes};
use humdrum_registry::observer::Silent;
use humdrum_registry::rights::{Governed, InForce, tag_policy};
use humdrum_registry::{Auth, Registry, RegistryState, SingleCredential};
use humdrum_store::blobs::History;
use humdrum_store::{Store, open};
use tokio::net::TcpListener;
use tokio::sync::OnceCell;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::{secrets, until_signal};
use crate::exit::{Exit, Failure, Outcome};
use crate::places::{Places, unusable};

/// The one user of the embedded registry; its password is the API token.
pub(crate) const REGISTRY_USER: &str = "humdrum";
/// Tried first; another free port is kept when this one is taken at the very first start.
const PORT: u16 = 7070;
/// After the stop was asked for, runs come to rest within this.
const REST: std::time::Duration = std::time::Duration::from_secs(5);

pub(crate) fn control(places: &Places, listen: Option<SocketAddr>) -> Outcome {
    super::log();
    places.make()?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .max_blocking_threads(16)
        .enable_all()
        .build();
    let runtime = runtime.map_err(|error| {
        Failure::new(Exit::Failed, "runtime", "no runtime can be made").cause(&error)
    })?;
    runtime.block_on(serve(places, listen))?;
    Ok(Exit::Ok)
}

async fn serve(places: &Places, listen: Option<SocketAddr>) -> Result<(), Failure> {
    let opened = open(&places.control()).map_err(|error| {
        Failure::new(Exit::Failed, "store", "the data folder cannot be used")
            .cause(&error)
            .at(places.control().display().to_string())
            .next(error.hint())
    })?;
    let store: Arc<dyn Store> = Arc::new(opened.store);
    let listener = bind(places, listen).await?;
    let addr = listener.local_addr().map_err(|error| unusable(&places.address(), &error))?;
    let token = secrets::token(places)?;
    secrets::make_signing_key(places)?;
    let settings = InForce::new(settings(places)?);
    let history = history(places)?;
    let registry = registry(places, &settings, &history)?;
    let stop = CancellationToken::new();
    let tracker = TaskTracker::new();
    let parts = Parts::new(places, store, &registry, &settings, addr, opened.boot_epoch, &stop)?;
    start(&parts).await?;
    let watch = Watch {
        engine: parts.engine.clone(),
        target: parts.target.clone(),
        router: parts.router.clone(),
        boards: parts.boards.clone(),
        stop: stop.clone(),
    };
    watch.start(&tracker);
    let governor = Arc::new(Governor::new(
        settings.clone(),
        places.settings(),
        Lifecycle::new(registry.acting_for("lifecycle"), history.clone(), settings.clone()),
        parts.engine.clone(),
    ));
    let (daily, until) = (governor.clone(), stop.clone());
    tracker.spawn(async move { daily.daily(until).await });
    let garbage = parts.artifacts.clone();
    tracker.spawn(keep_collecting(parts.engine.store().clone(), garbage, stop.clone()));
    let app = App {
        governor,
        engine: parts.engine.clone(),
        boards: parts.boards.clone(),
        target: parts.target.clone(),
        router: parts.router.clone(),
        artifacts: parts.artifacts.clone(),
        gatherer: parts.gatherer.clone(),
        logs: parts.workshop.clone(),
        registry: registry.clone(),
        token: token.as_str().into(),
        version: env!("CARGO_PKG_VERSION"),
    };
    let owner = Arc::new(SingleCredential::new(REGISTRY_USER, &token));
    let auth = Auth::new(
        Arc::new(Governed::new(owner, settings, history)),
        secrets::registry_key(places)?,
        "humdrum",
    );
    let router =
        humdrum_api::router(app, humdrum_registry::router(RegistryState::new(registry, auth)));
    keep_address(places, addr)?;
    tracing::info!(%addr, boot = opened.boot_epoch, "control works");
    let signalled = stop.clone();
    tracker.spawn(until_signal(signalled));
    let served =
        axum::serve(listener, router).with_graceful_shutdown(stop.clone().cancelled_owned()).await;
    stop.cancel();
    tracker.close();
    let _ = tokio::time::timeout(REST, async {
        parts.engine.stopped().await;
        tracker.wait().await;
    })
    .await;
    served.map_err(|error| {
        Failure::new(Exit::Failed, "serve", "the API cannot be served").cause(&error)
    })
}

/// Everything that works behind the API.
struct Parts {
    engine: Engine,
    boards: Boards,
    target: Arc<Agent>,
    router: Arc<Edge>,
    artifacts: Arc<InProcess>,
    gatherer: Arc<Gatherer>,
    workshop: Arc<Local>,
}

impl Parts {
    fn new(
        places: &Places,
        store: Arc<dyn Store>,
        registry: &Registry,
        settings: &InForce,
        addr: SocketAddr,
        boot: u64,
        stop: &CancellationToken,
    ) -> Result<Self, Failure> {
        let mode = BuilderMode::Local;
        let artifacts = Arc::new(InProcess(registry.acting_for(LOOKING)));
        let in_force = settings.clone();
        let gatherer = Arc::new(Gatherer {
            artifacts: artifacts.clone(),
            trust: secrets::trust(places)?,
            builders: vec![mode.builder_id()],
            policies: Evaluator::of_this_program(places.policies()),
            scan_mode: Box::new(move |environment| {
                let settings = in_force.get();
                let own = settings.environments.get(environment);
                own.map(|own| own.vulnerability_scan).unwrap_or_default().into()
            }),
            matcher: Matcher {
                advisories: Advisories::at(places.advisories()),
                trust: secrets::trust(places)?,
            },
        });
        let builder = Builder::new(Launcher::default(), places.builds().join("scratch"));
        let keys = places.clone();
        let key = Box::new(move || secrets::signing_key(&keys).map_err(|failure| failure.what));
        let workshop = Arc::new(Local::new(
            builder,
            artifacts.clone(),
            key,
            mode,
            env!("CARGO_PKG_VERSION"),
            &places.builds(),
            places.logs(),
        ));
        let (target, router) = (
            Arc::new(Agent::new(places.agent_socket())),
            Arc::new(Edge::new(places.edge_socket())),
        );
        let world = Arc::new(Real {
            target: target.clone(),
            router: router.clone(),
            gatherer: gatherer.clone(),
            workshop: workshop.clone(),
            allocator: Allocator::new(store.clone()),
            registry: addr.to_string(),
            root: rustix::process::geteuid().is_root(),
            engine: OnceCell::new(),
        });
        let engine = Engine::new(store, world.clone(), format!("control-{boot}"), stop.clone());
        let _ = world.engine.set(engine.clone());
        Ok(Self {
            engine,
            boards: Boards::default(),
            target,
            router,
            artifacts,
            gatherer,
            workshop,
        })
    }
}

async fn start(parts: &Parts) -> Result<(), Failure> {
    let failed = |error: humdrum_store::StoreError| {
        Failure::new(Exit::Failed, "store", "the runs cannot be taken up")
            .cause(&error)
            .next(error.hint().unwrap_or("humdrum doctor"))
    };
    parts.engine.start().await.map_err(failed)?;
    parts
        .engine
        .create(HOLDS_RUN, "holds", &State::Holds(HoldBook::default()))
        .await
        .map_err(failed)?;
    parts
        .engine
        .create(WAIVERS_RUN, "waivers", &State::Waivers(WaiverBook::default()))
        .await
        .map_err(failed)?;
    Ok(())
}

/// A file that somebody broke by hand stops control: going on without it would change who may do what.
fn settings(places: &Places) -> Result<Settings, Failure> {
    let path = places.settings();
    let text = match std::fs::read_to_string(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            return Ok(Settings::default());
        }
        Err(error) => return Err(unusable(&path, &error)),
    };
    let name = path.display().to_string();
    let ui = crate::ui::Ui::new(false);
    let parsed = Settings::parse(&text)
        .map_err(|problems| crate::commands::settings::broken(&name, &text, &problems, &ui))?;
    for warning in &parsed.warnings {
        tracing::warn!(line = warning.line, "{name}: {}", warning.message);
    }
    Ok(parsed.settings)
}

fn history(places: &Places) -> Result<Arc<History>, Failure> {
    let path = places.registry().join("history.db");
    let failed = |error: &dyn std::error::Error| {
        Failure::new(Exit::Failed, "registry", "the registry's folder cannot be used")
            .cause(error)
            .at(path.display().to_string())
            .next("humdrum doctor")
    };
    std::fs::create_dir_all(places.registry()).map_err(|error| failed(&error))?;
    History::open(&path).map(Arc::new).map_err(|error| failed(&error))
}

fn registry(
    places: &Places,
    settings: &InForce,
    history: &Arc<History>,
) -> Result<Registry, Failure> {
    let failed = |error: &dyn std::error::Error| {
        Failure::new(Exit::Failed, "registry", "the registry's folder cannot be used")
            .cause(error)
            .at(places.registry().display().to_string())
            .next("humdrum doctor")
    };
    let policy = tag_policy(settings.clone(), history.clone());
    let registry = Registry::open(&places.registry(), policy).map_err(|error| failed(&error))?;
    let pulls =
        PullTimes::start(history.clone(), Arc::new(Silent)).map_err(|error| failed(&error))?;
    Ok(registry.with_observer(Arc::new(pulls)))
}

/// The address is kept: instances and clients know it by heart.
async fn bind(places: &Places, listen: Option<SocketAddr>) -> Result<TcpListener, Failure> {
    let kept = std::fs::read_to_string(places.address())
        .ok()
        .and_then(|text| text.trim().parse::<SocketAddr>().ok());
    let wanted = listen.or(kept);
    let first = wanted.unwrap_or_else(|| SocketAddr::from((Ipv4Addr::LOCALHOST, PORT)));
    if !first.ip().is_loopback() {
        return Err(Failure::new(
            Exit::BadInput,
            "not-loopback",
            format!("{first} is no loopback address"),
        )
        .why("the API has no TLS yet and must not leave this machine")
        .next("humdrum up --listen 127.0.0.1:7070"));
    }
    match TcpListener::bind(first).await {
        Ok(listener) => Ok(listener),
        Err(_) if wanted.is_none() => {
            TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.map_err(|error| {
                Failure::new(Exit::Failed, "port-taken", "no port is free").cause(&error)
            })
        }
        Err(error) => {
            let what = format!("control cannot listen on {first}");
            Err(Failure::new(Exit::Failed, "port-taken", what).cause(&error).next(
                "free the port (`ss -ltnp`), or choose another: humdrum up --listen 127.0.0.1:PORT",
            ))
        }
    }
}

fn keep_address(places: &Places, addr: SocketAddr) -> Result<(), Failure> {
    let path = places.address();
    if std::fs::read_to_string(&path).is_ok_and(|text| text.trim() == addr.to_string()) {
        return Ok(());
    }
    let temporary = path.with_extension("new");
    std::fs::write(&temporary, addr.to_string())
        .and_then(|()| std::fs::rename(&temporary, &path))
        .map_err(|error| unusable(&path, &error))
}

//! Starts and ends the server.

use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt as _;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use operations::Fault;
use operations::config::Settings;
use repository::{Cancel, Clock, SystemClock};
use tokio::net::TcpListener;

use crate::access::{Sessions, Setup, Throttle, Tokens, Users};
use crate::answered::Answered;
use crate::audit::Audit;
use crate::bell::Bell;
use crate::database::Database;
use crate::journal::Journal;
use crate::known::Known;
use crate::metrics::AuditChecked;
use crate::runner::{Program, Runner};
use crate::scheduler::Scheduler;
use crate::shared::Shared;
use crate::tls::{Certificate, Door, Peer, with_tls};
use crate::{api, due, log, notify};

/// How long runs are given to end well when the server ends. Docker gives ten seconds.
const LAST_PATIENCE: Duration = Duration::from_secs(8);
/// Between two looks whether the server is to end.
const LOOK_AGAIN_AFTER: Duration = Duration::from_millis(100);

/// What the server starts with.
pub struct Start {
    /// The configuration.
    pub settings: Settings,
    /// The name of this host, by which schedules are spread.
    pub host: String,
    /// What does the runs.
    pub program: Program,
    /// Ends the server.
    pub cancel: Cancel,
}

/// Serves until it is cancelled.
///
/// # Errors
///
/// Where the state folder cannot be used, or the address is taken.
pub fn serve(start: Start) -> Result<(), Fault> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .map_err(|error| Fault::local("cannot start threads", error))?;
    runtime.block_on(run(start))
}

async fn run(start: Start) -> Result<(), Fault> {
    let Start { settings, host, program, cancel } = start;
    let certificate = settings.server.tls.as_ref().map(Certificate::read).transpose()?;
    let listener = bind(settings.server.listen).await?;
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let shared = open(settings, host, program, Arc::clone(&clock))?;
    tell_where(&shared, listener.local_addr().ok())?;
    shared.runner.take_over()?;
    let jobs = due::jobs(&shared.settings, &shared.host);
    log::line("info", &format!("{} jobs are scheduled", jobs.len()), &[]);
    let at_once = shared.settings.jobs.at_once;
    let scheduler = Scheduler::new(Arc::clone(&shared.runner), clock, at_once, jobs, shared.bell.clone());
    let scheduling = std::thread::spawn(move || scheduler.run());
    let asking = Bell::default();
    let asked = {
        let (shared, asking) = (Arc::clone(&shared), asking.clone());
        std::thread::spawn(move || shared.known.keep_asking(&shared.runner, &asking))
    };
    notify::start(&shared);
    let news = tokio::spawn(ask_again_after_runs(Arc::clone(&shared), asking.clone()));
    let ends = async move {
        while cancel.check().is_ok() {
            tokio::time::sleep(LOOK_AGAIN_AFTER).await;
        }
    };
    tokio::select! {
        served = answer(listener, certificate, api::router(Arc::clone(&shared))) => served?,
        () = ends => {}
    }
    log::line("info", "ends", &[]);
    shared.bell.end();
    asking.end();
    news.abort();
    let stopping = Arc::clone(&shared);
    // Nobody waits for threads that wait for others.
    let _ = tokio::task::spawn_blocking(move || stopping.runner.stop_all(LAST_PATIENCE)).await;
    drop((scheduling, asked));
    Ok(())
}

/// Answers requests, by TLS where there is a certificate.
async fn answer(listener: TcpListener, certificate: Option<Certificate>, router: Router) -> Result<(), Fault> {
    let served = match certificate {
        None => axum::serve(listener, router.into_make_service_with_connect_info::<SocketAddr>()).await,
        Some(certificate) => {
            let certificate = Arc::new(certificate);
            tokio::spawn(Arc::clone(&certificate).keep_looking());
            let door = Door::open(listener, certificate)?;
            axum::serve(door, with_tls(router).into_make_service_with_connect_info::<Peer>()).await
        }
    };
    served.map_err(|error| Fault::local("cannot answer requests", error))
}

async fn bind(address: SocketAddr) -> Result<TcpListener, Fault> {
    TcpListener::bind(address).await.map_err(|error| {
        Fault::local(format!("cannot listen on {address}"), error)
            .with_hint("another program may listen there: name another with `server: listen` in lifeboat.yaml")
    })
}

/// Opens all that requests are answered from.
pub(crate) fn open(
    settings: Settings,
    host: String,
    program: Program,
    clock: Arc<dyn Clock>,
) -> Result<Arc<Shared>, Fault> {
    let folder = settings.state_dir.join("server");
    // What is in it is for its owner alone: hashes of passwords and tokens, and names of files.
    std::fs::create_dir_all(&folder)
        .and_then(|()| std::fs::set_permissions(&folder, std::fs::Permissions::from_mode(0o700)))
        .map_err(|error| Fault::local(format!("cannot make {}", folder.display()), error))?;
    let database = Arc::new(Database::open(&folder.join("server.db"))?);
    let bell = Bell::default();
    let journal = Journal::new(Arc::clone(&database));
    let runner = Runner::new(journal, Arc::clone(&clock), program.clone(), folder.join("runs"), bell.clone())?;
    let is_tls =
        settings.server.tls.is_some() || settings.server.url.as_ref().is_some_and(|url| url.starts_with("https://"));
    Ok(Arc::new(Shared {
        host,
        runner: Arc::new(runner),
        known: Known::new(Arc::clone(&database), Arc::clone(&clock), program),
        users: Users::new(Arc::clone(&database)),
        sessions: Sessions::new(Arc::clone(&database), is_tls),
        tokens: Tokens::new(Arc::clone(&database)),
        setup: Setup::new(Arc::clone(&database)),
        throttle: Throttle::default(),
        audit: Audit::new(Arc::clone(&database)),
        audit_checked: AuditChecked::default(),
        answered: Answered::new(Arc::clone(&database)),
        database,
        bell,
        clock,
        settings,
    }))
}

/// Says where the server is reached; with the link for the first user, as long as there is none.
fn tell_where(shared: &Shared, listens: Option<SocketAddr>) -> Result<(), Fault> {
    let scheme = if shared.settings.server.tls.is_some() { "https" } else { "http" };
    let address = listens.unwrap_or(shared.settings.server.listen);
    let own = || format!("{scheme}://{address}");
    let url = shared.settings.server.url.clone().unwrap_or_else(own);
    log::line("info", &format!("listens on {url}"), &[]);
    if let Some(secret) = shared.setup.begin(shared.clock.now())? {
        let link = format!("{url}/setup?code={}", secret.text());
        log::line("info", &format!("there is no user yet: open {link} within a day to make the first admin"), &[]);
    }
    Ok(())
}

/// Whatever a run did, what is known is asked anew once it has ended.
async fn ask_again_after_runs(shared: Arc<Shared>, asking: Bell) {
    use crate::runner::News;
    use tokio::sync::broadcast::error::RecvError;
    let mut news = shared.runner.news();
    loop {
        match news.recv().await {
            Ok(News::Run(id)) => {
                let has_ended =
                    shared.runner.journal.run(&id).is_ok_and(|run| run.is_some_and(|run| run.status.is_end()));
                if has_ended {
                    asking.ring();
                }
            }
            Ok(_) => {}
            Err(RecvError::Lagged(_)) => asking.ring(),
            Err(RecvError::Closed) => return,
        }
    }
}

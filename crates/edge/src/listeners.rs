//! The listening sockets of the process: one for each address and worker (`SO_REUSEPORT`), kept open here while workers come and go.

use std::collections::BTreeMap;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::OwnedFd;

use socket2::{Domain, Protocol, Socket, Type};
use tokio::sync::oneshot;

use crate::worker::{Order, WorkerHandle};

/// Connections that may wait to be accepted by one worker; the kernel's own limit may be lower.
const BACKLOG: i32 = 4_096;

#[derive(Debug, Default)]
pub(crate) struct Listeners {
    open: BTreeMap<SocketAddr, Vec<TcpListener>>,
    problems: BTreeMap<SocketAddr, String>,
}

impl Listeners {
    /// Sockets that another process opened; used when a route wants their address.
    pub(crate) fn inherit(&mut self, inherited: Vec<(SocketAddr, Vec<OwnedFd>)>) {
        let sockets = |fds: Vec<OwnedFd>| fds.into_iter().map(TcpListener::from).collect();
        self.open.extend(inherited.into_iter().map(|(addr, fds)| (addr, sockets(fds))));
    }

    pub(crate) fn problem(&self, addr: &SocketAddr) -> Option<&String> {
        self.problems.get(addr)
    }

    pub(crate) fn has_problems(&self) -> bool {
        !self.problems.is_empty()
    }

    /// Makes the open addresses equal to the wanted ones; what cannot be bound is a problem and tried again later.
    pub(crate) async fn want(&mut self, wanted: &[SocketAddr], workers: &[WorkerHandle]) {
        let unwanted: Vec<SocketAddr> =
            self.open.keys().filter(|a| !wanted.contains(a)).copied().collect();
        for addr in unwanted {
            stop(Some(addr), workers).await;
            self.open.remove(&addr);
        }
        self.problems.retain(|addr, _| wanted.contains(addr));
        for addr in wanted {
            if self.open.contains_key(addr) {
                continue;
            }
            match (0..workers.len()).map(|_| bind(*addr)).collect::<io::Result<Vec<_>>>() {
                Ok(sockets) => {
                    self.problems.remove(addr);
                    self.open.insert(*addr, sockets);
                    self.start(*addr, workers).await;
                }
                Err(error) => {
                    if self
                        .problems
                        .insert(*addr, format!("cannot listen on {addr}: {error}"))
                        .is_none()
                    {
                        tracing::error!(%addr, %error, "cannot listen");
                    }
                }
            }
        }
    }

    /// Lets the workers accept on everything that is open.
    pub(crate) async fn start_all(&self, workers: &[WorkerHandle]) {
        for addr in self.open.keys() {
            self.start(*addr, workers).await;
        }
    }

    /// Each worker gets its share, also when another number of workers opened them.
    async fn start(&self, addr: SocketAddr, workers: &[WorkerHandle]) {
        for (at, socket) in self.open[&addr].iter().enumerate() {
            let listener = match socket.try_clone() {
                Ok(listener) => listener,
                Err(error) => {
                    tracing::error!(%addr, %error, "cannot share a listener with its worker");
                    continue;
                }
            };
            let (done, answer) = oneshot::channel();
            // A worker that is gone is noticed by the next order that needs its answer.
            let _ = workers[at % workers.len()]
                .orders
                .send(Order::Listen { addr, listener, done })
                .await;
            let _ = answer.await;
        }
    }

    /// Copies for another process.
    pub(crate) fn copies(&self) -> io::Result<Vec<(SocketAddr, Vec<TcpListener>)>> {
        let copy = |(addr, sockets): (&SocketAddr, &Vec<TcpListener>)| {
            let copies: io::Result<Vec<_>> = sockets.iter().map(TcpListener::try_clone).collect();
            copies.map(|c| (*addr, c))
        };
        self.open.iter().map(copy).collect()
    }

    pub(crate) fn close(&mut self) {
        self.open.clear();
    }
}

/// Stops accepting at one address or at all.
pub(crate) async fn stop(addr: Option<SocketAddr>, workers: &[WorkerHandle]) {
    for worker in workers {
        let (done, answer) = oneshot::channel();
        let _ = worker.orders.send(Order::StopListening { addr, done }).await;
        let _ = answer.await;
    }
}

fn bind(addr: SocketAddr) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(addr), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    socket.set_reuse_port(true)?;
    if addr.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    socket.bind(&addr.into())?;
    socket.listen(BACKLOG)?;
    socket.set_nonblocking(true)?;
    Ok(socket.into())
}

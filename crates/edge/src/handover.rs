//! Passing a running edge to a new process: frames with open sockets (`SCM_RIGHTS`) over an upgraded admin connection.
//!
//! The new process asks; the old one stops accepting, seals its blocks and sends lock, admin socket and listeners. Callers
//! that connect meanwhile wait in the listeners' queues, which belong to the kernel and go along. When the new process said
//! `ready`, the old one only finishes what is open and passes the late counts on. Without `ready` it simply goes on.

use std::io::{self, IoSlice, IoSliceMut, Read as _, Write as _};
use std::mem::MaybeUninit;
use std::net::SocketAddr;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use humdrum_model::block::Cell;
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, recvmsg, sendmsg,
};
use serde::{Deserialize, Serialize};

/// What the upgraded connection speaks.
pub(crate) const PROTOCOL: &str = "humdrum-handover";
/// Each side waits this long for the other; then the old one goes on as before.
pub(crate) const WAIT: Duration = Duration::from_secs(10);
/// Sockets of one frame; the kernel takes at most 253 (`SCM_MAX_FD`).
pub(crate) const SOCKETS_MAX: usize = 128;
/// Bytes of one frame: counts of a route with all instances and buckets fit.
const FRAME_MAX: usize = 8 << 20;
/// Bytes of the answer's head.
const HEAD_MAX: usize = 4 << 10;

/// What goes over the connection. Unknown kinds are refused: both processes are of neighbouring versions.
#[derive(Debug, Serialize, Deserialize)]
// Externally tagged: a tag inside would make serde forget that the keys of a histogram are numbers.
#[serde(rename_all = "snake_case")]
pub(crate) enum Frame {
    /// With the lock and the admin socket.
    Begin { version: String, boot: u64 },
    /// With the listeners of one address, one of each worker.
    Listeners { addr: SocketAddr },
    /// All was sent; every block that the old process knows is sealed.
    Sent,
    /// The new process accepts.
    Ready,
    /// Requests that ended in the old process after its last block.
    Late { route: String, cells: Vec<Cell> },
}

pub(crate) fn send(
    mut stream: &UnixStream,
    frame: &Frame,
    sockets: &[BorrowedFd<'_>],
) -> io::Result<()> {
    let json = serde_json::to_vec(frame).map_err(io::Error::other)?;
    let length = u32::try_from(json.len()).map_err(io::Error::other)?.to_be_bytes();
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(SOCKETS_MAX))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    if !sockets.is_empty() && !control.push(SendAncillaryMessage::ScmRights(sockets)) {
        return Err(io::Error::other(format!(
            "{} sockets are more than {SOCKETS_MAX}",
            sockets.len()
        )));
    }
    let sent = sendmsg(stream, &[IoSlice::new(&length)], &mut control, SendFlags::NOSIGNAL)?;
    stream.write_all(&length[sent..])?;
    stream.write_all(&json)
}

pub(crate) fn receive(mut stream: &UnixStream) -> io::Result<(Frame, Vec<OwnedFd>)> {
    let mut length = [0; 4];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(SOCKETS_MAX))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let got = recvmsg(
        stream,
        &mut [IoSliceMut::new(&mut length)],
        &mut control,
        RecvFlags::CMSG_CLOEXEC,
    )?;
    if got.bytes == 0 {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    let mut sockets = Vec::new();
    for message in control.drain() {
        if let RecvAncillaryMessage::ScmRights(fds) = message {
            sockets.extend(fds);
        }
    }
    stream.read_exact(&mut length[got.bytes..])?;
    let length = u32::from_be_bytes(length) as usize;
    if length > FRAME_MAX {
        return Err(io::Error::other(format!(
            "a frame of {length} bytes is longer than {FRAME_MAX}"
        )));
    }
    let mut json = vec![0; length];
    stream.read_exact(&mut json)?;
    Ok((serde_json::from_slice(&json).map_err(io::Error::other)?, sockets))
}

/// What a new process got from the old one.
#[derive(Debug)]
pub(crate) struct Inherited {
    pub(crate) stream: UnixStream,
    pub(crate) lock: OwnedFd,
    pub(crate) admin: OwnedFd,
    pub(crate) listeners: Vec<(SocketAddr, Vec<OwnedFd>)>,
}

/// Asks the running edge behind an admin socket to hand over.
pub(crate) fn ask(admin: &Path) -> io::Result<Inherited> {
    let mut stream = UnixStream::connect(admin)?;
    stream.set_read_timeout(Some(WAIT))?;
    stream.set_write_timeout(Some(WAIT))?;
    write!(
        stream,
        "POST /handover HTTP/1.1\r\nhost: edge\r\nconnection: upgrade\r\nupgrade: {PROTOCOL}\r\ncontent-length: 0\r\n\r\n"
    )?;
    let head = read_head(&mut stream)?;
    if !head.starts_with("HTTP/1.1 101") {
        let status = head.lines().next().unwrap_or_default().to_owned();
        return Err(io::Error::other(format!("the running edge refused to hand over: {status}")));
    }
    let (mut lock, mut admin, mut listeners) = (None, None, Vec::new());
    loop {
        match receive(&stream)? {
            (Frame::Begin { version, boot }, sockets) => {
                tracing::info!(%version, boot, "taking over from a running edge");
                let mut sockets = sockets.into_iter();
                (lock, admin) = (sockets.next(), sockets.next());
            }
            (Frame::Listeners { addr }, sockets) => listeners.push((addr, sockets)),
            (Frame::Sent, _) => break,
            (frame, _) => return Err(io::Error::other(format!("unexpected {frame:?}"))),
        }
    }
    let missing = || io::Error::other("the running edge did not send its lock and socket");
    Ok(Inherited {
        stream,
        lock: lock.ok_or_else(missing)?,
        admin: admin.ok_or_else(missing)?,
        listeners,
    })
}

/// Byte by byte, so that nothing of the first frame (and no socket in it) is read along.
fn read_head(stream: &mut UnixStream) -> io::Result<String> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte)?;
        head.push(byte[0]);
        if head.len() > HEAD_MAX {
            return Err(io::Error::other("the answer's head is too long"));
        }
    }
    Ok(String::from_utf8_lossy(&head).into_owned())
}

/// Sends everything and waits for `ready`.
pub(crate) fn give(
    stream: &UnixStream,
    begin: &Frame,
    lock: BorrowedFd<'_>,
    admin: BorrowedFd<'_>,
    listeners: &[(SocketAddr, Vec<std::net::TcpListener>)],
) -> io::Result<()> {
    send(stream, begin, &[lock, admin])?;
    for (addr, sockets) in listeners {
        let sockets: Vec<BorrowedFd<'_>> = sockets.iter().map(|s| s.as_fd()).collect();
        send(stream, &Frame::Listeners { addr: *addr }, &sockets)?;
    }
    send(stream, &Frame::Sent, &[])?;
    match receive(stream)? {
        (Frame::Ready, _) => Ok(()),
        (frame, _) => Err(io::Error::other(format!("expected ready, got {frame:?}"))),
    }
}

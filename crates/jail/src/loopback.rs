//! Brings loopback up in a fresh network namespace: one netlink message (rtnetlink(7), `RTM_NEWLINK`).

use rustix::io::Errno;
use rustix::net::netlink::SocketAddrNetlink;
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType};

const RTM_NEWLINK: u16 = 16;
const NLM_F_REQUEST: u16 = 1;
const NLM_F_ACK: u16 = 4;
const NLMSG_ERROR: u16 = 2;
const IFF_UP: u32 = 1;
/// Loopback is the first interface of every network namespace.
const LOOPBACK_INDEX: u32 = 1;
const MESSAGE_BYTES: usize = 32;

/// Sets the flag "up" on loopback; the kernel gives it 127.0.0.1 and ::1 by itself.
pub(crate) fn bring_up() -> Result<(), Errno> {
    let socket = rustix::net::socket_with(
        AddressFamily::NETLINK,
        SocketType::RAW,
        SocketFlags::CLOEXEC,
        None, // protocol 0 is NETLINK_ROUTE
    )?;
    let kernel = SocketAddrNetlink::new(0, 0);
    rustix::net::sendto(&socket, &up_message(), SendFlags::empty(), &kernel)?;
    let mut answer = [0u8; 256];
    let (filled, _) = rustix::net::recv(&socket, &mut answer, RecvFlags::empty())?;
    acknowledged(&answer[..filled])
}

/// `struct nlmsghdr` followed by `struct ifinfomsg`, in the byte order of the machine.
fn up_message() -> [u8; MESSAGE_BYTES] {
    let mut message = [0u8; MESSAGE_BYTES];
    message[0..4].copy_from_slice(&(MESSAGE_BYTES as u32).to_ne_bytes());
    message[4..6].copy_from_slice(&RTM_NEWLINK.to_ne_bytes());
    message[6..8].copy_from_slice(&(NLM_F_REQUEST | NLM_F_ACK).to_ne_bytes());
    message[20..24].copy_from_slice(&LOOPBACK_INDEX.to_ne_bytes());
    message[24..28].copy_from_slice(&IFF_UP.to_ne_bytes());
    message[28..32].copy_from_slice(&IFF_UP.to_ne_bytes());
    message
}

/// An acknowledgement is an error message with code 0.
fn acknowledged(answer: &[u8]) -> Result<(), Errno> {
    let (Some(kind), Some(code)) = (answer.get(4..6), answer.get(16..20)) else {
        return Err(Errno::BADMSG);
    };
    let code = i32::from_ne_bytes(code.try_into().expect("a slice of four bytes"));
    if kind != NLMSG_ERROR.to_ne_bytes() {
        return Err(Errno::BADMSG);
    }
    if code == 0 { Ok(()) } else { Err(Errno::from_raw_os_error(-code)) }
}

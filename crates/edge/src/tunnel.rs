//! Connections that change their protocol (WebSocket and any other `Upgrade`): after the 101 both sides are joined byte by byte.

use std::future::poll_fn;
use std::pin::pin;
use std::rc::Rc;
use std::task::Poll;

use http::{Response, Version, header};
use hyper::body::Incoming;
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;

use crate::answer::Reason;
use crate::body::AnswerBody;
use crate::flight::Cut;
use crate::proxy::{Attempt, Call, Reply, Trouble};
use crate::worker::{Busy, Flight, Session};

/// Bytes of each direction's buffer; many tunnels are open and idle.
const BUFFER: usize = 8 << 10;

/// Sends a request that asks for another protocol, on a connection that nothing else will ever use.
pub(crate) async fn request(attempt: &Attempt, call: &mut Call) -> Result<Reply, Trouble> {
    let endpoint = &attempt.view.endpoints[attempt.choice.endpoint];
    let link = endpoint.connect(attempt.connect_within()).await.map_err(Trouble::Unreachable)?;
    if !attempt.still_wanted() {
        return Err(Trouble::Overtaken);
    }
    let (mut sender, connection) = link.into_parts();
    tokio::task::spawn_local(async move {
        if let Err(error) = connection.with_upgrades().await {
            tracing::debug!(%error, "upgraded connection to an instance ended");
        }
    });
    let request = call.request.take().expect("a request is sent once for each attempt");
    attempt.start_clock();
    let mut head = pin!(sender.send_request(request));
    let response = poll_fn(|cx| match attempt.poll_cut(cx, &call.upload) {
        Some(cut) => Poll::Ready(Err(Trouble::Cut(cut))),
        None => head.as_mut().poll(cx).map_err(Trouble::Broken),
    })
    .await?;
    Ok(Reply { response, link: None })
}

/// Answers the 101 and joins both sides as soon as the caller's has switched, too.
pub(crate) fn open(
    session: &Rc<Session>,
    mut response: Response<Incoming>,
    flight: Flight,
    caller: OnUpgrade,
) -> Response<AnswerBody> {
    let instance = hyper::upgrade::on(&mut response);
    drop(tokio::task::spawn_local(join(instance, caller, flight)));
    let (mut parts, _) = response.into_parts();
    parts.version = Version::HTTP_11;
    parts.headers.insert(header::CONNECTION, header::HeaderValue::from_static("upgrade"));
    Response::from_parts(parts, AnswerBody::Own { text: None, _busy: Busy::new(session) })
}

/// Ends when both sides have, or when the arm is drained or the process leaves.
async fn join(instance: OnUpgrade, caller: OnUpgrade, flight: Flight) {
    let (mut instance, mut caller) = match futures::try_join!(instance, caller) {
        Ok((instance, caller)) => (TokioIo::new(instance), TokioIo::new(caller)),
        Err(error) => return tracing::debug!(%error, "a side of the tunnel left while switching"),
    };
    let mut copy =
        pin!(tokio::io::copy_bidirectional_with_sizes(&mut instance, &mut caller, BUFFER, BUFFER));
    poll_fn(|cx| match flight.wait.poll_cut(cx) {
        Some(cut) => {
            let reason = if cut == Cut::Drained { Reason::Drained.as_str() } else { "leaving" };
            tracing::debug!(reason, "tunnel closed");
            Poll::Ready(())
        }
        None => copy.as_mut().poll(cx).map(|_| ()),
    })
    .await;
}

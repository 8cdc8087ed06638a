//! One request: checked, assigned, sent, counted, answered.

use std::cell::RefCell;
use std::future::poll_fn;
use std::net::SocketAddr;
use std::pin::pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use http::request::Parts;
use http::{Method, Request, Response, Version};
use hyper::body::{Body, Incoming};
use hyper::client::conn::TrySendError;

use crate::answer::{Reason, close_if_leaving, own};
use crate::body::{AnswerBody, RequestBody, Streaming, Upload};
use crate::choose::{self, Choice, Wish};
use crate::count::Outcome;
use crate::flight::Cut;
use crate::head::{self, Survey};
use crate::pool::Link;
use crate::tunnel;
use crate::worker::{Busy, Flight, Port, Session, View, Worker};

/// Old connections that one request may find dead before it opens a fresh one.
const STALE_MAX: u32 = 2;

/// Answers a request; never fails, because a failure is an answer, too.
pub(crate) async fn answer(
    worker: Rc<Worker>,
    session: Rc<Session>,
    port: Rc<RefCell<Port>>,
    request: Request<Incoming>,
) -> Response<AnswerBody> {
    let _busy = Busy::new(&session);
    let version = request.version();
    let mut response = match admit(&session, &port, &request) {
        Ok((view, survey)) => {
            let deployment = forward(&worker, &session, view, survey, request).await;
            match deployment {
                Ok(response) => response,
                Err(failure) => failure.answer(&worker, &session, version),
            }
        }
        Err((reason, text)) => own(&session, version, reason, &text),
    };
    close_if_leaving(&worker, version, &mut response);
    response
}

/// Whether the request may be forwarded at all, and by which table.
#[inline]
fn admit(
    session: &Session,
    port: &RefCell<Port>,
    request: &Request<Incoming>,
) -> Result<(Rc<View>, Survey), (Reason, String)> {
    // The parts are only lent here, so they are put together from what the request shows.
    let survey = Survey::of(request.headers());
    if survey.bytes > head::HEAD_BYTES_MAX {
        return Err((
            Reason::HeadTooLong,
            format!("the head may have {} bytes", head::HEAD_BYTES_MAX),
        ));
    }
    if let Some(fault) = head::fault(request, &survey) {
        return Err((Reason::Malformed, format!("the request has {fault}")));
    }
    let port = port.borrow();
    let named = if port.hosts.is_empty() { None } else { by_host(&port, request) };
    let Some(view) = named.or(port.rest.as_ref()) else {
        return Err((Reason::NoRoute, "no service answers for this host here".into()));
    };
    let limits = view.limits();
    session.idle.set(Duration::from_millis(limits.idle_ms));
    if let Some(why) = view.plan.closed() {
        return Err((Reason::Closed, why.to_owned()));
    }
    if view.plan.gauges.in_flight() >= limits.in_flight {
        return Err((Reason::Full, format!("{} requests are in flight", limits.in_flight)));
    }
    if request.body().size_hint().lower() > limits.body_bytes {
        return Err((Reason::TooLong, format!("the body may have {} bytes", limits.body_bytes)));
    }
    Ok((view.clone(), survey))
}

fn by_host<'a>(port: &'a Port, request: &Request<Incoming>) -> Option<&'a Rc<View>> {
    let host = head::bare_host(head::host_of(request)?);
    port.hosts.get(host).or_else(|| port.hosts.get(&host.to_ascii_lowercase()))
}

/// Why a request that was admitted got no answer from an instance.
pub(crate) struct Failure {
    pub(crate) reason: Reason,
    pub(crate) text: String,
    /// Deployment and instance, for the log.
    pub(crate) at: Option<(Rc<View>, Choice)>,
}

impl Failure {
    fn answer(
        self,
        worker: &Worker,
        session: &Rc<Session>,
        version: Version,
    ) -> Response<AnswerBody> {
        if worker.may_log()
            && let Some((view, choice)) = &self.at
        {
            let arm = &view.plan.table.arms[choice.arm];
            tracing::warn!(
                route = %view.plan.table.route,
                deployment_id = %arm.deployment_id,
                instance = %view.plan.endpoints[choice.endpoint].instance,
                reason = self.reason.as_str(),
                "{}", self.text
            );
        }
        own(session, version, self.reason, &self.text)
    }
}

/// A request on its way, with all that a second attempt needs.
pub(crate) struct Call {
    pub(crate) request: Option<Request<RequestBody>>,
    /// The head again, for a method that may be repeated and has no body.
    spare: Option<(Method, http::Uri, http::HeaderMap)>,
    pub(crate) upload: Rc<Upload>,
    pub(crate) http2: bool,
}

impl Call {
    fn new(parts: Parts, body: RequestBody, upload: Rc<Upload>, http2: bool) -> Self {
        let repeatable = matches!(body, RequestBody::Empty) && parts.method.is_idempotent();
        let spare =
            repeatable.then(|| (parts.method.clone(), parts.uri.clone(), parts.headers.clone()));
        Self { request: Some(Request::from_parts(parts, body)), spare, upload, http2 }
    }

    /// Gets ready for another attempt after a message came back unsent or may be repeated.
    fn renew(&mut self, unsent: Option<Request<RequestBody>>) -> bool {
        self.request = unsent.or_else(|| {
            let (method, uri, headers) = self.spare.clone()?;
            let mut request = Request::new(RequestBody::Empty);
            (*request.method_mut(), *request.uri_mut(), *request.headers_mut()) =
                (method, uri, headers);
            Some(request)
        });
        self.request.is_some()
    }
}

async fn forward(
    worker: &Rc<Worker>,
    session: &Rc<Session>,
    view: Rc<View>,
    survey: Survey,
    mut request: Request<Incoming>,
) -> Result<Response<AnswerBody>, Failure> {
    let wish =
        Wish::new(&view.plan, request.headers(), survey.synthetic && session.caller.trusted());
    let upgrade = head::wants_upgrade(&request, &survey);
    let on_upgrade = upgrade.then(|| hyper::upgrade::on(&mut request));
    let (mut parts, incoming) = request.into_parts();
    let http2 = parts.version == Version::HTTP_2;
    head::prepare_request(&mut parts, &survey, &session.caller, upgrade, || worker.request_id());
    let upload = Rc::new(Upload::default());
    let body = RequestBody::new(incoming, view.limits().body_bytes, &upload);
    let mut call = Call::new(parts, body, upload, http2);

    let mut tried: Vec<SocketAddr> = Vec::new();
    let mut last: Option<(Rc<View>, Choice, String)> = None;
    loop {
        // The table may have changed while an attempt waited: a weight of 0 holds from its acknowledgement on.
        let Some(view) = worker.newest(&view) else { return Err(gone()) };
        let choice = match &last {
            None => choose::first(&view.plan, &wish),
            Some((_, last, arm)) => choose::another(&view.plan, &wish, *last, arm, &tried),
        };
        let Some(choice) = choice else { return Err(unreachable(last)) };
        let attempt = Attempt::new(worker, &view, choice);
        let reply = match &on_upgrade {
            Some(_) => tunnel::request(&attempt, &mut call).await,
            None => exchange(&attempt, &mut call).await,
        };
        match reply {
            Ok(reply) => {
                let mut response = attempt.answered(session, reply, on_upgrade);
                if wish.lacks_cookie(&view.plan, choice.arm)
                    && let Some(cookie) = &view.plan.arms[choice.arm].set_cookie
                {
                    response.headers_mut().append(http::header::SET_COOKIE, cookie.clone());
                }
                return Ok(response);
            }
            Err(Trouble::Overtaken) => {
                attempt.unassign();
            }
            Err(Trouble::Unreachable(error)) => {
                if worker.may_log() {
                    tracing::debug!(%error, "instance cannot be reached");
                }
                tried.push(view.endpoints[choice.endpoint].addr);
                last = Some((view.clone(), choice, view.plan.table.arms[choice.arm].name.clone()));
                attempt.failed();
            }
            Err(trouble) => return Err(attempt.over(trouble, &call)),
        }
    }
}

fn gone() -> Failure {
    Failure { reason: Reason::NoRoute, text: "the route was removed".into(), at: None }
}

fn unreachable(last: Option<(Rc<View>, Choice, String)>) -> Failure {
    let at = last.map(|(view, choice, _)| (view, choice));
    Failure { reason: Reason::Unreachable, text: "no instance could be reached".into(), at }
}

/// Why an attempt gave no answer.
#[derive(Debug)]
pub(crate) enum Trouble {
    /// Nothing was sent: another instance may be asked.
    Unreachable(std::io::Error),
    /// Nothing was sent, and meanwhile the arm lost its weight.
    Overtaken,
    Cut(Cut),
    Broken(hyper::Error),
}

/// An answer's head, and the connection that it came on when that is not shared.
pub(crate) struct Reply {
    pub(crate) response: Response<Incoming>,
    pub(crate) link: Option<Link>,
}

/// A request assigned to an instance: counted exactly once, whatever happens, even when it is dropped half-way.
pub(crate) struct Attempt {
    worker: Rc<Worker>,
    pub(crate) view: Rc<View>,
    pub(crate) choice: Choice,
    started: Instant,
    pub(crate) flight: Option<Flight>,
    open: bool,
}

impl Attempt {
    fn new(worker: &Rc<Worker>, view: &Rc<View>, choice: Choice) -> Self {
        let flight = Some(Flight::new(worker, view, choice.arm));
        Self {
            worker: worker.clone(),
            view: view.clone(),
            choice,
            started: Instant::now(),
            flight,
            open: true,
        }
    }

    fn close(&mut self, outcome: Outcome) {
        if std::mem::take(&mut self.open) && self.choice.counted {
            self.worker.count(&self.view, self.choice.endpoint, outcome);
        }
    }

    fn failed(mut self) {
        self.close(Outcome::Unanswered);
    }

    /// The request goes elsewhere by a newer table, so this instance never had it.
    fn unassign(mut self) {
        self.open = false;
    }

    /// Whether the arm may still get a request that was not sent yet.
    pub(crate) fn still_wanted(&self) -> bool {
        let Some(newest) = self.worker.newest(&self.view) else { return false };
        if Rc::ptr_eq(&newest, &self.view) {
            return true;
        }
        let id = &self.view.plan.table.arms[self.choice.arm].deployment_id;
        newest.plan.table.arms.iter().any(|a| a.deployment_id == *id && a.weight > 0)
    }

    pub(crate) fn connect_within(&self) -> Duration {
        Duration::from_millis(self.view.limits().connect_ms)
    }

    fn respond_within(&self) -> Duration {
        Duration::from_millis(self.view.limits().response_ms)
    }

    pub(crate) fn flight(&self) -> &Flight {
        self.flight.as_ref().expect("the flight is taken only by the answer")
    }

    pub(crate) fn start_clock(&self) {
        self.flight().wait.until(Some((Instant::now() + self.respond_within(), Cut::Timeout)));
    }

    /// Whether the attempt must end. Progress of an upload counts as life, so a slow upload is no slow answer.
    pub(crate) fn poll_cut(&self, cx: &mut Context<'_>, upload: &Upload) -> Option<Cut> {
        let wait = &self.flight().wait;
        let cut = wait.poll_cut(cx).filter(|c| *c != Cut::Leaving)?;
        let until = upload.moved.get().map(|moved| moved + self.respond_within());
        match until {
            Some(until) if cut == Cut::Timeout && until > Instant::now() => {
                wait.clear();
                wait.until(Some((until, Cut::Timeout)));
                wait.poll_cut(cx)
            }
            _ => Some(cut),
        }
    }

    #[inline]
    fn answered(
        mut self,
        session: &Rc<Session>,
        reply: Reply,
        on_upgrade: Option<hyper::upgrade::OnUpgrade>,
    ) -> Response<AnswerBody> {
        let error = reply.response.status().is_server_error();
        self.close(Outcome::Answered { after: self.started.elapsed(), error });
        let flight = self.flight.take().expect("the flight is taken only here");
        flight.wait.until(None);
        if let Some(on_upgrade) = on_upgrade
            && reply.response.status() == http::StatusCode::SWITCHING_PROTOCOLS
        {
            return tunnel::open(session, reply.response, flight, on_upgrade);
        }
        let (mut parts, incoming) = reply.response.into_parts();
        head::prepare_answer(&mut parts.headers);
        parts.version = Version::HTTP_11;
        let link = reply.link.map(|link| (link, self.view.endpoints[self.choice.endpoint].clone()));
        let body = Streaming {
            incoming,
            link,
            flight,
            ended: false,
            closed: false,
            _busy: Busy::new(session),
        };
        Response::from_parts(parts, AnswerBody::Streaming(body))
    }

    /// The request reached the instance and no other may have it.
    fn over(mut self, trouble: Trouble, call: &Call) -> Failure {
        let at = Some((self.view.clone(), self.choice));
        if call.upload.too_long.get() || call.upload.broken.get() {
            // The caller's doing: says nothing about the instance.
            self.open = false;
            let text = format!("the body may have {} bytes", self.view.limits().body_bytes);
            return Failure { reason: Reason::TooLong, text, at: None };
        }
        self.close(Outcome::Unanswered);
        let (reason, text) = match trouble {
            Trouble::Cut(Cut::Timeout) => {
                (Reason::Timeout, format!("no answer within {} ms", self.view.limits().response_ms))
            }
            Trouble::Cut(_) => {
                (Reason::Drained, "the version that had this request was taken away".into())
            }
            Trouble::Broken(error) => (Reason::Broken, format!("the instance broke off: {error}")),
            Trouble::Unreachable(_) | Trouble::Overtaken => {
                (Reason::Unreachable, "no instance could be reached".into())
            }
        };
        Failure { reason, text, at }
    }
}

impl Drop for Attempt {
    /// The caller left before an answer: to the judge a request without an answer.
    fn drop(&mut self) {
        self.close(Outcome::Unanswered);
    }
}

async fn exchange(attempt: &Attempt, call: &mut Call) -> Result<Reply, Trouble> {
    if call.http2
        && let Some(reply) = over_http2(attempt, call).await?
    {
        return Ok(reply);
    }
    if call.http2
        && let Some(request) = &mut call.request
    {
        head::join_cookies(request.headers_mut());
    }
    let endpoint = &attempt.view.endpoints[attempt.choice.endpoint];
    let mut stale = 0;
    loop {
        let pooled = if stale < STALE_MAX {
            poll_fn(|cx| Poll::Ready(endpoint.checkout(cx))).await
        } else {
            None
        };
        let mut link = match pooled {
            Some(link) => link,
            None => {
                let link = endpoint
                    .connect(attempt.connect_within())
                    .await
                    .map_err(Trouble::Unreachable)?;
                if !attempt.still_wanted() {
                    return Err(Trouble::Overtaken);
                }
                link
            }
        };
        let request = call.request.take().expect("a request is sent once for each renewal");
        attempt.start_clock();
        match send(attempt, &mut link, request, &call.upload).await {
            Ok(response) => return Ok(Reply { response, link: Some(link) }),
            Err(Sent::Cut(cut)) => return Err(Trouble::Cut(cut)),
            Err(Sent::Failed(mut failure)) => {
                let unsent = failure.take_message();
                let error = failure.into_error();
                // Only age explains an old connection that ends before a byte of the answer.
                let aged = link.used && !error.is_parse();
                if aged && call.renew(unsent) {
                    stale += 1;
                    continue;
                }
                return Err(Trouble::Broken(error));
            }
        }
    }
}

enum Sent {
    Cut(Cut),
    Failed(Box<TrySendError<Request<RequestBody>>>),
}

/// Sends on a connection of our own and drives it until the head of the answer is there.
#[inline]
async fn send(
    attempt: &Attempt,
    link: &mut Link,
    request: Request<RequestBody>,
    upload: &Upload,
) -> Result<Response<Incoming>, Sent> {
    let mut head = pin!(link.sender.try_send_request(request));
    poll_fn(|cx| {
        if let Some(cut) = attempt.poll_cut(cx, upload) {
            return Poll::Ready(Err(Sent::Cut(cut)));
        }
        // The head appears only by driving, so waiting for it needs no waker of its own.
        let _ = link.drive(cx);
        head.as_mut()
            .poll(&mut Context::from_waker(Waker::noop()))
            .map_err(|e| Sent::Failed(Box::new(e)))
    })
    .await
}

/// `None` when the instance speaks only HTTP/1.1; the request is then still unsent.
async fn over_http2(attempt: &Attempt, call: &mut Call) -> Result<Option<Reply>, Trouble> {
    let endpoint = &attempt.view.endpoints[attempt.choice.endpoint];
    for _ in 0..STALE_MAX {
        let shared =
            endpoint.http2(attempt.connect_within()).await.map_err(Trouble::Unreachable)?;
        let Some(mut sender) = shared else { return Ok(None) };
        if !attempt.still_wanted() {
            return Err(Trouble::Overtaken);
        }
        if sender.ready().await.is_err() {
            continue;
        }
        let (mut parts, body) =
            call.request.take().expect("a request is sent once for each renewal").into_parts();
        head::to_http2(&mut parts);
        attempt.start_clock();
        let mut head = pin!(sender.try_send_request(Request::from_parts(parts, body)));
        let sent = poll_fn(|cx| match attempt.poll_cut(cx, &call.upload) {
            Some(cut) => Poll::Ready(Err(Sent::Cut(cut))),
            None => head.as_mut().poll(cx).map_err(|e| Sent::Failed(Box::new(e))),
        });
        match sent.await {
            Ok(response) => return Ok(Some(Reply { response, link: None })),
            Err(Sent::Cut(cut)) => return Err(Trouble::Cut(cut)),
            Err(Sent::Failed(mut failure)) => {
                let unsent = failure.take_message().map(head::from_http2);
                if unsent.is_some() && call.renew(unsent) {
                    continue;
                }
                return Err(Trouble::Broken(failure.into_error()));
            }
        }
    }
    Err(Trouble::Unreachable(std::io::Error::other("the shared connection ended again and again")))
}

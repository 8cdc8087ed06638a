"""Sources of three small services, each with one locked dependency, as their authors would write them: nothing of Humdrum is in them."""

RUST_MAIN = '''//! Says hello over HTTP.

const GREETING: &str = "hello from one";
const BROKEN_PER_HUNDRED: usize = 0;

fn main() {
    let port = std::env::var("PORT").unwrap_or_else(|_| "8000".into());
    let server = tiny_http::Server::http(format!("127.0.0.1:{port}")).expect("the port is free");
    for (count, request) in server.incoming_requests().enumerate() {
        let broken = request.url() == "/" && count % 100 < BROKEN_PER_HUNDRED;
        let answer = tiny_http::Response::from_string(GREETING).with_status_code(if broken { 500 } else { 200 });
        let _ = request.respond(answer);
    }
}

#[test]
fn greets() {
    assert!(GREETING.starts_with("hello"));
}
'''

RUST_CARGO = '''[package]
name = "greeter"
version = "0.1.0"
edition = "2021"

[dependencies]
tiny_http = { version = "=0.12.0", default-features = false }
'''

NODE_SERVER = '''const http = require("node:http");
const escapeHtml = require("escape-html");

const greeting = "hello from one";
const brokenPerHundred = 0;
let count = 0;

const server = http.createServer((request, response) => {
  count += 1;
  const broken = request.url === "/" && count % 100 < brokenPerHundred;
  response.writeHead(broken ? 500 : 200, { "content-type": "text/html" });
  response.end(`<p>${escapeHtml(greeting)}</p>`);
});
server.listen(Number(process.env.PORT ?? 8000), "127.0.0.1");
process.on("SIGTERM", () => server.close(() => process.exit(0)));
'''

NODE_PACKAGE = '''{
  "name": "greeter-node",
  "version": "1.0.0",
  "private": true,
  "main": "server.js",
  "scripts": { "start": "node server.js" },
  "dependencies": { "escape-html": "1.0.3" }
}
'''

PYTHON_APP = '''"""Says hello over HTTP."""
import itertools
import os
from socketserver import ThreadingMixIn
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

from bottle import Bottle, response

GREETING = "hello from one"
BROKEN_PER_HUNDRED = 0

app = Bottle()
count = itertools.count()


@app.get("/")
def hello():
    if next(count) % 100 < BROKEN_PER_HUNDRED:
        response.status = 500
    return GREETING


@app.get("/healthz")
def health():
    return "ok"


class Server(ThreadingMixIn, WSGIServer):
    daemon_threads = True
    request_queue_size = 128


class Quiet(WSGIRequestHandler):
    def log_message(self, *_):
        pass


make_server("127.0.0.1", int(os.environ.get("PORT", "8000")), app, Server, Quiet).serve_forever()
'''

PYTHON_REQUIREMENTS = "bottle==0.13.2\n"

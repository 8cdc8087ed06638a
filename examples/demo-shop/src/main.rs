//! A small shop: answers every request with JSON, some with an error, as a service in the wild does. Standard library only.

use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::time::Duration;

/// What this release is like.
const GREETING: &str = "hello from the first release";
const ERRORS_PER_THOUSAND: u64 = 10;
const SLOW_PER_THOUSAND: u64 = 0;
/// What an answer takes: a database would need about as long.
const WORK: Duration = Duration::from_millis(8);

fn main() {
    let port = std::env::var("PORT").unwrap_or_else(|_| "8080".into());
    let listener = TcpListener::bind(format!("127.0.0.1:{port}")).expect("the port is free");
    println!("listening on {port}");
    for (seed, stream) in listener.incoming().flatten().enumerate() {
        std::thread::spawn(move || serve(stream, seed as u64));
    }
}

/// Answers one connection's requests until it is closed.
fn serve(mut stream: TcpStream, seed: u64) {
    stream.set_nodelay(true).ok();
    let Ok(reading) = stream.try_clone() else { return };
    let mut lines = BufReader::new(reading).lines();
    let mut dice = Dice(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) ^ u64::from(std::process::id()));
    while let Some(Ok(first)) = lines.next() {
        if !lines.by_ref().map_while(Result::ok).any(|line| line.is_empty()) {
            return;
        }
        let path = first.split(' ').nth(1).unwrap_or("/");
        let (status, body) = answer(path, dice.roll(), dice.roll());
        let head = format!("HTTP/1.1 {status}\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n", body.len());
        if stream.write_all((head + &body).as_bytes()).is_err() {
            return;
        }
    }
}

/// Decides an answer from two throws of a thousand-sided die.
fn answer(path: &str, error: u64, slow: u64) -> (&'static str, String) {
    if path == "/healthz" {
        return ("200 OK", r#"{"status":"ok"}"#.into());
    }
    if path == "/cart" {
        return ("200 OK", r#"{"items":[{"name":"tea","price":12}]}"#.into());
    }
    std::thread::sleep(WORK);
    if slow < SLOW_PER_THOUSAND {
        std::thread::sleep(WORK * 8);
    }
    if error < ERRORS_PER_THOUSAND {
        return ("500 Internal Server Error", r#"{"error":"the database was busy"}"#.into());
    }
    ("200 OK", format!(r#"{{"greeting":"{GREETING}"}}"#))
}

/// xorshift64: a die for a demonstration, nothing more.
struct Dice(u64);

impl Dice {
    fn roll(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % 1000
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn health_and_cart_never_fail() {
        for path in ["/healthz", "/cart"] {
            assert_eq!(super::answer(path, 0, 999).0, "200 OK");
        }
    }
}

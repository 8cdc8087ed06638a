//! Judges the recordings named as arguments and prints one JSON object per line, in their order.
//!
//! Exists so that thousands of generated rollouts can be judged by one process (`bench/judge_tables.py`); people use
//! `humdrum judge replay FILE`.

use std::process::ExitCode;

fn main() -> ExitCode {
    for path in std::env::args().skip(1) {
        let judged =
            std::fs::read_to_string(&path).map_err(|error| error.to_string()).and_then(|text| {
                humdrum_model::judge::replay(&text).map_err(|error| error.to_string())
            });
        match judged {
            Ok(report) => {
                println!("{}", serde_json::to_string(&report).expect("a report is plain data"));
            }
            Err(error) => {
                eprintln!("cannot judge {path}: {error}");
                return ExitCode::from(2);
            }
        }
    }
    ExitCode::SUCCESS
}

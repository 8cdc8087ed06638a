//! All 77 reference vectors at 1e-6. Formulas that the judge does not use are computed by `judge_vectors/unused.rs`.

#![expect(clippy::unwrap_used, reason = "a failing step is a failing test")]

#[path = "judge_vectors/unused.rs"]
mod unused;

use std::path::PathBuf;

use humdrum_model::judge::formula::{
    HARM, PERM_CLIP, PERM_SIZE, PERM_TILT, Planned, SAFE, add_permutation, log_beta_binomial,
    log_lr_binomial, log_mean_exp, log_mixture, log_permutation,
};
use humdrum_model::judge::thin::SplitMix64;
use serde_json::{Value, json};

fn vectors() -> Vec<Value> {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../tests/judge/vectors.json");
    let file: Value = serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
    file["vectors"].as_array().unwrap().clone()
}

#[test]
fn every_vector_is_met() {
    let vectors = vectors();
    assert_eq!(vectors.len(), 77);
    for vector in &vectors {
        let id = vector["id"].as_str().unwrap();
        let found = compute(id, &vector["input"]);
        for (key, expected) in vector["expect"].as_object().unwrap() {
            let found = found.get(key).unwrap_or_else(|| panic!("{id} has no {key}"));
            assert!(same(found, expected), "{id} {key}: found {found}, expected {expected}");
        }
    }
}

/// Equal within 1e-6, absolute or relative.
fn same(found: &Value, expected: &Value) -> bool {
    match (found, expected) {
        (Value::Array(found), Value::Array(expected)) => {
            found.len() == expected.len() && found.iter().zip(expected).all(|(f, e)| same(f, e))
        }
        (Value::Number(found), Value::Number(expected)) => {
            let (found, expected) = (found.as_f64().unwrap(), expected.as_f64().unwrap());
            (found - expected).abs() <= 1e-6 * expected.abs().max(1.0)
        }
        _ => found == expected,
    }
}

pub(crate) fn number(input: &Value, key: &str) -> f64 {
    input[key].as_f64().unwrap_or_else(|| panic!("{key} in {input}"))
}

pub(crate) fn number_or(input: &Value, key: &str, default: f64) -> f64 {
    input[key].as_f64().unwrap_or(default)
}

pub(crate) fn count(input: &Value, key: &str) -> u64 {
    input[key].as_u64().unwrap_or_else(|| panic!("{key} in {input}"))
}

pub(crate) fn numbers(input: &Value) -> Vec<f64> {
    input.as_array().unwrap().iter().map(|v| v.as_f64().unwrap()).collect()
}

fn compute(id: &str, input: &Value) -> Value {
    match id {
        "F2.8" => json!({ "log_e": *harm(input).last().unwrap() }),
        "F5.7" => json!({ "log_e": cells_mixture(input, None) }),
        "F5.8" => leave_one_out(input),
        "F7.5" => unused::dirichlet_multinomial(input),
        _ if id.starts_with("F1.") => json!({ "log_lr": log_lr_binomial(
            count(input, "x"), count(input, "y"), number(input, "w"), number(input, "R"), number(input, "R0")) }),
        _ if id.starts_with("F2.") => {
            let log_e = harm(input);
            json!({ "e_final": log_e.last().unwrap().exp(), "log_e": log_e })
        }
        _ if id.starts_with("F3.") => json!({ "log_e": safe(input) }),
        _ if id.starts_with("F5.") => json!({ "log_e": log_permutation(
            &numbers(&input["scores"]), count(input, "m") as usize, number(input, "lam")) }),
        _ if id.starts_with("F7.") => beta_binomial(input),
        _ if id.starts_with('P') => planned(input),
        "T6" | "T7" | "T8" => permutation_trace(input),
        _ if id.starts_with('T') => trace(input),
        _ => unused::compute(id, input),
    }
}

/// Accumulates F1 for each alternative over the blocks and mixes after each block.
fn sequence(
    input: &Value,
    grid: &[(f64, f64)],
    scale: impl Fn(f64, &Value) -> (f64, f64),
) -> Vec<f64> {
    let phi = number_or(input, "phi", 1.0);
    let weights: Vec<f64> = grid.iter().map(|(_, weight)| *weight).collect();
    let mut sums = vec![0.0; grid.len()];
    let mut out = Vec::new();
    for block in input["blocks"].as_array().unwrap() {
        let (nc, nb) = (number(block, "nc"), number(block, "nb"));
        for (sum, (alternative, _)) in sums.iter_mut().zip(grid) {
            let (ratio, null) = scale(*alternative, block);
            let (x, y) = (count(block, "x"), count(block, "y"));
            // A block without a canary says nothing.
            *sum += if nc > 0.0 {
                log_lr_binomial(x, y, nc / (nc + nb), ratio, null) / phi
            } else {
                0.0
            };
        }
        out.push(log_mixture(&sums, &weights));
    }
    out
}

fn harm(input: &Value) -> Vec<f64> {
    sequence(input, &HARM, |multiple, block| {
        let null = number_or(block, "R0", 1.0);
        (multiple * null, null)
    })
}

fn safe(input: &Value) -> Vec<f64> {
    let rule_out = number(input, "R1");
    sequence(input, &SAFE, |ratio, _| (ratio, rule_out))
}

/// The judge's F7 has a = b = 1; other priors differ by a constant that only vectors need.
fn beta_binomial(input: &Value) -> Value {
    let (x, y, share) = (count(input, "x"), count(input, "y"), number(input, "theta0"));
    let general = unused::log_beta_binomial(
        x as f64,
        y as f64,
        share,
        number(input, "a"),
        number(input, "b"),
    );
    if input["a"] == 1 && input["b"] == 1 {
        let shipped = log_beta_binomial(x, y, share);
        assert!((shipped - general).abs() < 1e-9);
    }
    json!({ "log_e": general })
}

fn scores(block: &[f64], input: &Value) -> Vec<f64> {
    let (mu, sd) = (number(input, "mu"), number(input, "sd"));
    block.iter().map(|v| (v - mu) / sd).collect()
}

fn cells_mixture(input: &Value, omit: Option<usize>) -> Vec<f64> {
    assert_eq!((PERM_CLIP, PERM_TILT), ([3.0, 8.0], [0.1, 0.3, 0.8, 1.5]));
    let m = count(input, "m") as usize - usize::from(omit.is_some());
    let mut sums = [0.0; PERM_SIZE];
    let mut out = Vec::new();
    for block in input["blocks"].as_array().unwrap() {
        let mut scores = scores(&numbers(block), input);
        omit.map(|index| scores.remove(index));
        add_permutation(&mut sums, &scores, m);
        out.push(log_mean_exp(&sums));
    }
    out
}

fn leave_one_out(input: &Value) -> Value {
    let last = |omit| *cells_mixture(input, Some(omit)).last().unwrap();
    let without: Vec<f64> = (0..count(input, "m") as usize).map(last).collect();
    json!({ "log_e_lopo": without.iter().copied().fold(f64::INFINITY, f64::min), "log_e_without": without })
}

fn planned(input: &Value) -> Value {
    let planned = Planned {
        rate: number(input, "p"),
        ratio: number(input, "R"),
        null: number_or(input, "R0", 1.0),
        share: number(input, "w"),
        rps: number(input, "rps"),
        phi: number_or(input, "phi", 1.0),
        barrier: (1.0 / number(input, "alpha")).ln(),
    };
    let seconds = |probability| planned.seconds(probability).unwrap();
    json!({ "t50_s": seconds(0.5), "t80_s": seconds(0.8), "t95_s": seconds(0.95) })
}

fn draw(random: &mut SplitMix64, n: u64, p: f64) -> u64 {
    (0..n).filter(|_| random.uniform() < p).count() as u64
}

/// The block, counted from 1, at which the evidence first reaches `1 / level`.
fn first_crossing(log_e: &[f64], level: f64) -> Value {
    json!(log_e.iter().position(|e| *e >= (1.0 / level).ln()).map(|index| index + 1))
}

fn largest(log_e: &[f64]) -> f64 {
    log_e.iter().copied().fold(f64::NEG_INFINITY, f64::max)
}

fn trace(input: &Value) -> Value {
    let mut random = SplitMix64::new(count(input, "seed"));
    let stages = input["stages"].as_array().unwrap();
    let (blocks, p) = (count(input, "T"), number(input, "p"));
    let (mut total_x, mut total_y, mut recorded) = (0, 0, Vec::new());
    for t in 0..blocks {
        let stage = &stages[(t * stages.len() as u64 / blocks) as usize];
        let (nc, nb) = (stage[0].as_u64().unwrap(), stage[1].as_u64().unwrap());
        let x = draw(&mut random, nc, p * number(input, "R"));
        let y = draw(&mut random, nb, p);
        (total_x, total_y) = (total_x + x, total_y + y);
        recorded.push(json!({ "x": x, "y": y, "nc": nc, "nb": nb }));
    }
    let blocks = json!({ "blocks": recorded, "R1": 2.0 });
    let (harm, safe) = (harm(&blocks), safe(&blocks));
    json!({
        "X": total_x,
        "Y": total_y,
        "log_e_harm_final": harm.last(),
        "log_e_harm_max": largest(&harm),
        "first_block_alpha5": first_crossing(&harm, 0.05),
        "first_block_alpha1": first_crossing(&harm, 0.01),
        "log_e_safe_final": safe.last(),
        "first_block_pass_beta5": first_crossing(&safe, 0.05),
    })
}

fn permutation_trace(input: &Value) -> Value {
    let mut random = SplitMix64::new(count(input, "seed"));
    let (pods, canary) = (count(input, "M"), count(input, "m"));
    let (n, p, ratio) = (count(input, "n"), number(input, "p"), number(input, "R"));
    let block = |random: &mut SplitMix64| -> Vec<u64> {
        (0..pods).map(|pod| draw(random, n, if pod < canary { p * ratio } else { p })).collect()
    };
    let blocks: Vec<Vec<u64>> = (0..count(input, "T")).map(|_| block(&mut random)).collect();
    let mut with_blocks = input.clone();
    with_blocks["blocks"] = json!(blocks);
    let log_e = cells_mixture(&with_blocks, None);
    json!({
        "log_e_final": log_e.last(),
        "log_e_max": largest(&log_e),
        "first_block_alpha1": first_crossing(&log_e, 0.01),
    })
}

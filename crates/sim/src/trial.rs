//! The judge of a history: words at seeded times, or the real judge fed with generated blocks and rebuilt from its recording.

use std::collections::BTreeMap;

use humdrum_model::judge::{Config, Judge, JudgeBlock, Stage as JudgedStage, Verdict};
use humdrum_model::rollout::plan::Step;
use humdrum_model::rollout::{Command, JudgeSettings, Placement, Rollout, StageVerdict};
use humdrum_model::route::WEIGHT_TOTAL;
use humdrum_store::{LineBatch, Store};

use crate::cast::Word;
use crate::invariant::Broken;
use crate::queue::Process;
use crate::rng::Rng;
use crate::stage::{Stage, now_ready};

/// Requests of a generated block: enough for the real judge to come to an end within a stage.
const BLOCK_REQUESTS: u64 = 6_000;

#[derive(Debug, Default)]
pub(crate) struct Trials {
    /// When the judge first looked at a stage.
    began: BTreeMap<(String, usize), i64>,
    /// The real judge is fed in this history.
    pub real: bool,
    live: BTreeMap<String, Live>,
    /// What a script lets the judge say, by stage.
    pub said: BTreeMap<usize, Verdict>,
}

/// A real judge in the memory of one process.
#[derive(Debug)]
struct Live {
    process: Process,
    judge: Judge,
    lines: u64,
    t_ms: u64,
}

impl Stage {
    /// What the judge has to say to the run now, if anything.
    pub(crate) fn judge(
        &mut self,
        process: Process,
        run: &str,
        placement: &Placement,
    ) -> Option<Command> {
        let rollout = placement.rollout.as_ref()?;
        let Some(Step::Judge { stage }) = rollout.step() else { return None };
        let key = (rollout.deployment_id.clone(), *stage);
        let began = *self.trials.began.entry(key).or_insert(self.now);
        let late = rollout.until.is_some_and(|until| self.wall(process.replica) >= until);
        let late = late && rollout.paused.is_none();
        if self.scripted {
            let said = self.trials.said.remove(stage);
            let verdict = said.or(late.then_some(Verdict::Insufficient))?;
            return Some(self.word(process, rollout, *stage, verdict));
        }
        if self.trials.real {
            return self.real(process, run, rollout, *stage, late);
        }
        let character = self.world.cast.of(rollout.bundle.release.commit.as_str());
        let (word, after_ms) = *character.words.get(*stage).unwrap_or(&character.words[0]);
        match word {
            Word::Silent => None,
            Word::Says(verdict) if self.now - began >= after_ms => {
                Some(self.word(process, rollout, *stage, verdict))
            }
            Word::Says(_) => {
                late.then(|| self.word(process, rollout, *stage, Verdict::Inconclusive))
            }
        }
    }

    fn word(&self, process: Process, rollout: &Rollout, stage: usize, verdict: Verdict) -> Command {
        let said = StageVerdict {
            stage,
            verdict,
            at: self.wall(process.replica),
            blocks: 9,
            log_e: 0.0,
            log_e_safe: 0.0,
            sentence: format!("{} at stage {}.", verdict.name(), stage + 1),
        };
        command(rollout, said)
    }

    /// Feeds the real judge one block; it is rebuilt from its recording when this process does not have it.
    fn real(
        &mut self,
        process: Process,
        run: &str,
        rollout: &Rollout,
        stage: usize,
        late: bool,
    ) -> Option<Command> {
        let id = rollout.deployment_id.clone();
        let former = self.trials.live.remove(&id);
        let mut live = match former {
            Some(live) if live.process == process => live,
            former => {
                let rebuilt = self.rebuild(process, run, rollout)?;
                let same = former.is_none_or(|former| {
                    former.lines > rebuilt.lines
                        || former.judge.log_e().to_bits() == rebuilt.judge.log_e().to_bits()
                });
                self.seen.count("event", "real judge rebuilt");
                if !same {
                    let what = format!(
                        "{id}: the judge that was rebuilt from its recording knows something else"
                    );
                    self.breaks(Some(Broken::new("V9", what)));
                }
                rebuilt
            }
        };
        live.t_ms += rollout.bundle.deploy.judge.block_ms;
        let line = self.block(rollout, stage, live.t_ms);
        let batch = LineBatch {
            key: recording(&id),
            first_number: live.lines + 1,
            lines: vec![line.clone()],
        };
        now_ready(self.store.append_lines(run.into(), batch)).ok()?;
        live.lines += 1;
        let block = JudgeBlock::parse(&line).expect("generated blocks are well formed");
        let outcome = live.judge.block(&block).ok().flatten();
        self.seen.count("event", "real judge block");
        let verdict = match outcome {
            Some(outcome) if outcome.verdict == Verdict::Fail => Some(Verdict::Fail),
            _ if live.judge.passed_stage() == Some(stage) => Some(Verdict::Pass),
            _ if late => Some(live.judge.deadline().verdict),
            _ => None,
        };
        let said = verdict.map(|verdict| {
            self.seen.count("real verdict", verdict.name());
            StageVerdict {
                stage,
                verdict,
                at: self.wall(process.replica),
                blocks: live.judge.blocks(),
                log_e: live.judge.log_e().clamp(-1e6, 1e6),
                log_e_safe: live.judge.log_e_safe().clamp(-1e6, 1e6),
                sentence: format!("{} at stage {}.", verdict.name(), stage + 1),
            }
        });
        self.trials.live.insert(id, live);
        said.map(|said| command(rollout, said))
    }

    fn rebuild(&mut self, process: Process, run: &str, rollout: &Rollout) -> Option<Live> {
        let config = config(&rollout.bundle.deploy.judge);
        let mut judge = Judge::new(&config).expect("our own configuration is well formed");
        let recorded =
            now_ready(self.store.lines(run.into(), recording(&rollout.deployment_id), 0, 0))
                .ok()?;
        let mut t_ms = 0;
        for line in &recorded {
            let block = JudgeBlock::parse(&line.body).expect("what was recorded is read again");
            t_ms = (block.t().value() * 1000.0) as u64;
            judge.block(&block).ok()?;
        }
        Some(Live { process, judge, lines: recorded.len() as u64, t_ms })
    }

    fn block(&self, rollout: &Rollout, stage: usize, t_ms: u64) -> String {
        let mut rng = Rng::new(t_ms ^ (stage as u64) << 32).fork(self.ships.into());
        let errors = self.world.cast.of(rollout.bundle.release.commit.as_str()).errors;
        let share = u64::from(rollout.weight.max(1));
        let count = rollout.bundle.deploy.instances.max(1) as u64;
        let mut cells = Vec::new();
        let mut arm = |name: &str, share: u64, permille: u64| {
            let requests = BLOCK_REQUESTS * share / u64::from(WEIGHT_TOTAL) / count;
            for index in 0..count {
                let failed = requests * permille / 1000;
                let failed = failed + rng.below(2 + failed / 8);
                cells.push(serde_json::json!({
                    "instance": format!("{name}{index}"), "arm": name,
                    "requests": requests, "errors": failed.min(requests),
                }));
            }
        };
        arm("canary", share, errors);
        arm("baseline", u64::from(WEIGHT_TOTAL) - share, 10);
        serde_json::json!({ "t": t_ms as f64 / 1000.0, "stage": stage, "cells": cells }).to_string()
    }
}

fn command(rollout: &Rollout, verdict: StageVerdict) -> Command {
    let deployment_id = rollout.deployment_id.clone();
    match verdict.verdict {
        Verdict::Pass => Command::StagePassed { deployment_id, verdict },
        _ => Command::VerdictReached { deployment_id, verdict },
    }
}

fn recording(deployment_id: &str) -> String {
    format!("judge/{deployment_id}")
}

fn config(settings: &JudgeSettings) -> String {
    let stage = |it: &humdrum_model::rollout::StageSettings| JudgedStage {
        share: f64::from(it.weight) / f64::from(WEIGHT_TOTAL),
        rule_out: it.rule_out,
        soak_s: 0.0,
    };
    let config = Config {
        stages: settings.stages.iter().map(stage).collect(),
        block_s: settings.block_ms as f64 / 1000.0,
        min_baseline_cells: 2,
        ..Config::default()
    };
    config.to_line()
}

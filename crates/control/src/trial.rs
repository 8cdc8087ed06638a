//! The live judge of one rollout: edge blocks in, evidence and verdicts out. It is rebuilt from its own recording after a restart.

use std::collections::HashSet;
use std::sync::Arc;

use humdrum_adapters::routers::Router;
use humdrum_model::block::Block;
use humdrum_model::judge::{
    self, Arm, BlockFold, Config, Judge, JudgeBlock, Metric, Outcome, Stage, Verdict,
};
use humdrum_model::report::{counted, spoken};
use humdrum_model::rollout::plan::Step;
use humdrum_model::rollout::{Command, JudgeSettings, Placement, Progress, Rollout, StageVerdict};
use humdrum_model::route::WEIGHT_TOTAL;
use humdrum_store::{LineBatch, Store, StoreError};

use crate::clock::{now, now_ms};

/// Baseline cells of the time before that the judge starts with; sixty are needed, the rest steadies the rate.
const HISTORY_CELLS: usize = 300;
/// How far back history goes: older traffic says little about now.
const HISTORY_MS: i64 = 30 * 60 * 1000;
/// One look at the edge waits so long for a block.
const WAIT_MS: u64 = 250;
/// Recorded lines read at once.
const PAGE: u32 = 1_000;

/// Why the live judge cannot go on.
#[derive(Debug, thiserror::Error)]
pub enum TrialError {
    #[error("the recording of {deployment} does not fit its judge at line {line}")]
    Recording {
        deployment: String,
        line: u64,
        #[source]
        source: judge::InputError,
    },
    #[error("the recording cannot be kept")]
    Store(#[from] StoreError),
    #[error("{0}")]
    Router(String),
}

/// The key of a rollout's recording. A line is `N<tab>JSON`: the last edge block in it, then the judge's line.
pub fn recording_key(deployment_id: &str) -> String {
    format!("judge/{deployment_id}")
}

/// The recording as `humdrum judge replay` reads it.
pub async fn export(
    store: &dyn Store,
    run: &str,
    deployment_id: &str,
) -> Result<String, StoreError> {
    let mut text = String::new();
    let mut after = 0;
    loop {
        let lines = store.lines(run.into(), recording_key(deployment_id), after, PAGE).await?;
        let Some(last) = lines.last() else { return Ok(text) };
        after = last.number;
        for line in &lines {
            text.push_str(line.body.split_once('\t').map_or(line.body.as_str(), |(_, json)| json));
            text.push('\n');
        }
    }
}

/// One rollout being judged.
pub struct Trial {
    run: String,
    route: String,
    deployment_id: String,
    store: Arc<dyn Store>,
    router: Arc<dyn Router>,
    judge: Judge,
    fold: BlockFold,
    stage: Option<usize>,
    /// Number of the last edge block that was looked at.
    cursor: u64,
    /// Number of the next recorded line.
    next_line: u64,
    warm_ms: i64,
    block_ms: u64,
    /// Requests of both arms in the judged blocks of the stage.
    seen: (u64, u64),
}

impl Trial {
    /// Begins a recording, or goes on with the one there is.
    pub async fn open(
        run: &str,
        placement: &Placement,
        store: Arc<dyn Store>,
        router: Arc<dyn Router>,
    ) -> Result<Option<Self>, TrialError> {
        let Some(rollout) = &placement.rollout else { return Ok(None) };
        let settings = &rollout.bundle.deploy.judge;
        let recorded = read_all(store.as_ref(), run, &rollout.deployment_id).await?;
        let (config_line, origin_ms, new) = match recorded.first() {
            Some((origin, line)) => (line.clone(), *origin as i64, false),
            None => {
                let history = history(placement, rollout, router.as_ref()).await?;
                (config(settings, history).to_line(), now_ms(), true)
            }
        };
        let misfit = |line: u64, source| TrialError::Recording {
            deployment: rollout.deployment_id.clone(),
            line,
            source,
        };
        let mut judge = Judge::new(&config_line).map_err(|source| misfit(1, source))?;
        let mut cursor = 0;
        for (index, (upto, line)) in recorded.iter().enumerate().skip(1) {
            judge.line(line).map_err(|source| misfit(index as u64 + 1, source))?;
            cursor = *upto;
        }
        let block_ms = settings.block_ms;
        let latency = settings.metrics.iter().any(|name| name == "latency");
        let length = u32::try_from(block_ms).unwrap_or(u32::MAX);
        let trial = Self {
            run: run.into(),
            route: placement.id.route(),
            deployment_id: rollout.deployment_id.clone(),
            judge,
            fold: BlockFold::new(origin_ms, length, latency),
            stage: None,
            cursor,
            next_line: recorded.len() as u64 + 1,
            warm_ms: rollout.entered.as_millisecond() + settings.warmup_ms as i64,
            block_ms,
            seen: (0, 0),
            store,
            router,
        };
        if new {
            // The first line's number is the time from which `t` counts.
            trial
                .store
                .append_lines(
                    trial.run.clone(),
                    trial.batch(1, &[format!("{origin_ms}\t{config_line}")]),
                )
                .await?;
            return Ok(Some(Self { next_line: 2, ..trial }));
        }
        Ok(Some(trial))
    }

    fn batch(&self, first_number: u64, lines: &[String]) -> LineBatch {
        LineBatch { key: recording_key(&self.deployment_id), first_number, lines: lines.to_vec() }
    }

    /// Looks once at the edge and returns what the run must hear, if anything.
    pub async fn step(&mut self, rollout: &Rollout) -> Result<Option<Command>, TrialError> {
        let Some(Step::Judge { stage }) = rollout.step().cloned() else {
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
            return Ok(None);
        };
        if self.stage != Some(stage) {
            let (fence, generation) = rollout.table.unwrap_or_default();
            self.fold.enter_stage(stage, fence, generation);
            self.stage = Some(stage);
            self.seen = (0, 0);
        }
        let late = rollout.until.is_some_and(|until| now() >= until);
        let blocks = match self.router.blocks(&self.route, self.cursor, WAIT_MS).await {
            Ok(blocks) => blocks,
            // An edge that cannot be asked is no data; the deadline holds all the same.
            Err(_) if late => vec![],
            Err(error) => return Err(TrialError::Router(error.to_string())),
        };
        for block in &blocks {
            self.cursor = block.number;
            if block.start_ms < self.warm_ms {
                continue;
            }
            for judged in self.fold.push(block) {
                if let Some(command) = self.judge_block(&judged, block.number, stage).await? {
                    return Ok(Some(command));
                }
            }
        }
        if late && rollout.paused.is_none() {
            let outcome = self.judge.deadline();
            return Ok(Some(self.reached(stage, &outcome)));
        }
        Ok(None)
    }

    async fn judge_block(
        &mut self,
        block: &JudgeBlock,
        upto: u64,
        stage: usize,
    ) -> Result<Option<Command>, TrialError> {
        let line = format!("{upto}\t{}", block.to_line());
        self.store.append_lines(self.run.clone(), self.batch(self.next_line, &[line])).await?;
        let number = self.next_line;
        self.next_line += 1;
        for cell in block.cells() {
            match cell.arm {
                Arm::Canary => self.seen.0 += cell.requests,
                Arm::Baseline => self.seen.1 += cell.requests,
            }
        }
        let outcome = self.judge.block(block).map_err(|source| TrialError::Recording {
            deployment: self.deployment_id.clone(),
            line: number,
            source,
        })?;
        match outcome {
            Some(outcome) if outcome.verdict == Verdict::Fail => {
                Ok(Some(self.reached(stage, &outcome)))
            }
            _ if self.judge.passed_stage() == Some(stage) => Ok(Some(self.passed(stage))),
            _ => Ok(None),
        }
    }

    fn passed(&self, stage: usize) -> Command {
        let evidence = self.judge.evidence();
        let sentence = format!(
            "Stage {} passed: a regression of {} times or more is ruled out; {} of {} requests failed here, {} of {} on the running release.",
            stage + 1,
            evidence.rule_out,
            evidence.canary.errors,
            evidence.canary.requests,
            evidence.baseline.errors,
            evidence.baseline.requests
        );
        Command::StagePassed {
            deployment_id: self.deployment_id.clone(),
            verdict: self.verdict(stage, Verdict::Pass, sentence),
        }
    }

    fn reached(&self, stage: usize, outcome: &Outcome) -> Command {
        let sentence = outcome.sentence(now().strftime("%T UTC"));
        Command::VerdictReached {
            deployment_id: self.deployment_id.clone(),
            verdict: self.verdict(
                stage,
                outcome.verdict,
                format!("{}.", sentence.trim_end_matches('.')),
            ),
        }
    }

    fn verdict(&self, stage: usize, verdict: Verdict, sentence: String) -> StageVerdict {
        StageVerdict {
            stage,
            verdict,
            at: now(),
            blocks: self.judge.blocks(),
            log_e: finite(self.judge.log_e()),
            log_e_safe: finite(self.judge.log_e_safe()),
            sentence,
        }
    }

    /// What the judge knows now, for people.
    pub fn progress(&self) -> Progress {
        let evidence = self.judge.evidence();
        let config = self.judge.config();
        let left_ms = self
            .judge
            .time_left()
            .and_then(|left| left.pass_s)
            .map(|seconds| (seconds * 1000.0) as i64);
        let total = self.seen.0 + self.seen.1;
        let sentence = match self.judge.invalid() {
            Some((_, why)) => {
                format!("INVALID so far: {why}; nothing passes, harm is still looked for.")
            }
            None => format!(
                "{} of {}, e={:.2}; enough to tell in {}.",
                counted(self.judge.blocks(), "block"),
                spoken(self.block_ms as i64),
                self.judge.log_e().exp(),
                left_ms.map_or_else(|| "an unknown time".into(), spoken)
            ),
        };
        Progress {
            stage: self.stage.unwrap_or(0),
            blocks: self.judge.blocks(),
            canary_requests: evidence.canary.requests,
            canary_errors: evidence.canary.errors,
            baseline_requests: evidence.baseline.requests,
            baseline_errors: evidence.baseline.errors,
            log_e: finite(self.judge.log_e()),
            log_e_fail: (1.0 / config.alpha).ln(),
            log_e_safe: finite(self.judge.log_e_safe()),
            log_e_pass: (1.0 / config.beta).ln(),
            left_ms,
            sentence,
            weight_seen: (total > 0)
                .then(|| (self.seen.0 * u64::from(WEIGHT_TOTAL) / total) as u32),
        }
    }
}

/// JSON has no infinities; evidence beyond this is as good as infinite.
fn finite(log_e: f64) -> f64 {
    log_e.clamp(-1e6, 1e6)
}

async fn read_all(
    store: &dyn Store,
    run: &str,
    deployment_id: &str,
) -> Result<Vec<(u64, String)>, StoreError> {
    let mut all = Vec::new();
    let mut after = 0;
    loop {
        let lines = store.lines(run.into(), recording_key(deployment_id), after, PAGE).await?;
        let Some(last) = lines.last() else { return Ok(all) };
        after = last.number;
        all.extend(lines.iter().filter_map(|line| {
            let (upto, json) = line.body.split_once('\t')?;
            Some((upto.parse().ok()?, json.to_owned()))
        }));
    }
}

/// The judge's configuration of a rollout.
pub fn config(settings: &JudgeSettings, history: Vec<judge::HistoryCell>) -> Config {
    let defaults = Config::default();
    let stage = |stage: &humdrum_model::rollout::StageSettings| Stage {
        share: f64::from(stage.weight) / f64::from(WEIGHT_TOTAL),
        rule_out: stage.rule_out,
        soak_s: stage.soak_ms as f64 / 1000.0,
    };
    let metric = |name: &String| if name == "latency" { Metric::Latency } else { Metric::Errors };
    Config {
        alpha: settings.alpha,
        beta: settings.beta,
        margin: settings.margin,
        absolute_margin: settings.absolute_margin,
        latency_margin: settings.latency_margin.unwrap_or(defaults.latency_margin),
        metrics: settings.metrics.iter().map(metric).collect(),
        stages: settings.stages.iter().map(stage).collect(),
        block_s: settings.block_ms as f64 / 1000.0,
        history,
        ..defaults
    }
}

/// Baseline cells from before the first exposure, of the release that is the baseline now.
async fn history(
    placement: &Placement,
    rollout: &Rollout,
    router: &dyn Router,
) -> Result<Vec<judge::HistoryCell>, TrialError> {
    let Some(stable) = placement.stable else { return Ok(vec![]) };
    let names: HashSet<&str> =
        placement.slot(stable).seen.iter().map(|seen| seen.name.as_str()).collect();
    let table = rollout.table.unwrap_or_default();
    let oldest = now_ms() - HISTORY_MS;
    let mut blocks: Vec<Block> = Vec::new();
    let mut after = 0;
    loop {
        let page = router
            .blocks(&placement.id.route(), after, 0)
            .await
            .map_err(|error| TrialError::Router(error.to_string()))?;
        let Some(last) = page.last() else { break };
        after = last.number;
        let before =
            |block: &Block| (block.fence, block.generation) < table && block.start_ms >= oldest;
        for mut block in page.into_iter().filter(before) {
            // Blocks in which the canary had a share already belong to the trial, not to its past.
            if block.cells.iter().any(|cell| cell.arm == "canary" && cell.requests > 0) {
                continue;
            }
            block
                .cells
                .retain(|cell| cell.arm == "baseline" && names.contains(cell.instance.as_str()));
            if !block.cells.is_empty() {
                blocks.push(block);
            }
        }
    }
    let length = u32::try_from(rollout.bundle.deploy.judge.block_ms).unwrap_or(u32::MAX);
    let latency = rollout.bundle.deploy.judge.metrics.iter().any(|name| name == "latency");
    let mut cells: Vec<_> = judge::history(&blocks, length, latency)
        .into_iter()
        .filter(|cell| cell.requests > 0)
        .collect();
    cells.drain(..cells.len().saturating_sub(HISTORY_CELLS));
    Ok(cells)
}

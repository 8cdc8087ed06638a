//! Scenario scripts: whole stories in lines that a release manager can read and write. `docs/simulation.md` lists the words.

use std::collections::BTreeSet;

use humdrum_model::gate::Fact;
use humdrum_model::hold::HoldSubject;
use humdrum_model::judge::Verdict;
use humdrum_model::name::Slot;
use humdrum_model::rollout::{OnRegression, Progress};
use humdrum_model::run::{HOLDS_RUN, placement_run};

use crate::cast::{Cast, Character, Settings, env, placement, release};
use crate::people::{Act, Fault, Point, Programme};
use crate::rng::Rng;
use crate::stage::Stage;
use crate::words::weights;
use crate::world::World;

/// A killed control starts again after this, ms.
const DOWN_MS: i64 = 500;
/// Longest story, ms.
const STORY_MS_MAX: i64 = 24 * 3600 * 1000;

/// A line of a script that is not understood.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: `{text}`: {why}")]
pub struct ScenarioError {
    pub line: usize,
    pub text: String,
    pub why: String,
}

/// What a script printed, and whether everything was as it expected.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Played {
    pub text: String,
    pub ok: bool,
}

/// Plays a script; the same text always gives the same output.
pub fn play(script: &str) -> Result<Played, ScenarioError> {
    let mut player = Player::new();
    for (line, text) in (1..).zip(script.lines()) {
        let words: Vec<&str> = text.split_whitespace().collect();
        let wrong = |why: String| ScenarioError { line, text: text.trim().into(), why };
        match words.as_slice() {
            [] => player.out.push('\n'),
            [first, ..] if first.starts_with('#') => player.print(text),
            ["at", at, act @ ..] => player.at(at, act, text).map_err(wrong)?,
            setting => player.set(setting, text).map_err(wrong)?,
        }
    }
    Ok(Played { text: player.out, ok: player.ok })
}

struct Player {
    settings: Settings,
    cast: Cast,
    stage: Option<Stage>,
    out: String,
    ok: bool,
    acts: usize,
}

impl Player {
    fn new() -> Self {
        let mut settings = Settings::named(&["production"]);
        settings.deploy.watch_ms = 2_000;
        Self { settings, cast: Cast::default(), stage: None, out: String::new(), ok: true, acts: 0 }
    }

    fn print(&mut self, text: &str) {
        self.out.push_str(text.trim_end());
        self.out.push('\n');
    }

    /// Before the first `at`: how the service is shipped, and what releases are like.
    fn set(&mut self, words: &[&str], text: &str) -> Result<(), String> {
        if self.stage.is_some() {
            return Err("settings come before the first `at`".into());
        }
        match words {
            ["environments", names @ ..] if !names.is_empty() => {
                self.settings.environments = names.iter().map(|name| env(name)).collect();
            }
            ["approval", "needed"] => self.settings.deploy.approve = true,
            ["on", "regression", "hold"] => {
                self.settings.deploy.on_regression = OnRegression::Hold;
            }
            ["release", name, how @ ..] => self.character(name, &how.join(" "))?,
            _ => return Err("known are: environments, approval needed, on regression hold, release NAME …, at TIME …".into()),
        }
        self.print(text);
        Ok(())
    }

    fn character(&mut self, name: &str, how: &str) -> Result<(), String> {
        let mut it = Character::good();
        match how {
            "works" => {}
            "never becomes ready" => it.ready_ms = None,
            "crashes" => it.crashes_ms = Some(4_000),
            "fails its smoke checks" => it.smoke = crate::cast::Smoke::FailsBefore,
            "fails its smoke checks at the edge" => it.smoke = crate::cast::Smoke::FailsAtEdge,
            "has no evidence" => it.evidence = Fact::Missing,
            "does not build" => it.builds = false,
            _ => return Err("a release works, never becomes ready, crashes, fails its smoke checks (at the edge), has no evidence, or does not build".into()),
        }
        self.cast.enter(name, it);
        Ok(())
    }

    fn at(&mut self, at: &str, act: &[&str], text: &str) -> Result<(), String> {
        let at = time(at)?;
        if self.stage.is_none() {
            let world = World::new(self.cast.clone(), self.settings.clone());
            let programme = Programme { replicas: 1, ..Programme::default() };
            let mut stage = Stage::new(world, programme, Rng::new(0), true);
            stage.scripted = true;
            stage.invite(&BTreeSet::new());
            self.stage = Some(stage);
        }
        let stage = self.stage.as_mut().expect("it was built just now");
        if at < stage.now {
            return Err(format!("time goes on: it is {} ms already", stage.now));
        }
        while stage.queue.next_at().is_some_and(|next| next <= at) {
            if !stage.step() {
                break;
            }
        }
        stage.now = at;
        let told = std::mem::take(stage.trace.get_or_insert_default());
        let broken = stage.broken.take();
        for line in told {
            self.print(&format!("    {line}"));
        }
        if let Some(broken) = broken {
            self.ok = false;
            self.print(&format!("BROKEN {}: {}", broken.invariant, broken.what));
        }
        self.print(text);
        self.act(act)
    }

    fn stage(&mut self) -> &mut Stage {
        self.stage.as_mut().expect("`at` builds the stage before it acts")
    }

    fn act(&mut self, words: &[&str]) -> Result<(), String> {
        match words {
            ["ship", name] => {
                if !self.stage().world.cast.knows(name) {
                    self.stage().world.cast.enter(name, Character::good());
                }
                self.person(Act::Ship { name: (*name).into() });
            }
            ["approve", place] => {
                let environment = self.environment(place)?;
                self.person(Act::Approve { environment });
            }
            ["abort", place] => {
                let environment = self.environment(place)?;
                self.person(Act::Abort { environment });
            }
            ["rollback", place] => {
                let environment = self.environment(place)?;
                self.person(Act::Rollback { environment, id: "d-back-".into() });
            }
            ["hold", "digest", name] => self.person(Act::HoldDigest { name: (*name).into() }),
            ["hold", "service"] => self.person(Act::HoldService),
            ["unhold"] => self.person(Act::Unhold),
            ["judge", "stage", stage, verdict] => self.judge(stage, verdict)?,
            ["count", canary, baseline] => self.count(canary, baseline)?,
            ["crash", "control", point @ ..] => self.crash(&point.join(" "))?,
            ["edge", "unreachable", ms] => {
                let ms = time(ms)?;
                self.stage().fault_now(&Fault::EdgeUnreachable { ms });
            }
            ["explain", place] => self.explain(place)?,
            ["expect", what @ ..] => self.expect(what)?,
            ["wait"] => {}
            _ => return Err("known are: ship, approve, abort, rollback, hold, unhold, judge, count, crash, edge, explain, expect, wait".into()),
        }
        Ok(())
    }

    fn person(&mut self, act: Act) {
        self.acts += 1;
        let number = self.acts;
        let stage = self.stage();
        let trace = stage.trace.take();
        stage.trace = Some(Vec::new());
        stage.person(act, number, 0);
        // The act itself stands in the script already.
        let told = stage.trace.replace(trace.unwrap_or_default()).unwrap_or_default();
        let kept = told.into_iter().filter(|line| !line.contains("  person: "));
        stage.trace.get_or_insert_default().extend(kept);
    }

    fn environment(&mut self, name: &str) -> Result<usize, String> {
        let names = &self.settings.environments;
        names
            .iter()
            .position(|known| known.as_str() == name)
            .ok_or_else(|| format!("no environment is called `{name}`"))
    }

    fn judge(&mut self, stage: &str, verdict: &str) -> Result<(), String> {
        let number: usize = stage.parse().map_err(|_| "stages are numbered from 1".to_owned())?;
        let index = number.checked_sub(1).ok_or("stages are numbered from 1")?;
        let verdict = match verdict {
            "PASS" => Verdict::Pass,
            "FAIL" => Verdict::Fail,
            "INCONCLUSIVE" => Verdict::Inconclusive,
            "INSUFFICIENT" => Verdict::Insufficient,
            "INVALID" => Verdict::Invalid,
            _ => {
                return Err("a verdict is PASS, FAIL, INCONCLUSIVE, INSUFFICIENT or INVALID".into());
            }
        };
        self.stage().trials.said.insert(index, verdict);
        Ok(())
    }

    /// What the edge counted so far, for `explain`: requests/errors of canary and baseline.
    fn count(&mut self, canary: &str, baseline: &str) -> Result<(), String> {
        let pair = |text: &str| -> Option<(u64, u64)> {
            let (requests, errors) = text.split_once('/')?;
            Some((requests.parse().ok()?, errors.parse().ok()?))
        };
        let (canary, baseline) = pair(canary)
            .zip(pair(baseline))
            .ok_or("counts are REQUESTS/ERRORS of canary and baseline")?;
        let stage = self.stage();
        let at = stage.placement_at(stage.world.settings.environments.len() - 1);
        let judged = at.and_then(|it| match it.rollout.as_ref()?.step()? {
            humdrum_model::rollout::plan::Step::Judge { stage } => Some(*stage),
            _ => None,
        });
        let progress = Progress {
            stage: judged.ok_or("no stage is being judged now")?,
            canary_requests: canary.0,
            canary_errors: canary.1,
            baseline_requests: baseline.0,
            baseline_errors: baseline.1,
            log_e_fail: 100f64.ln(),
            log_e_pass: 20f64.ln(),
            left_ms: Some(4_000),
            ..Progress::default()
        };
        stage.boards.insert("last".into(), progress);
        Ok(())
    }

    fn crash(&mut self, point: &str) -> Result<(), String> {
        let point = match point {
            "before commit" => Point::BeforeCommit,
            "after commit" => Point::AfterCommit,
            "before effect" => Point::BeforeEffect,
            "after effect" => Point::AfterEffect,
            "now" => Point::Between,
            _ => return Err(
                "control crashes now, before commit, after commit, before effect, or after effect"
                    .into(),
            ),
        };
        self.stage().replicas[0].arm(point, 0, DOWN_MS);
        if point == Point::Between {
            self.stage().kill(0, DOWN_MS);
        }
        Ok(())
    }

    fn explain(&mut self, place: &str) -> Result<(), String> {
        let environment = self.environment(place)?;
        let stage = self.stage();
        let wall = stage.wall(0);
        let board = stage.boards.get("last");
        let why = stage.placement_at(environment).map(|it| it.explain(board, wall));
        let Some(why) = why else {
            self.print("  | Nothing was ever shipped here.");
            return Ok(());
        };
        for sentence in &why.report.sentences {
            self.print(&format!("  | {sentence}"));
        }
        if let Some(next) = &why.report.next {
            self.print(&format!("  > {next}"));
        }
        Ok(())
    }

    fn expect(&mut self, what: &[&str]) -> Result<(), String> {
        let (found, wanted) = match what {
            ["traffic", place, wanted @ ..] => {
                let route = placement(&env(place)).route();
                let table = self.stage().world.edge.routes.get(&route).map(|it| weights(&it.table));
                (table.unwrap_or_else(|| "none".into()), wanted.join(" "))
            }
            ["outcome", place, wanted] => {
                let environment = self.environment(place)?;
                let at = self.stage().placement_at(environment);
                let ended = at.and_then(|it| it.history.last()).map(|it| it.outcome.word());
                (ended.unwrap_or("none").into(), (*wanted).into())
            }
            ["instances", place, slot, wanted] => {
                let slot = if *slot == "b" { Slot::B } else { Slot::A };
                let unit = placement(&env(place)).unit(slot);
                let found = self.stage().world.agent.units.get(&unit).map_or(0, |it| it.instances.len());
                (found.to_string(), (*wanted).into())
            }
            ["held", name] => {
                let subject = HoldSubject::Release(release(name).id);
                let book = self.stage().published.get(HOLDS_RUN).cloned();
                let held = book.is_some_and(|state| match &*state {
                    humdrum_model::run::State::Holds(book) => book.holds.contains_key(&subject.word()),
                    _ => false,
                });
                (held.to_string(), "true".to_owned())
            }
            ["epoch", place, wanted] => {
                let run = placement_run(&placement(&env(place)));
                (self.stage().ledger.epoch(&run).to_string(), (*wanted).into())
            }
            _ => return Err("known are: traffic PLACE WEIGHTS, outcome PLACE WORD, instances PLACE SLOT COUNT, held NAME, epoch PLACE NUMBER".into()),
        };
        if found != wanted {
            self.ok = false;
            self.print(&format!("  EXPECTED {wanted}, FOUND {found}"));
        }
        Ok(())
    }
}

fn time(text: &str) -> Result<i64, String> {
    let (number, unit) = match text.strip_suffix("ms") {
        Some(number) => (number, 1),
        None => (text.strip_suffix('s').unwrap_or("?"), 1000),
    };
    let ms = number.parse::<f64>().ok().map(|it| (it * f64::from(unit)) as i64);
    ms.filter(|ms| (0..=STORY_MS_MAX).contains(ms))
        .ok_or_else(|| "a time is like `12s`, `1.5s` or `300ms`, at most a day".into())
}

//! The foundation: what a change is and what may be decided about it. No clock, I/O, randomness or async.
//!
//! # Words
//! One word, one meaning; these are the type names too.
//!
//! | word | meaning |
//! |---|---|
//! | service | what is released: owner, manifest |
//! | environment | an ordered place (dev, staging, production) with settings |
//! | settings | what holds for the whole installation: environments, and who may do what in them |
//! | principal | a person, team or machine under one name, to whom the settings give rights |
//! | artifact | bytes with a digest |
//! | evidence | a signed statement about an artifact |
//! | release | an immutable bundle of artifact, configuration, secret references and migrations; its id is a hash |
//! | promotion | admission of a release to an environment |
//! | gate | a rule that must hold at that moment |
//! | placement | a service in an environment: its two slots, its stable pointer, its one active rollout |
//! | rollout | the gradual exposure of a release in a placement |
//! | plan, step, exposure, slot | what a strategy compiles to; slots are `a` and `b` |
//! | judge, verdict | turns blocks into a verdict with its evidence |
//! | waiver | a permitted exception with owner, reason and end |
//! | hold | a block on a release, digest, service or environment, with owner and reason |
//! | target, router | where releases run; who splits traffic |
//! | unit, instance | the instances of one slot as the target knows them; one running copy |
//! | cell, block | one instance in one block of time; the cells of one route in that time |
//! | run | a durable state machine |
//! | report, refusal | why; an answer for a person, not an error |
//! | fence | the number that makes a late writer harmless |

pub mod approval;
pub mod block;
pub mod finding;
pub mod gate;
pub mod hold;
pub mod judge;
pub mod manifest;
pub mod name;
pub mod release;
pub mod report;
pub mod rollout;
pub mod route;
pub mod run;
pub mod settings;
pub mod ship;
pub mod unit;
pub mod verdict;
pub mod waiver;
pub mod window;

//! Landlock, the rung for machines that permit no namespaces: the host's tree, of which only named parts open.
//!
//! It does not hide other processes, and it stops TCP only: UDP and abstract sockets stay reachable.

use landlock::{
    ABI, Access, AccessFs, AccessNet, CompatLevel, Compatible, Ruleset, RulesetAttr,
    RulesetCreatedAttr, RulesetStatus, Scope, path_beneath_rules,
};

use crate::spec::{Network, Root, Spec};
use crate::wire::{InStep, Step};

/// The oldest ABI whose file rules leave no way around them (truncation is ABI 3), so the least we call a rung.
const ABI_LEAST: ABI = ABI::V3;
/// The newest ABI whose rules we use where the kernel has them.
const ABI_WANTED: ABI = ABI::V6;

/// What every program opens, beside what it was given.
const DEVICES: [&str; 6] =
    ["/dev/null", "/dev/zero", "/dev/full", "/dev/random", "/dev/urandom", "/dev/tty"];

/// Whether the kernel has Landlock, in words.
pub(crate) fn supported() -> Result<String, String> {
    Ruleset::default()
        .set_compatibility(CompatLevel::HardRequirement)
        .handle_access(AccessFs::from_all(ABI_LEAST))
        .and_then(|ruleset| ruleset.create())
        .map(|_| "Landlock confines files and TCP; processes and UDP stay shared".to_owned())
        .map_err(|error| format!("Landlock is not available: {error}"))
}

/// Confines this process, and all it starts, to the files that `spec` binds.
pub(crate) fn enter(spec: &Spec) -> Result<(), Step> {
    let (mut readable, mut writable) = (vec!["/proc".into()], DEVICES.map(Into::into).to_vec());
    for bind in &spec.binds {
        if bind.read_only { &mut readable } else { &mut writable }.push(bind.source.clone());
    }
    if let Root::Folder { path, read_only } = &spec.root {
        if *read_only { &mut readable } else { &mut writable }.push(path.clone());
    }
    let mut ruleset = Ruleset::default()
        .set_compatibility(CompatLevel::HardRequirement)
        .handle_access(AccessFs::from_all(ABI_LEAST))
        .step("preparing Landlock")?
        .set_compatibility(CompatLevel::BestEffort)
        .handle_access(AccessFs::from_all(ABI_WANTED))
        .step("preparing Landlock")?
        .scope(Scope::from_all(ABI_WANTED))
        .step("preparing Landlock")?;
    if spec.network == Network::Isolated {
        ruleset = ruleset
            .handle_access(AccessNet::from_all(ABI_WANTED))
            .step("preparing Landlock for TCP")?;
    }
    let status = ruleset
        .create()
        .step("making a Landlock ruleset")?
        .add_rules(path_beneath_rules(readable, AccessFs::from_read(ABI_WANTED)))
        .step("adding readable paths")?
        .add_rules(path_beneath_rules(writable, AccessFs::from_all(ABI_WANTED)))
        .step("adding writable paths")?
        .restrict_self()
        .step("entering Landlock")?;
    if status.ruleset == RulesetStatus::NotEnforced {
        return Err(Step { step: "entering Landlock".into(), error: "not enforced".into() });
    }
    Ok(())
}

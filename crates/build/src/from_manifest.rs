//! The part of a manifest that decides an image, as a build plan.

use humdrum_model::manifest::{Manifest, Runtime as Named};

use crate::plan::{BuildLimits, BuildPlan, FileMapping, Runtime, TestPlan};

impl BuildPlan {
    /// What a manifest asks to be built. `run.env` belongs to the release, not to the image: another value is another release of
    /// the same artifact.
    pub fn from_manifest(manifest: &Manifest) -> BuildPlan {
        let build = &manifest.build;
        let file =
            |(target, source): (&String, &humdrum_model::manifest::FileSource)| FileMapping {
                target: target.clone(),
                source: source.from.clone(),
                layer: source.layer.clone(),
            };
        let defaults = BuildLimits::default();
        BuildPlan {
            fetch: build.fetch.clone(),
            run: build.run.clone(),
            files: build.files.iter().map(file).collect(),
            test: manifest
                .test
                .as_ref()
                .map(|test| TestPlan { run: test.run.clone(), junit: test.junit.clone() }),
            base: build.base.clone(),
            runtime: build
                .runtime
                .iter()
                .map(|runtime| match runtime {
                    Named::Node => Runtime::Node,
                    Named::Python3 => Runtime::Python3,
                })
                .collect(),
            command: manifest.run.command.clone(),
            env: std::collections::BTreeMap::new(),
            port: None,
            user: None,
            labels: std::collections::BTreeMap::new(),
            limits: BuildLimits {
                memory_bytes: build.limits.memory.map(humdrum_model::manifest::Size::bytes),
                cpu_millis: build
                    .limits
                    .cpu
                    .map(|cores| u32::try_from(cores.millis()).unwrap_or(u32::MAX)),
                time_ms: build.limits.time.ms(),
                ..defaults
            },
        }
    }
}

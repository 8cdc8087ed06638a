//! The rehearsal stage: fake clock, fake world, seeded scheduler.

//! Versions for tests: real ones, and others made of them by small changes, the same in every run.

use std::fs;
use std::path::Path;

use humdrum_evidence::version::Scheme;

/// SplitMix64: small, and the same everywhere.
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn below(&mut self, end: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) % end as u64) as usize
    }

    fn pick<'a>(&mut self, from: &[&'a str]) -> &'a str {
        from[self.below(from.len())]
    }
}

pub(crate) fn real(names: &[&str]) -> Vec<String> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/version_peers/real");
    let read = |name: &&str| fs::read_to_string(folder.join(format!("{name}.txt"))).unwrap();
    names.iter().map(read).collect::<String>().split_whitespace().map(str::to_owned).collect()
}

/// A version with up to three small changes.
pub(crate) fn changed(scheme: Scheme, version: &str, random: &mut Random) -> String {
    let mut parts = split(version);
    for _ in 0..random.below(4) {
        let at = random.below(parts.len().max(1));
        match random.below(6) {
            0 | 1 => {
                let numbers: Vec<_> =
                    (0..parts.len()).filter(|i| parts[*i].as_bytes()[0].is_ascii_digit()).collect();
                if !numbers.is_empty() {
                    parts[numbers[random.below(numbers.len())]] = random
                        .pick(&["0", "1", "2", "3", "9", "10", "11", "99", "00", "01", "2024"])
                        .into();
                }
            }
            2 if parts.len() > 1 => {
                parts.remove(at);
            }
            3 => parts.insert(at, random.pick(pieces(scheme)).into()),
            _ => parts.push(random.pick(pieces(scheme)).into()),
        }
        parts = split(&parts.concat());
    }
    parts.concat()
}

/// Runs of digits, runs of letters, and every other character alone.
fn split(version: &str) -> Vec<String> {
    let mut parts: Vec<String> = vec![];
    let kind = |c: char| (c.is_ascii_digit(), c.is_ascii_alphabetic());
    let mut last = None;
    for character in version.chars() {
        match parts.last_mut() {
            Some(part) if last == Some(kind(character)) && kind(character) != (false, false) => {
                part.push(character);
            }
            _ => parts.push(character.to_string()),
        }
        last = Some(kind(character));
    }
    parts
}

/// What may be added to a version of this kind.
fn pieces(scheme: Scheme) -> &'static [&'static str] {
    match scheme {
        Scheme::SemVer | Scheme::Npm | Scheme::Go | Scheme::Pub => &[
            "-0",
            "-1",
            "-alpha",
            "-rc.1",
            ".1",
            ".0",
            ".a",
            "-a-b",
            "+1",
            "+b.2",
            ".rc",
            "A",
            "z",
            "-x10",
            "-0.20191109021931-daa7c04131f5",
        ],
        Scheme::NuGet => &["-beta", "-Beta", ".1", ".0", "-rc.2", ".RC", "+x", "-1"],
        Scheme::Pep440 => &[
            "a1",
            "b2",
            "rc1",
            ".post1",
            ".dev3",
            "-1",
            "+local.1",
            "+1",
            ".0",
            ".1",
            "c",
            "alpha",
            "_beta",
            ".pre2",
            "-rev3",
            "post",
            "dev",
            ".a",
            "+a.b",
            "-preview_1",
            ".r1",
        ],
        Scheme::Maven => &[
            "-1",
            ".1",
            ".0",
            "-0",
            "-alpha",
            "alpha1",
            ".beta",
            "-b2",
            "-rc",
            "cr1",
            "-SNAPSHOT",
            "snapshot",
            ".Final",
            "-ga",
            "-sp",
            "sp2",
            "-x",
            "x1",
            ".y",
            "m1",
            "-",
            ".",
            "_",
            "-foo.1",
            "final",
            "release",
            "RC1.0",
            "-M2",
        ],
        Scheme::Debian => &[
            "~", "~rc1", "+", "+b1", "-1", ".1", ".0", "a", "A", "z1", "~~", "+dfsg", "+deb12u1",
            "ubuntu1", ".", "-0", ":1",
        ],
        Scheme::Rpm => &[
            "~", "~rc1", "^", "^git1", "-1", ".1", ".0", "a", "B", "z1", ".el9", "_2", ".", "..",
            "~~", "^^", "rc", "+1",
        ],
        Scheme::Alpine => &[
            ".1", ".0", ".01", "a", "z", "_alpha", "_beta1", "_pre2", "_rc", "_p1", "_git2024",
            "-r1", "-r0", "~ab12", "_cvs",
        ],
        Scheme::RubyGems => &[
            ".1", ".0", ".a", ".pre", "-1", "-rc.1", "a", "b2", ".rc1", ".beta.2", ".00", "A",
            ".x0", "-x-y",
        ],
        Scheme::Composer => &[
            ".1", ".0", "-alpha", "-beta2", "RC1", "-dev", ".x-dev", "p1", "-pl2", "-patch",
            "-stable", "+b1", "-rc.3", ".*-dev", "@beta", "b", "a1", "_rc", "-01", "-p", ".dev",
        ],
    }
}

//! The policies that come with the binary: readable, printable, replaced by a policy of the installation with the same package.

/// A shipped policy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shipped {
    /// `vulnerabilities`: the last part of its package.
    pub name: &'static str,
    pub text: &'static str,
}

macro_rules! shipped {
    ($($name:literal),+) => {
        &[$(Shipped { name: $name, text: include_str!(concat!("../rego/", $name, ".rego")) }),+]
    };
}

/// All of them, in the order in which people read them.
pub const SHIPPED: &[Shipped] = shipped![
    "vulnerabilities",
    "secrets",
    "licences",
    "analysis",
    "scans",
    "approvals",
    "windows",
    "review"
];

//! Scopes of the token protocol: `repository:NAME:pull,push,delete`, and `registry:catalog:*` for the list of repositories.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::name::is_repository;

/// Scopes in one token; a client asks for two at most when it mounts.
pub const SCOPES_MAX: usize = 32;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Action {
    Pull,
    Push,
    Delete,
}

impl Action {
    pub const ALL: [Self; 3] = [Self::Pull, Self::Push, Self::Delete];

    pub fn name(self) -> &'static str {
        match self {
            Self::Pull => "pull",
            Self::Push => "push",
            Self::Delete => "delete",
        }
    }
}

/// What a scope is about.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Resource {
    Repository(String),
    /// The list of repositories.
    Catalog,
}

/// Actions on one resource.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Scope {
    pub resource: Resource,
    pub actions: Vec<Action>,
}

/// Why a text is no scope that this registry gives.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is not a scope: expected repository:NAME:pull,push,delete or registry:catalog:*")]
pub struct ScopeError {
    pub text: String,
}

impl Scope {
    pub fn new(repository: &str, actions: &[Action]) -> Self {
        let resource = Resource::Repository(repository.to_owned());
        Self { resource, actions: actions.to_vec() }
    }

    /// Reading the list of repositories.
    pub fn catalog() -> Self {
        Self { resource: Resource::Catalog, actions: vec![Action::Pull] }
    }

    /// The same resource with those actions that `keep` admits.
    #[must_use]
    pub fn only(&self, keep: impl Fn(Action) -> bool) -> Self {
        let actions = self.actions.iter().copied().filter(|action| keep(*action)).collect();
        Self { resource: self.resource.clone(), actions }
    }
}

pub fn covers(scopes: &[Scope], resource: &Resource, action: Action) -> bool {
    scopes.iter().any(|scope| scope.resource == *resource && scope.actions.contains(&action))
}

/// Reads a list with spaces; what this registry does not know is left out, as the protocol wants.
pub fn list(text: &str) -> impl Iterator<Item = Scope> + '_ {
    text.split(' ').filter_map(|scope| scope.parse().ok())
}

impl FromStr for Scope {
    type Err = ScopeError;

    fn from_str(text: &str) -> Result<Self, ScopeError> {
        let fail = || ScopeError { text: text.chars().take(200).collect() };
        if text == "registry:catalog:*" {
            return Ok(Self::catalog());
        }
        let (name, actions) = text
            .strip_prefix("repository:")
            .and_then(|rest| rest.rsplit_once(':'))
            .ok_or_else(fail)?;
        if !is_repository(name) {
            return Err(fail());
        }
        let asked: Vec<&str> = actions.split(',').collect();
        let wanted = |action: &Action| asked.contains(&action.name()) || asked.contains(&"*");
        Ok(Self::new(name, &Action::ALL.into_iter().filter(wanted).collect::<Vec<_>>()))
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.resource {
            Resource::Catalog => f.write_str("registry:catalog:*"),
            Resource::Repository(name) => {
                let actions: Vec<_> = self.actions.iter().map(|action| action.name()).collect();
                write!(f, "repository:{name}:{}", actions.join(","))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scopes_are_read_and_written() {
        let scope: Scope = "repository:a/b:push,pull,other".parse().unwrap();
        assert_eq!(scope.to_string(), "repository:a/b:pull,push");
        assert_eq!("repository:a:*".parse::<Scope>().unwrap().actions, Action::ALL);
        assert_eq!(Scope::catalog().to_string().parse(), Ok(Scope::catalog()));
        for bad in
            ["", "repository:a", "registry:catalog:pull", "repository:A:pull", "repository::pull"]
        {
            assert!(bad.parse::<Scope>().is_err(), "{bad}");
        }
        assert_eq!(list("repository:a:pull registry:other:* repository:b:push").count(), 2);
    }
}

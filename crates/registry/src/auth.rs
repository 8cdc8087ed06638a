//! Who may do what: the port to the caller's credentials, and the bearer challenge that clients follow.
//!
//! A request is admitted by Basic credentials, by a credential sent as Bearer, or by a token of `/v2/token` within its scope.

pub mod scope;
pub mod token;

use std::sync::Arc;

use crate::rights::Asked;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use humdrum_model::settings::OWNER;
use sha2::{Digest as _, Sha256};

pub use scope::{Action, Resource, Scope};
use token::TokenKey;

/// Longest `Authorization` value that is looked at, bytes.
const AUTHORIZATION_MAX: usize = 16 << 10;

/// What a client showed.
#[derive(Debug, Clone, Copy)]
pub enum Credential<'a> {
    Basic {
        user: &'a str,
        password: &'a str,
    },
    /// Not one of our own tokens: an API token sent as it is.
    Bearer(&'a str),
}

/// The caller's knowledge of people and machines.
pub trait Authenticator: Send + Sync {
    /// The name behind a credential, for grants and the audit; `None` refuses.
    fn check(&self, credential: Credential<'_>) -> Option<String>;

    /// Whether this name may do this to a repository.
    fn allows(&self, who: &str, repository: &str, action: Action) -> bool;

    /// The principals behind a name, to whom the settings give rights: the name itself, and the teams it is in.
    fn principals(&self, who: &str) -> Vec<String> {
        vec![who.to_owned()]
    }

    /// Whether [`Authenticator::decide`] can refuse this name at all.
    fn is_governed(&self, _who: &str) -> bool {
        false
    }

    /// Whether this name may do what a request asks, with the reason if not. Asked once the request is read, after `allows`.
    fn decide(&self, _who: &str, _action: Action, _asked: &Asked<'_>) -> Result<(), String> {
        Ok(())
    }

    /// Told before tags are made under a host name.
    fn made_under(&self, _host: &str, _repository: &str, _tags: &[String]) -> Result<(), String> {
        Ok(())
    }
}

/// One user that may do everything: the embedded default.
pub struct SingleCredential {
    user: String,
    /// Compared as hashes, so that the time tells nothing about the secret.
    secret: [u8; 32],
}

impl SingleCredential {
    pub fn new(user: impl Into<String>, password: &str) -> Self {
        Self { user: user.into(), secret: Sha256::digest(password).into() }
    }
}

impl Authenticator for SingleCredential {
    fn check(&self, credential: Credential<'_>) -> Option<String> {
        let (user, password) = match credential {
            Credential::Basic { user, password } => (user, password),
            Credential::Bearer(token) => (self.user.as_str(), token),
        };
        let shown: [u8; 32] = Sha256::digest(password).into();
        (user == self.user && shown == self.secret).then(|| self.user.clone())
    }

    fn allows(&self, _: &str, _: &str, _: Action) -> bool {
        true
    }

    fn principals(&self, _: &str) -> Vec<String> {
        vec![OWNER.to_owned()]
    }
}

/// The registry's door: the caller's authenticator, and the key of its tokens.
pub struct Auth {
    authenticator: Arc<dyn Authenticator>,
    key: TokenKey,
    service: String,
    public_url: Option<String>,
}

/// Who is asking, and how far the shown proof reaches.
#[derive(Debug, Clone)]
pub struct Principal {
    pub name: String,
    /// `None`: a credential itself; otherwise what the token was given for.
    scopes: Option<Vec<Scope>>,
}

/// What a proof allows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Grant {
    Allowed,
    /// The token was not asked to cover it: the client may fetch another.
    OutOfScope,
    /// The name itself may not.
    Denied,
}

impl Auth {
    /// `service` names this registry in challenges and tokens.
    pub fn new(
        authenticator: Arc<dyn Authenticator>,
        key: TokenKey,
        service: impl Into<String>,
    ) -> Self {
        Self { authenticator, key, service: service.into(), public_url: None }
    }

    /// The address that clients reach (`https://registry.example`), when it is not `http://` and the `Host` they ask for.
    #[must_use]
    pub fn with_public_url(mut self, url: impl Into<String>) -> Self {
        self.public_url = Some(url.into().trim_end_matches('/').to_owned());
        self
    }

    /// Reads an `Authorization` value.
    pub fn principal(&self, authorization: &str, now_ms: i64) -> Option<Principal> {
        if authorization.len() > AUTHORIZATION_MAX {
            return None;
        }
        let (scheme, value) = authorization.split_once(' ')?;
        let value = value.trim();
        if scheme.eq_ignore_ascii_case("basic") {
            return self.basic(value);
        }
        if !scheme.eq_ignore_ascii_case("bearer") {
            return None;
        }
        if let Some(claims) = self.key.open(value, &self.service, now_ms) {
            return Some(Principal { name: claims.subject, scopes: Some(claims.scopes) });
        }
        let name = self.authenticator.check(Credential::Bearer(value))?;
        Some(Principal { name, scopes: None })
    }

    fn basic(&self, value: &str) -> Option<Principal> {
        let text = String::from_utf8(STANDARD.decode(value).ok()?).ok()?;
        let (user, password) = text.split_once(':')?;
        self.password(user, password)
    }

    /// Checks a user and password.
    pub fn password(&self, user: &str, password: &str) -> Option<Principal> {
        let name = self.authenticator.check(Credential::Basic { user, password })?;
        Some(Principal { name, scopes: None })
    }

    /// What `who` may do to a repository.
    pub fn grant(&self, who: &Principal, repository: &str, action: Action) -> Grant {
        self.reach(who, &Resource::Repository(repository.to_owned()), action)
    }

    /// Whether `who` may ask for the list of repositories. Everybody may: the list names only what its reader may pull.
    pub fn grant_catalog(&self, who: &Principal) -> Grant {
        self.reach(who, &Resource::Catalog, Action::Pull)
    }

    fn reach(&self, who: &Principal, resource: &Resource, action: Action) -> Grant {
        let covered =
            who.scopes.as_ref().is_none_or(|scopes| scope::covers(scopes, resource, action));
        let allowed = match resource {
            Resource::Repository(name) => self.authenticator.allows(&who.name, name, action),
            Resource::Catalog => true,
        };
        match (covered, allowed) {
            (_, false) => Grant::Denied,
            (false, true) => Grant::OutOfScope,
            (true, true) => Grant::Allowed,
        }
    }

    /// Whether the name itself may, whatever the token covers: for what a client cannot name in a scope.
    pub fn may(&self, who: &Principal, repository: &str, action: Action) -> bool {
        self.authenticator.allows(&who.name, repository, action)
    }

    /// A token for those of the asked scopes that `who` may have; fewer is not an error.
    pub fn issue(&self, who: &Principal, asked: &[Scope], now_ms: i64) -> String {
        let granted = asked.iter().map(|scope| {
            scope.only(|action| self.reach(who, &scope.resource, action) == Grant::Allowed)
        });
        self.key.seal(&who.name, &self.service, granted.collect(), now_ms)
    }

    pub(crate) fn authenticator(&self) -> &Arc<dyn Authenticator> {
        &self.authenticator
    }

    pub fn service(&self) -> &str {
        &self.service
    }

    /// The value of `WWW-Authenticate` for a request that reached us as `host`.
    pub fn challenge(&self, host: Option<&str>, scopes: &[Scope], error: Option<&str>) -> String {
        let base = self.public_url.clone().unwrap_or_else(|| format!("http://{}", safe_host(host)));
        let mut text = format!("Bearer realm=\"{base}/v2/token\",service=\"{}\"", self.service);
        if !scopes.is_empty() {
            let scopes: Vec<_> = scopes.iter().map(ToString::to_string).collect();
            text.push_str(&format!(",scope=\"{}\"", scopes.join(" ")));
        }
        if let Some(error) = error {
            text.push_str(&format!(",error=\"{error}\""));
        }
        text
    }
}

/// The header goes back to the client inside quotes: only what a host can be made of.
fn safe_host(host: Option<&str>) -> &str {
    let fits =
        |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b':' | b'[' | b']' | b'_');
    host.filter(|host| !host.is_empty() && host.bytes().all(fits)).unwrap_or("localhost")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn auth() -> Auth {
        Auth::new(
            Arc::new(SingleCredential::new("humdrum", "secret")),
            TokenKey::from_bytes([7; 32]),
            "humdrum",
        )
    }

    #[test]
    fn credentials_and_tokens_open_the_door() {
        let auth = auth();
        let basic = |text: &str| format!("Basic {}", STANDARD.encode(text));
        assert!(auth.principal(&basic("humdrum:secret"), 0).is_some());
        assert!(auth.principal("bearer secret", 0).is_some());
        for bad in [
            &basic("humdrum:wrong"),
            &basic("other:secret"),
            &basic("humdrum"),
            "Basic !!",
            "Bearer x",
            "Digest y",
            "",
            "Bearer",
        ] {
            assert!(auth.principal(bad, 0).is_none(), "{bad}");
        }
        let who = auth.password("humdrum", "secret").unwrap();
        let token = auth.issue(&who, &["repository:shop:pull".parse().unwrap()], 0);
        let scoped = auth.principal(&format!("Bearer {token}"), 1).unwrap();
        assert_eq!(auth.grant(&scoped, "shop", Action::Pull), Grant::Allowed);
        assert_eq!(auth.grant(&scoped, "shop", Action::Push), Grant::OutOfScope);
        assert_eq!(auth.grant(&scoped, "other", Action::Pull), Grant::OutOfScope);
        // A narrow token cannot be traded for a wide one.
        let wider = auth.issue(&scoped, &["repository:shop:pull,push".parse().unwrap()], 1);
        let wider = auth.principal(&format!("Bearer {wider}"), 2).unwrap();
        assert_eq!(auth.grant(&wider, "shop", Action::Push), Grant::OutOfScope);
    }

    #[test]
    fn a_hostile_host_does_not_leave_its_quotes() {
        let text = auth().challenge(Some("x\",realm=\"http://evil"), &[], None);
        assert_eq!(text, "Bearer realm=\"http://localhost/v2/token\",service=\"humdrum\"");
        assert!(
            auth()
                .challenge(Some("127.0.0.1:5000"), &[], None)
                .contains("http://127.0.0.1:5000/v2/token")
        );
    }
}

//! What becomes of images with time: ECR's lifecycle policy documents, read verbatim, and the rule that what is in use stays.
//!
//! [`policy`] reads and checks a document, [`evaluate()`] decides over a list of images, `retention` speaks for the environments
//! where no rule does. All are pure; [`Lifecycle`] carries decisions out, and [`pulls`] keeps the time of the last use.
//!
//! Source of format and rules: the Amazon ECR user guide, "Lifecycle policy properties" and "Examples of lifecycle policies".

pub mod policy;
pub mod pulls;

mod carry;
mod evaluate;
mod image;
mod matching;
mod retention;

pub use carry::{Lifecycle, LifecycleError, Outcome, Previewed};
pub use evaluate::{Act, Decision, evaluate};
pub use image::{Image, Protected};
pub use policy::{Policy, PolicyError, Rule};

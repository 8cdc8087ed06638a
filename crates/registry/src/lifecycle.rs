//! What becomes of images with time: ECR's lifecycle policy documents, read verbatim, and the rule that what is in use stays.
//!
//! [`policy`] reads and checks a document, [`evaluate()`] decides over a list of images. Both are pure.
//!
//! Source of format and rules: the Amazon ECR user guide, "Lifecycle policy properties" and "Examples of lifecycle policies".

pub mod policy;

mod evaluate;
mod image;
mod matching;

pub use evaluate::{Act, Decision, evaluate};
pub use image::{Image, Protected};
pub use policy::{Policy, PolicyError, Rule};

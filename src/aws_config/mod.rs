//! The AWS configuration, read.
//!
//! Owns: the INI dialect of the AWS SDKs (the union of what they accept), sessions, profiles, and which of them a
//! request means. Refuses to know: the file system and the environment (both are handed in). Invariant: a line
//! that cannot be read costs that line, a section that makes no sense costs that section, never the file.

#[cfg(test)]
mod agreement_tests;
mod catalog;
mod chains;
#[cfg(test)]
mod chains_tests;
mod ini;
#[cfg(test)]
mod linear_tests;
mod network;
mod profiles;
mod sections;
mod select;
mod sessions;
pub mod shadow;
mod shim;
mod sts;
pub mod survey;
mod whole;
pub(crate) mod work;
pub mod writing;

pub use catalog::{Catalog, Diff, Place, Profile, Rejected, SessionDefinition, SourceFile, Sources, Warning};
pub use select::SelectError;
pub use whole::Whole;

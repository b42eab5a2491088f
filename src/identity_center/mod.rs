//! What IAM Identity Center says and is told, as values.
//!
//! Owns: the model of sso-oidc and the portal (protocol facts), endpoints and partitions, and which origin a
//! secret belongs to. Refuses to know about sockets, clocks and files. Invariant: whatever comes from the
//! service has passed through a type here before anything else sees it.

pub mod console;
pub mod device;
pub mod endpoint;
pub mod error;
pub mod link;
pub mod origin;
pub mod partition;
pub mod portal;
pub mod registration;
pub mod start_url;
pub mod token;

pub use device::DeviceAuthorization;
pub use endpoint::{Endpoint, Endpoints, InvalidEndpoint};
pub use error::{ErrorName, ServiceError};
pub use origin::{Bound, Origin, WrongOrigin};
pub use portal::{Account, Role, RoleCredentials};
pub use registration::{ClientRegistration, Flow};
pub use token::{TokenResponse, TokenSet};

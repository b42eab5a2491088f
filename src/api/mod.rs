//! The socket API, version 1: HTTP/1.1 with JSON over the agent's Unix socket.
//!
//! Owns: every route, request, response and error, with encoding and parsing side by side; both binaries and the
//! server compile this one table. Refuses to know how bytes travel. Invariant: what `encode` writes, `parse` reads;
//! clients ignore unknown response members, the server refuses unknown request members.

mod bodies;
pub mod hand_out;
mod lock;
mod login;
mod parameters;
pub mod problem;
pub mod request;
pub mod response;
pub mod status;
mod target;

pub use hand_out::{EncodedCredentials, HandOut, Handed};
pub use problem::{Code, Problem};
pub use request::{
    FlowChoice, LoginRequest, Method, RawRequest, Request, SessionQuery, StartedBy, TargetQuery, TokenKind,
};
pub use response::{
    AccountEntry, Accounts, Adopted, ConsoleAccess, CredentialDocument, FlowChosenBy, Health, LockDetails, LockStatus,
    LoggedOut, LoginState, LoginStatus, Reloaded, Response, RoleEntry, Roles, Token,
};
pub use status::{
    AuditStatus, DoorStatus, LastError, PublishStatus, RegistrationStatus, SessionState, SessionStatus, Status,
    StorageReport, StorageStatus, TargetStatus, WarningEntry,
};

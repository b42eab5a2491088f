//! The socket API, version 1: HTTP/1.1 with JSON over the agent's Unix socket.
//!
//! Owns: every route, request, response and error, with encoding and parsing side by side; both binaries and the
//! server compile this one table. Refuses to know how bytes travel. Invariant: what `encode` writes, `parse` reads;
//! clients ignore unknown response members, the server refuses unknown request members.

mod bodies;
mod door;
pub mod hand_out;
mod lock;
mod login;
mod parameters;
pub mod problem;
pub mod request;
pub mod response;
mod target;

pub use door::DoorStatus;
pub use hand_out::{EncodedCredentials, HandOut, Handed};
pub use problem::{Code, Problem};
pub use request::{
    FlowChoice, LoginRequest, Method, RawRequest, Request, SessionQuery, StartedBy, TargetQuery, TokenKind,
};
pub use response::{
    AccountEntry, Accounts, Adopted, AuditStatus, ConsoleAccess, CredentialDocument, FlowChosenBy, Health, LastError,
    LockDetails, LockStatus, LoggedOut, LoginState, LoginStatus, PublishStatus, RegistrationStatus, Reloaded, Response,
    RoleEntry, Roles, SessionState, SessionStatus, Status, StorageReport, StorageStatus, TargetStatus, Token,
    WarningEntry,
};

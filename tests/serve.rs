//! Restricted sockets (`[serve.NAME]`): a few targets for whoever must not have everything.

mod reload;
mod remote;
mod scene;
mod targets;
mod users;

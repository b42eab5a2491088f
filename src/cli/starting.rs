//! The agent as the commands know it: asked, and started first where there is none and the request is worth it.

use std::io;
use std::time::Duration;

use crate::api::Request;
use crate::client::{Client, ClientError, Reply};
use crate::env::Env;
use crate::launch;
use crate::paths::SocketPath;

use super::context::{Ask, Take};
use super::watching::Feed;

/// A client that starts an agent on demand.
pub(super) struct Starting<'a> {
    pub(super) client: &'a Client,
    pub(super) env: &'a Env,
}

impl Ask for Starting<'_> {
    fn send(&self, request: &Request, patience: Duration) -> Result<Reply, ClientError> {
        self.client.send_or(request, patience, &mut |left| {
            if launch::is_worth_one(request) {
                launch::on_demand(self.env, self.client.socket(), left)
            } else {
                Ok(false)
            }
        })
    }

    // By then there is one: nobody asks for many things before having asked for one.
    fn send_all(&self, requests: &[Request], patience: Duration, take: &mut Take<'_>) {
        Ask::send_all(self.client, requests, patience, take);
    }

    fn start(&self, patience: Duration) -> Result<bool, ClientError> {
        launch::on_demand(self.env, self.client.socket(), patience)
    }

    fn agent_version(&self) -> Option<String> {
        self.client.agent_version()
    }

    fn pause(&self, pause: Duration) {
        Ask::pause(self.client, pause);
    }

    fn feed(&self) -> io::Result<Box<dyn Feed + '_>> {
        Ask::feed(self.client)
    }

    fn socket(&self) -> Option<&SocketPath> {
        Some(self.client.socket())
    }
}

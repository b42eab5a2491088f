//! The agent's life: engine and doors side by side, what signals mean to them, and the order in which they end.
//!
//! Invariant: the doors close before the engine ends, and both have ended when this returns.

use std::sync::Arc;

use tokio::sync::{mpsc, oneshot};

use crate::audit::Audit;
use crate::background;
use crate::container::Endpoints;
use crate::engine::{self, Ended, Handle, Order, State, World};
use crate::policy::Policies;
use crate::server::{self, Guests, Limits, Listeners, Means, Meters};
use crate::service::Manager;
use crate::signals::{Signal, Signals};
use crate::upstream::{Https, Measured};

/// Engine and server side by side, until a signal or the engine's own end.
#[expect(clippy::too_many_arguments, reason = "each is a part of the agent, and this is where they meet")]
pub(super) async fn live(
    state: State,
    world: World<Measured<Https>>,
    listeners: Listeners,
    audit: Arc<Audit>,
    policies: Arc<Policies>,
    endpoints: Endpoints,
    meters: Arc<Meters>,
    manager: &Manager,
    background: bool,
) -> std::io::Result<Ended> {
    let mut signals = Signals::new()?;
    let (handle, questions) = Handle::channel(QUESTIONS, Arc::clone(&world.clock));
    let (orders, ordered) = mpsc::channel(ORDERS);
    let (close, closed) = oneshot::channel::<()>();
    let anybody_elsewhere = endpoints.any();
    let (close_endpoints, endpoints_closed) = oneshot::channel::<()>();
    let endpoints = tokio::spawn(endpoints.keep(handle.clone(), Arc::clone(&audit), async {
        let _ = endpoints_closed.await;
    }));
    // They are open, or it is known why not, before the agent says that it is ready.
    tokio::task::yield_now().await;
    let idle = Arc::clone(&world.idle);
    let guests = Guests::default();
    let means = Means { handle, audit, policies, meters, limits: Limits::default() };
    let server = tokio::spawn(server::serve(listeners, means, guests.clone(), async {
        // Told to, or whoever would tell is gone: both mean to close.
        let _ = closed.await;
        drop(close_endpoints);
    }));
    let engine = engine::run(state, world, questions, ordered);
    let mut engine = std::pin::pin!(engine);
    tracing::info!(version = env!("CARGO_PKG_VERSION"), "ready");
    manager.ready();
    if background {
        background::acknowledge();
    }
    let ended = loop {
        tokio::select! {
            ended = &mut engine => {
                // The server ends when it is told to, not when nobody answers its questions.
                drop(close);
                break ended;
            }
            () = idle.notified() => {
                if !guests.are_gone() || anybody_elsewhere() {
                    continue;
                }
                // The server looks whether it is to close before it accepts, on this same thread: who connects from now
                // on is not accepted here, waits at the manager's socket, and has the agent started again.
                tracing::info!("nobody needs the agent: ending until the next call");
                manager.stopping();
                break stop(&orders, close, &mut engine).await;
            }
            signal = signals.next() => {
                let order = match signal {
                    Signal::Stop => Order::Stop,
                    Signal::Reload => Order::Reload,
                };
                tracing::info!(?order, "signal");
                if order == Order::Stop {
                    manager.stopping();
                    break stop(&orders, close, &mut engine).await;
                }
                // Full means that a reload is waiting already.
                let _ = orders.try_send(order);
            }
        }
    };
    drop(server.await);
    drop(endpoints.await);
    Ok(ended)
}

/// Stops accepting, and lets the engine come to its end. Further signals change nothing.
async fn stop(
    orders: &mpsc::Sender<Order>,
    close: oneshot::Sender<()>,
    engine: &mut (impl Future<Output = Ended> + Unpin),
) -> Ended {
    drop(close);
    let mut engine = engine;
    tokio::select! {
        ended = &mut engine => ended,
        // The engine reads its orders, so there is room as soon as it has turned once.
        _ = orders.send(Order::Stop) => engine.await,
    }
}

const QUESTIONS: usize = 1024;
const ORDERS: usize = 8;

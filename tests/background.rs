//! An agent that nobody keeps a terminal for: started on demand or by `start`, ended by `stop`.

mod demand;
mod detached;
mod ending;
mod supervised;

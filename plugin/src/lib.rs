//! The kubectl plugin of KotobaDB.
//!
//! What it tells is in the resource's status, which the operator writes; only `drain` and `cancel` speak to the database,
//! through the API server. `explain`, `show` and `table` hold no client: they turn what was read into text.

pub mod args;
pub mod error;
pub mod explain;
mod leave;
mod output;
mod resource;
pub mod run;
mod show;
mod table;

//! The catalogue in use: the local copy, the way to change it, the oracle of timestamps, and the meta leader's driver.

pub mod client;
pub mod driver;
pub mod local;
pub mod oracle;
pub mod timestamps;
pub mod votes;

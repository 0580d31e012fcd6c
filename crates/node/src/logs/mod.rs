//! Containers' logs, in the format of the Container Runtime Interface.

mod pump;
mod read;
mod write;

pub(crate) use pump::pump;
pub(crate) use read::{LogOptions, follow};
pub(crate) use write::{LogFile, Stream};

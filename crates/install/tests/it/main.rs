//! The charts, held against what is installed without Helm.

mod cluster;
mod golden;
mod helm;

//! The admission webhooks: injection and validation, over HTTPS.

mod bundle;
mod inject;
mod notice;
mod review;
mod server;
mod validate;

pub use bundle::{OwnService, keep_patched};
pub use inject::Injector;
pub use server::{Webhooks, serve};

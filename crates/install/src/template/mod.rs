//! Manifests with places for values: one description, which is printed as a Helm template and evaluated in process.
//!
//! A place is always a whole YAML value or stands in a quoted text, so that no value can break the structure.

#[macro_use]
mod macros;
mod evaluate;
mod node;
mod print;

pub use evaluate::{Scope, pairs, truth};
pub use node::{Condition, Document, Entry, Expr, Item, Node, Piece, Template, values};

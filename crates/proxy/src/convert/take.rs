//! Paths, errors, and the macro that takes messages apart.

use std::collections::HashMap;
use std::fmt;

use thiserror::Error;

/// A field that cannot be used.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[error("{path}: {reason}")]
pub struct ConvertError {
    /// The field's path from the resource's root.
    pub path: String,
    /// Why it cannot be used.
    pub reason: String,
}

/// Where in the resource we are; linked from the leaf to the root, so that no path is built unless it is needed.
#[derive(Clone, Copy, Debug)]
pub(crate) struct At<'a> {
    parent: Option<&'a At<'a>>,
    step: Step<'a>,
}

#[derive(Clone, Copy, Debug)]
enum Step<'a> {
    Name(&'a str),
    Index(usize),
}

impl<'a> At<'a> {
    /// A resource's root.
    pub(crate) const fn root(name: &'a str) -> At<'a> {
        At { parent: None, step: Step::Name(name) }
    }

    /// A field below.
    pub(crate) fn field(&'a self, name: &'a str) -> At<'a> {
        At { parent: Some(self), step: Step::Name(name.strip_prefix("r#").unwrap_or(name)) }
    }

    /// An item below.
    pub(crate) fn index(&'a self, index: usize) -> At<'a> {
        At { parent: Some(self), step: Step::Index(index) }
    }

    /// An error here.
    pub(crate) fn error(&self, reason: impl Into<String>) -> ConvertError {
        ConvertError { path: self.to_string(), reason: reason.into() }
    }

    /// The field may not be missing.
    pub(crate) fn missing(&self) -> ConvertError {
        self.error("is required")
    }

    /// The field's value is not supported.
    pub(crate) fn unsupported(&self, what: impl fmt::Display) -> ConvertError {
        self.error(format!("{what} is not supported"))
    }
}

impl fmt::Display for At<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.parent, self.step) {
            (None, Step::Name(name)) => f.write_str(name),
            (None, Step::Index(index)) => write!(f, "[{index}]"),
            // The root is the resource itself, which the reader knows.
            (Some(At { parent: None, .. }), Step::Name(name)) => f.write_str(name),
            (Some(parent), Step::Name(name)) => write!(f, "{parent}.{name}"),
            (Some(parent), Step::Index(index)) => write!(f, "{parent}[{index}]"),
        }
    }
}

/// Whether a protobuf field differs from its default.
pub(crate) trait IsSet {
    fn is_set(&self) -> bool;
}

impl<T> IsSet for Option<T> {
    fn is_set(&self) -> bool {
        self.is_some()
    }
}

impl<T> IsSet for Vec<T> {
    fn is_set(&self) -> bool {
        !self.is_empty()
    }
}

impl<K, V> IsSet for HashMap<K, V> {
    fn is_set(&self) -> bool {
        !self.is_empty()
    }
}

impl IsSet for String {
    fn is_set(&self) -> bool {
        !self.is_empty()
    }
}

impl IsSet for bool {
    fn is_set(&self) -> bool {
        *self
    }
}

macro_rules! numbers {
    ($($number:ty),*) => {
        $(impl IsSet for $number {
            fn is_set(&self) -> bool {
                *self != <$number>::default()
            }
        })*
    };
}
numbers!(i32, u32, i64, u64, f32, f64);

/// Fails when the field is set.
pub(crate) fn refuse(value: &impl IsSet, at: &At<'_>) -> Result<(), ConvertError> {
    if value.is_set() { Err(at.error("is not supported")) } else { Ok(()) }
}

/// Takes a message apart: binds the used fields, skips the ignored ones (which must stand in the table of
/// [`super::ignored`]) and fails when one of the refused ones is set.
macro_rules! take {
    // The type goes by another name here than in Envoy's messages.
    ($message:expr, $at:expr, $type:ident { $($used:ident),* $(,)? } ignore_as $name:ident { $($ignored:ident),* $(,)? }
     $(refuse { $($refused:ident),* $(,)? })?) => {
        let $type { $($used,)* $($ignored: _,)* $($($refused,)*)? } = $message;
        $(const { assert!($crate::convert::ignored::listed(stringify!($name), stringify!($ignored))) };)*
        $($($crate::convert::take::refuse($refused, &$at.field(stringify!($refused)))?;)*)?
    };
    ($message:expr, $at:expr, $type:ident { $($used:ident),* $(,)? }
     $(ignore { $($ignored:ident),* $(,)? })? $(refuse { $($refused:ident),* $(,)? })?) => {
        let $type { $($used,)* $($($ignored: _,)*)? $($($refused,)*)? } = $message;
        $($(const { assert!($crate::convert::ignored::listed(stringify!($type), stringify!($ignored))) };)*)?
        $($($crate::convert::take::refuse($refused, &$at.field(stringify!($refused)))?;)*)?
    };
}
pub(crate) use take;

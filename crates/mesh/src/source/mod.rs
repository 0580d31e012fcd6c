//! API objects -> the mesh's own, distilled forms.

pub(crate) mod kubernetes;
pub(crate) mod service_entry;
pub(crate) mod slice;

//! Filters that wait or need more than a look: faults and CORS.

pub mod cors;
pub mod fault;

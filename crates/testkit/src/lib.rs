//! Helpers of tests and benchmarks; no part of the product.

pub mod http;
pub mod kubectl;

//! Headers in, headers out.

use super::context::{SpanContext, extract, inject};
use crate::config::Propagation;
use crate::http::Headers;
use bytes::Bytes;

fn headers(list: &[(&'static str, &str)]) -> Headers {
    let mut headers = Headers::new();
    for (name, value) in list {
        headers.append(name, Bytes::copy_from_slice(value.as_bytes()));
    }
    headers
}

/// The span below what the headers say.
fn child(propagation: Propagation, list: &[(&'static str, &str)]) -> Option<SpanContext> {
    let mut next = 41;
    let mut random = || {
        next += 1;
        next
    };
    Some(extract(propagation, &headers(list))?.child(true, (false, true), &mut random))
}

const TRACE: &str = "80f198ee56343ba864fe8b2a57d3eff7";
const SPAN: &str = "e457b5a2e4d86bd1";

#[test]
fn a_b3_trace_goes_on_below_the_clients_span() {
    let list = [("x-b3-traceid", TRACE), ("x-b3-spanid", SPAN), ("x-b3-sampled", "0")];
    let below = child(Propagation::B3, &list).unwrap();
    assert_eq!(
        (below.trace, below.parent),
        (u128::from_str_radix(TRACE, 16).unwrap(), Some(0xe457_b5a2_e4d8_6bd1))
    );
    assert!(!below.sampled, "the client's decision counts");
    let mut out = headers(&list);
    inject(Propagation::B3, &below, &mut out);
    assert_eq!(out.get("x-b3-parentspanid"), Some(SPAN.as_bytes()));
    assert_eq!(out.get("x-b3-spanid"), Some(&b"000000000000002a"[..]));
    assert_eq!(out.get("x-b3-sampled"), Some(&b"0"[..]));
    assert_eq!(out.len(), 4);
}

#[test]
fn the_short_form_of_b3_is_read() {
    let single = format!("{TRACE}-{SPAN}-1-05e3ac9a4f6e3b90");
    let below = child(Propagation::B3, &[("b3", &single)]).unwrap();
    assert!(below.sampled && below.wide);
    let narrow = child(Propagation::B3, &[("b3", "64fe8b2a57d3eff7-e457b5a2e4d86bd1")]).unwrap();
    assert!(!narrow.wide);
    let refused = child(Propagation::B3, &[("b3", "0")]).unwrap();
    assert!(!refused.sampled && refused.parent.is_none() && refused.trace != 0);
}

#[test]
fn a_traceparent_goes_on() {
    let given = format!("00-{TRACE}-{SPAN}-01");
    let below = child(Propagation::W3c, &[("traceparent", &given)]).unwrap();
    let mut out = headers(&[("traceparent", &given), ("tracestate", "a=b")]);
    inject(Propagation::W3c, &below, &mut out);
    let expected = format!("00-{TRACE}-000000000000002a-01");
    assert_eq!(out.get("traceparent"), Some(expected.as_bytes()));
    assert_eq!((out.get("tracestate"), out.len()), (Some(&b"a=b"[..]), 2));
    assert!(child(Propagation::B3AndW3c, &[("traceparent", &given)]).is_some());
    assert!(child(Propagation::B3, &[("traceparent", &given)]).is_none());
}

#[test]
fn what_is_malformed_is_no_trace() {
    let zero = format!("00-{}-{SPAN}-01", "0".repeat(32));
    let more = format!("00-{TRACE}-{SPAN}-01-x");
    let plus = format!("00-+{}-{SPAN}-01", &TRACE[1..]);
    for bad in ["", "00", "ff-a-b-01", "00-zz-1-01", &zero, &more, &plus, "00-é-é-é"] {
        assert!(child(Propagation::W3c, &[("traceparent", bad)]).is_none(), "{bad}");
    }
    for bad in ["", "x", "12-34-1", "-----"] {
        assert!(child(Propagation::B3, &[("b3", bad)]).is_none(), "{bad}");
    }
}

//! Warnings about rules of a VirtualService that no request can reach.

use std::collections::HashMap;

use crate::networking::virtual_service::{StringMatch, VirtualServiceSpec};
use crate::networking::virtual_service_http::{HttpMatchRequest, HttpRoute};
use crate::wire::field::Field;
use crate::wire::report::Report;

/// Warns of rules and conditions that earlier ones make useless.
pub fn warn(spec: &VirtualServiceSpec, report: &mut Report) {
    let http: Vec<Vec<String>> = spec.http.iter().map(http_conditions).collect();
    report.field("http", |r| {
        duplicates(r, &http);
        covered_prefixes(r, &spec.http);
    });
    let tls: Vec<Vec<String>> = spec.tls.iter().map(|route| texts(&route.r#match)).collect();
    report.field("tls", |r| duplicates(r, &tls));
    let tcp: Vec<Vec<String>> = spec.tcp.iter().map(|route| texts(&route.r#match)).collect();
    report.field("tcp", |r| duplicates(r, &tcp));
}

fn texts<T: Field>(conditions: &[T]) -> Vec<String> {
    conditions.iter().map(|condition| condition.encode().to_string()).collect()
}

/// The conditions of a route without their names, which do not tell them apart.
fn http_conditions(route: &HttpRoute) -> Vec<String> {
    let unnamed = route.r#match.iter().map(|c| HttpMatchRequest { name: String::new(), ..c.clone() });
    texts(&unnamed.collect::<Vec<_>>())
}

fn duplicates(report: &mut Report, rules: &[Vec<String>]) {
    let mut seen: HashMap<&str, usize> = HashMap::new();
    let mut catch_all = false;
    for (index, conditions) in rules.iter().enumerate() {
        report.index(index, |r| {
            if conditions.is_empty() {
                if catch_all {
                    r.warn("not used (only the last rule can have no matches)");
                }
                catch_all = true;
                return;
            }
            let mut useless = 0;
            for (at, condition) in conditions.iter().enumerate() {
                match seen.get(condition.as_str()) {
                    Some(earlier) => {
                        useless += 1;
                        let message = format!("not used (duplicate match in rule #{earlier})");
                        r.field("match", |r| r.index(at, |r| r.warn(message)));
                    }
                    None => drop(seen.insert(condition, index)),
                }
            }
            if useless == conditions.len() {
                r.warn("not used (all matches used by prior rules)");
            }
        });
    }
}

/// Warns where an earlier prefix already takes what a later, longer one means to take.
fn covered_prefixes(report: &mut Report, routes: &[HttpRoute]) {
    let mut earlier: Vec<(usize, &str, String)> = Vec::new();
    for (index, route) in routes.iter().enumerate() {
        for (at, condition) in route.r#match.iter().enumerate() {
            let Some(StringMatch::Prefix(prefix)) = &condition.uri else { continue };
            let rest =
                HttpMatchRequest { name: String::new(), uri: None, ..condition.clone() }.encode().to_string();
            let by = earlier
                .iter()
                .find(|(_, p, r)| *r == rest && p.len() < prefix.len() && prefix.starts_with(*p));
            if let Some((rule, shorter, _)) = by {
                let message =
                    format!("not used (prefix {prefix} is covered by prefix {shorter} of rule #{rule})");
                report.index(index, |r| r.field("match", |r| r.index(at, |r| r.warn(message))));
            }
            earlier.push((index, prefix, rest));
        }
    }
}

//! Rules to the words of `iptables-restore`.

use super::{Error, Version};
use crate::rule::{Cmp, Part, Prefix, Proto, Reject, Rule, Side, Verdict};

/// `XT_MULTI_PORTS`: ports that one multiport match holds.
const MULTIPORT_LIMIT: usize = 15;
/// `IFNAMSIZ - 1`.
const INTERFACE_NAME_LEN: usize = 15;

/// A rule's lines, each beginning with a space. One rule becomes several where it has more ports than a match holds,
/// several addresses, or several actions; none where it never matches in this IP version.
pub(super) fn lines(rule: &Rule, version: Version) -> Result<Vec<String>, Error> {
    let refuse = |reason: String| Error::Untranslatable { what: rule.to_string(), reason };
    let mut translation = Translation { v4: version == Version::V4, ..Translation::default() };
    for part in &rule.parts {
        translation.part(part).map_err(refuse)?;
    }
    translation.finish().map_err(refuse)
}

/// Whether a text is safe as one word of the input: no blank, quote or control character, and no flag.
pub(super) fn is_word(text: &str) -> bool {
    let stray = |c: char| c.is_whitespace() || c.is_control() || matches!(c, '"' | '\'' | '\\' | '/');
    !text.is_empty() && !text.starts_with(['-', '!', '#', ':', '*']) && !text.contains(stray)
}

#[derive(Default)]
struct Translation {
    v4: bool,
    never: bool,
    proto: Option<(Cmp, u8)>,
    /// Flags that a rule may have once.
    used: Vec<&'static str>,
    /// What has to hold, each in one of several ways.
    matches: Vec<Vec<String>>,
    /// Whether a mark is looked at.
    looks_at_mark: bool,
    targets: Vec<String>,
    /// Which of the targets is the first that changes one.
    changes_mark: Option<usize>,
    /// The mark that the last target sets, which TPROXY sets itself.
    mark: Option<u32>,
    /// Whether the last target ends the way of the packet; then how.
    end: Option<End>,
}

#[derive(PartialEq, Eq)]
enum End {
    Tproxy,
    Other,
}

impl Translation {
    fn part(&mut self, part: &Part) -> Result<(), String> {
        match part {
            Part::L4Proto(cmp, number) => self.proto(*cmp, *number)?,
            Part::Mark(cmp, mark) => {
                self.looks_at_mark = true;
                self.must(format!(" -m mark {}--mark {mark:#x}", not(*cmp)));
            }
            Part::CtMark(cmp, mark) => {
                self.looks_at_mark = true;
                self.must(format!(" -m connmark {}--mark {mark:#x}", not(*cmp)));
            }
            Part::SkUid(cmp, id) => self.must(format!(" -m owner {}--uid-owner {id}", not(*cmp))),
            Part::SkGid(cmp, id) => self.must(format!(" -m owner {}--gid-owner {id}", not(*cmp))),
            Part::Iif(cmp, name) => self.interface("-i", *cmp, name)?,
            Part::Oif(cmp, name) => self.interface("-o", *cmp, name)?,
            Part::Addr(side, cmp, prefix) => self.addresses(*side, *cmp, &[*prefix])?,
            Part::Addrs(side, cmp, addrs) => {
                let hosts: Vec<Prefix> = addrs.iter().copied().map(Prefix::host).collect();
                self.addresses(*side, *cmp, &hosts)?;
            }
            Part::Ports(proto, side, cmp, ports) => self.ports(*proto, *side, *cmp, ports)?,
            Part::CtState(states) => {
                let states: Vec<String> = states.iter().map(|state| state.word().to_uppercase()).collect();
                self.must(format!(" -m conntrack --ctstate {}", states.join(",")));
            }
            Part::CtDnat => self.must(" -m conntrack --ctstate DNAT".to_owned()),
            Part::TransparentSocket => self.must(" -m socket --transparent".to_owned()),
            Part::PairIn(_) | Part::ServiceVmap(..) => {
                return Err("sets and maps are nftables' alone".to_owned());
            }
            action => self.action(action)?,
        }
        Ok(())
    }

    fn action(&mut self, part: &Part) -> Result<(), String> {
        if self.end == Some(End::Tproxy) && *part == Part::Verdict(Verdict::Accept) {
            return Ok(());
        }
        if self.end.is_some() {
            return Err("nothing can follow what ends the packet's way".to_owned());
        }
        let mark = self.mark.take();
        if matches!(part, Part::SetMark(_) | Part::SaveMark | Part::RestoreMark) {
            self.changes_mark.get_or_insert(self.targets.len());
        }
        let (target, end) = match part {
            Part::SetMark(value) => {
                self.mark = Some(*value);
                (format!(" -j MARK --set-xmark {value:#x}/0xffffffff"), None)
            }
            Part::SaveMark => (" -j CONNMARK --save-mark".to_owned(), None),
            Part::RestoreMark => (" -j CONNMARK --restore-mark".to_owned(), None),
            Part::SetCtZone(zone) => (format!(" -j CT --zone {zone}"), None),
            Part::Trace => (" -j TRACE".to_owned(), None),
            Part::Redirect(port) => {
                self.needs_ports()?;
                (format!(" -j REDIRECT --to-ports {port}"), Some(End::Other))
            }
            Part::Tproxy(port) => {
                self.needs_ports()?;
                let mark = mark.map(|mark| {
                    self.targets.pop();
                    format!(" --tproxy-mark {mark:#x}/0xffffffff")
                });
                (format!(" -j TPROXY --on-port {port}{}", mark.unwrap_or_default()), Some(End::Tproxy))
            }
            Part::Dnat(_, targets) => match targets.as_slice() {
                [one] if one.is_ipv4() != self.v4 => {
                    self.never = true;
                    return Ok(());
                }
                [one] => (format!(" -j DNAT --to-destination {one}"), Some(End::Other)),
                _ => return Err("one of several destinations is chosen by nftables alone".to_owned()),
            },
            Part::Masquerade => (" -j MASQUERADE".to_owned(), Some(End::Other)),
            Part::Reject(how) => {
                let with = match (how, self.v4) {
                    (Reject::TcpReset, _) => "tcp-reset",
                    (Reject::PortUnreachable, true) => "icmp-port-unreachable",
                    (Reject::PortUnreachable, false) => "icmp6-port-unreachable",
                };
                (format!(" -j REJECT --reject-with {with}"), Some(End::Other))
            }
            Part::Verdict(verdict) => (target(verdict), Some(End::Other)),
            other => return Err(format!("{other} has no counterpart")),
        };
        self.targets.push(target);
        self.end = end;
        Ok(())
    }

    fn must(&mut self, text: String) {
        self.matches.push(vec![text]);
    }

    fn once(&mut self, flag: &'static str) -> Result<(), String> {
        if self.used.contains(&flag) {
            return Err(format!("a rule has {flag} once only"));
        }
        self.used.push(flag);
        Ok(())
    }

    fn proto(&mut self, cmp: Cmp, number: u8) -> Result<(), String> {
        match self.proto {
            None => self.proto = Some((cmp, number)),
            Some(known) if known == (cmp, number) => {}
            Some(_) => return Err("a rule matches one protocol only".to_owned()),
        }
        Ok(())
    }

    /// iptables takes ports in targets only of rules for one protocol that has them.
    fn needs_ports(&self) -> Result<(), String> {
        let with_ports = [Proto::Tcp, Proto::Udp].map(|proto| Some((Cmp::Eq, proto.number())));
        match with_ports.contains(&self.proto) {
            true => Ok(()),
            false => Err("a rule that leads to a port must match tcp or udp".to_owned()),
        }
    }

    fn interface(&mut self, flag: &'static str, cmp: Cmp, name: &str) -> Result<(), String> {
        if !is_word(name) {
            return Err(format!("{name:?} is no name of an interface"));
        }
        self.once(flag)?;
        let fits = (0..=INTERFACE_NAME_LEN).rev().find(|len| name.is_char_boundary(*len)).unwrap_or(0);
        let name = name.get(..fits).unwrap_or(name);
        self.must(format!(" {}{flag} {name}", not(cmp)));
        Ok(())
    }

    fn addresses(&mut self, side: Side, cmp: Cmp, prefixes: &[Prefix]) -> Result<(), String> {
        let flag = if side == Side::Source { "-s" } else { "-d" };
        let of_version = prefixes.first().is_none_or(|prefix| prefix.addr.is_ipv4() == self.v4);
        let all = prefixes.iter().any(|prefix| prefix.len == 0);
        match (cmp, prefixes) {
            _ if !of_version => self.never = true,
            (Cmp::Eq, []) => self.never = true,
            (Cmp::Ne, []) => {}
            // The whole range: not a match, as `iptables-save` has it.
            (Cmp::Eq, _) if all => {}
            (Cmp::Ne, _) if all => self.never = true,
            (Cmp::Ne, [_, _, ..]) => {
                return Err("several addresses at once cannot be left out".to_owned());
            }
            _ => {
                self.once(flag)?;
                let ways = prefixes.iter().map(|prefix| format!(" {}{flag} {}", not(cmp), cidr(*prefix)));
                self.matches.push(ways.collect());
            }
        }
        Ok(())
    }

    fn ports(&mut self, proto: Proto, side: Side, cmp: Cmp, ports: &[u16]) -> Result<(), String> {
        self.proto(Cmp::Eq, proto.number())?;
        let mut ports = ports.to_vec();
        ports.sort_unstable();
        ports.dedup();
        let end = if side == Side::Source { "sport" } else { "dport" };
        if let [port] = ports.as_slice() {
            self.must(format!(" -m {} {}--{end} {port}", proto.word(), not(cmp)));
            return Ok(());
        }
        let chunks = ports.chunks(MULTIPORT_LIMIT).map(|chunk| {
            let list: Vec<String> = chunk.iter().map(u16::to_string).collect();
            format!(" -m multiport {}--{end}s {}", not(cmp), list.join(","))
        });
        match cmp {
            Cmp::Eq if ports.is_empty() => self.never = true,
            // A packet has one port: it meets one of the rules only, whatever they do.
            Cmp::Eq => self.matches.push(chunks.collect()),
            Cmp::Ne => self.must(chunks.collect()),
        }
        Ok(())
    }

    fn finish(self) -> Result<Vec<String>, String> {
        if self.never {
            return Ok(Vec::new());
        }
        let sees_another = self.changes_mark.is_some_and(|at| at + 1 < self.targets.len());
        if self.looks_at_mark && sees_another {
            return Err("a rule that matches a mark cannot go on after changing it".into());
        }
        let proto = self.proto.map_or_else(String::new, |(cmp, number)| {
            let known = [Proto::Tcp, Proto::Udp, Proto::Sctp].into_iter().find(|p| p.number() == number);
            let word = known.map_or_else(|| number.to_string(), |proto| proto.word().to_owned());
            format!(" {}-p {word}", not(cmp))
        });
        let mut ways = vec![proto];
        for alternatives in &self.matches {
            ways =
                ways.iter().flat_map(|way| alternatives.iter().map(move |a| format!("{way}{a}"))).collect();
        }
        if self.targets.is_empty() {
            return Ok(ways);
        }
        Ok(ways
            .iter()
            .flat_map(|way| self.targets.iter().map(move |target| format!("{way}{target}")))
            .collect())
    }
}

fn not(cmp: Cmp) -> &'static str {
    match cmp {
        Cmp::Eq => "",
        Cmp::Ne => "! ",
    }
}

fn cidr(prefix: Prefix) -> String {
    format!("{}/{}", prefix.addr, prefix.len)
}

fn target(verdict: &Verdict) -> String {
    match verdict {
        Verdict::Accept => " -j ACCEPT".to_owned(),
        Verdict::Drop => " -j DROP".to_owned(),
        Verdict::Return => " -j RETURN".to_owned(),
        Verdict::Jump(chain) => format!(" -j {chain}"),
        Verdict::Goto(chain) => format!(" -g {chain}"),
    }
}

#[cfg(test)]
#[path = "translate_tests.rs"]
mod tests;

//! Notation for objects and lists whose parts may depend on values.

/// An object: `"key": node,` always; `if (condition) "key": node,` sometimes; `..(expression),` the entries of a map.
macro_rules! object {
    (@ $list:ident) => {};
    (@ $list:ident if ($when:expr) $key:literal : $node:expr, $($rest:tt)*) => {
        $list.extend([$crate::template::Entry::Field { key: $key.into(), when: Some($when), node: $node.into() }]);
        object!(@ $list $($rest)*);
    };
    (@ $list:ident $key:literal : $node:expr, $($rest:tt)*) => {
        $list.extend([$crate::template::Entry::Field { key: $key.into(), when: None, node: $node.into() }]);
        object!(@ $list $($rest)*);
    };
    (@ $list:ident ..($map:expr), $($rest:tt)*) => {
        $list.extend([$crate::template::Entry::Spread($map)]);
        object!(@ $list $($rest)*);
    };
    ($($body:tt)*) => {{
        let mut entries: Vec<$crate::template::Entry> = Vec::new();
        object!(@ entries $($body)*);
        $crate::template::Node::Object(entries)
    }};
}

/// A list: `node,` always; `if (condition) node,` sometimes; `..(expression),` the items of a list.
macro_rules! list {
    (@ $list:ident) => {};
    (@ $list:ident if ($when:expr) $node:expr, $($rest:tt)*) => {
        $list.extend([$crate::template::Item::One { when: Some($when), node: $node.into() }]);
        list!(@ $list $($rest)*);
    };
    (@ $list:ident ..($items:expr), $($rest:tt)*) => {
        $list.extend([$crate::template::Item::Spread($items)]);
        list!(@ $list $($rest)*);
    };
    (@ $list:ident each ($map:expr) $node:expr, $($rest:tt)*) => {
        $list.extend([$crate::template::Item::Each { map: $map, node: $node.into() }]);
        list!(@ $list $($rest)*);
    };
    (@ $list:ident $node:expr, $($rest:tt)*) => {
        $list.extend([$crate::template::Item::One { when: None, node: $node.into() }]);
        list!(@ $list $($rest)*);
    };
    ($($body:tt)*) => {{
        let mut items: Vec<$crate::template::Item> = Vec::new();
        list!(@ items $($body)*);
        $crate::template::Node::List(items)
    }};
}

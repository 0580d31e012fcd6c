use serde_json::Value;

/// Where a value comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Expr {
    /// A path of names, joined by dots, into the chart's values.
    Values(String),
    /// A path into a variable that the template or a loop binds; an empty path is the variable itself.
    Local(&'static str, String),
    /// The namespace of the release.
    Namespace,
    /// The name of the release.
    Release,
    /// What installs: `Helm`, or `lateen`.
    Service,
}

/// The value at a path of the chart's values.
pub fn values(path: &str) -> Expr {
    Expr::Values(path.to_owned())
}

/// When a part is there. A value counts as false as Go's templates have it: absent, `false`, 0 or empty.
#[derive(Clone, Debug)]
pub enum Condition {
    /// The value counts as true.
    Set(Expr),
    /// The value is this text.
    Is(Expr, &'static str),
    /// It does not hold.
    Not(Box<Condition>),
    /// All hold.
    All(Vec<Condition>),
}

impl Condition {
    /// The value at this path of the chart's values counts as true.
    pub fn set(path: &str) -> Condition {
        Condition::Set(values(path))
    }

    /// The opposite.
    pub fn negated(self) -> Condition {
        Condition::Not(Box::new(self))
    }
}

/// A part of a text.
#[derive(Clone, Debug)]
pub enum Piece {
    /// As it stands; neither quotes nor braces.
    Plain(&'static str),
    /// A value, which the schema keeps free of quotes.
    Value(Expr),
    /// Pieces that are there sometimes.
    When(Condition, Vec<Piece>),
}

/// A part of a manifest.
#[derive(Clone, Debug)]
pub enum Node {
    /// A constant that is neither map nor list.
    Constant(Value),
    /// A value as a text, whatever its type.
    Quoted(Expr),
    /// A scalar of whichever type it has.
    Scalar(Expr),
    /// A value as it is: a map or a list.
    Tree(Expr),
    /// A text that holds a value's YAML.
    YamlText(Expr),
    /// A text that holds a value's JSON.
    JsonText(Expr),
    /// A text made of pieces.
    Text(Vec<Piece>),
    /// A map.
    Object(Vec<Entry>),
    /// A list.
    List(Vec<Item>),
}

/// A part of a map.
#[derive(Clone, Debug)]
pub enum Entry {
    /// A field.
    Field {
        /// Its name.
        key: String,
        /// When it is there.
        when: Option<Condition>,
        /// What it holds.
        node: Node,
    },
    /// The entries of a map of the values.
    Spread(Expr),
}

/// A part of a list.
#[derive(Clone, Debug)]
pub enum Item {
    /// An item.
    One {
        /// When it is there.
        when: Option<Condition>,
        /// What it is.
        node: Node,
    },
    /// The items of a list of the values.
    Spread(Expr),
    /// An item for each entry of a map (by the order of keys) or of a list: the variables `key` and `value`.
    Each {
        /// The map or list.
        map: Expr,
        /// The item.
        node: Node,
    },
}

/// An object of the manifest.
#[derive(Clone, Debug)]
pub struct Document {
    /// When it is there.
    pub when: Option<Condition>,
    /// The object.
    pub node: Node,
}

impl Document {
    /// An object that is always there.
    pub fn always(node: Node) -> Document {
        Document { when: None, node }
    }

    /// An object that is there sometimes.
    pub fn when(condition: Condition, node: Node) -> Document {
        Document { when: Some(condition), node }
    }
}

/// A file of a chart's `templates`.
#[derive(Clone, Debug)]
pub enum Template {
    /// Objects, once.
    Once(Vec<Document>),
    /// Objects of one gateway: the variable `name` is the release's name (or the value `name`), `short` the same without
    /// `istio-` before it, `gateway` the chart's values.
    Release(Vec<Document>),
    /// Objects for each entry of the map `gateways` that is `enabled`, with these variables for its key and settings.
    EachGateway(Vec<Document>),
    /// The custom resource definitions, while the value `base.enableCRDTemplates` is set.
    Definitions,
}

impl From<Value> for Node {
    fn from(value: Value) -> Node {
        match value {
            Value::Object(map) => Node::Object(
                map.into_iter()
                    .map(|(key, value)| Entry::Field { key, when: None, node: value.into() })
                    .collect(),
            ),
            Value::Array(items) => Node::List(
                items.into_iter().map(|value| Item::One { when: None, node: value.into() }).collect(),
            ),
            other => Node::Constant(other),
        }
    }
}

impl From<&str> for Node {
    fn from(text: &str) -> Node {
        Node::Constant(text.into())
    }
}

impl From<bool> for Node {
    fn from(value: bool) -> Node {
        Node::Constant(value.into())
    }
}

impl From<i64> for Node {
    fn from(value: i64) -> Node {
        Node::Constant(value.into())
    }
}

//! The stanza: a tag, attributes in order, and bytes or children.
//!
//! A value, nothing more: [`super::codec`] knows the encoding. `Debug` prints
//! the shape and the attributes but never the bytes, which may be keys or
//! message texts.

use std::fmt;

/// One stanza or a part of it.
#[derive(Clone, PartialEq, Eq)]
pub struct Node {
    pub tag: String,
    /// In the order of the wire. A name stands once.
    pub attrs: Vec<(String, String)>,
    pub content: Content,
}

/// What a node holds.
#[derive(Clone, PartialEq, Eq, Default)]
pub enum Content {
    #[default]
    Empty,
    /// Bytes; a text on the wire is read as its UTF-8.
    Bytes(Vec<u8>),
    /// Possibly an empty list, which is not the same as [`Content::Empty`].
    Children(Vec<Node>),
}

impl Node {
    /// A node with neither attributes nor content.
    pub fn new(tag: impl Into<String>) -> Self {
        Self {
            tag: tag.into(),
            attrs: Vec::new(),
            content: Content::Empty,
        }
    }

    /// Sets an attribute; a second one of the same name replaces the first.
    #[must_use]
    pub fn attr(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        let (name, value) = (name.into(), value.into());
        match self.attrs.iter_mut().find(|(known, _)| *known == name) {
            Some((_, old)) => *old = value,
            None => self.attrs.push((name, value)),
        }
        self
    }

    /// Adds one child. Bytes that were there give way.
    #[must_use]
    pub fn child(mut self, child: Node) -> Self {
        match &mut self.content {
            Content::Children(children) => children.push(child),
            Content::Empty | Content::Bytes(_) => self.content = Content::Children(vec![child]),
        }
        self
    }

    /// Replaces the content by these children.
    #[must_use]
    pub fn children(mut self, children: Vec<Node>) -> Self {
        self.content = Content::Children(children);
        self
    }

    /// Replaces the content by bytes, or by a text's UTF-8.
    #[must_use]
    pub fn bytes(mut self, bytes: impl Into<Vec<u8>>) -> Self {
        self.content = Content::Bytes(bytes.into());
        self
    }

    /// The value of an attribute.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.attrs
            .iter()
            .find(|(known, _)| known == name)
            .map(|(_, value)| value.as_str())
    }

    /// The first child of that tag.
    pub fn find(&self, tag: &str) -> Option<&Node> {
        self.kids().iter().find(|child| child.tag == tag)
    }

    /// Every child of that tag.
    pub fn find_all<'a>(&'a self, tag: &'a str) -> impl Iterator<Item = &'a Node> {
        self.kids().iter().filter(move |child| child.tag == tag)
    }

    /// The children; none when the content is bytes or nothing.
    pub fn kids(&self) -> &[Node] {
        match &self.content {
            Content::Children(children) => children,
            Content::Empty | Content::Bytes(_) => &[],
        }
    }

    /// The bytes; none when the content is children or nothing.
    pub fn data(&self) -> &[u8] {
        match &self.content {
            Content::Bytes(bytes) => bytes,
            Content::Empty | Content::Children(_) => &[],
        }
    }
}

impl fmt::Debug for Node {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "<{}", self.tag)?;
        for (name, value) in &self.attrs {
            write!(f, " {name}={value:?}")?;
        }
        match &self.content {
            Content::Empty => write!(f, "/>"),
            Content::Bytes(bytes) => write!(f, ">{} bytes</>", bytes.len()),
            Content::Children(children) => {
                write!(f, ">")?;
                for child in children {
                    child.fmt(f)?;
                }
                write!(f, "</>")
            }
        }
    }
}

impl fmt::Debug for Content {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Content::Empty => write!(f, "Empty"),
            Content::Bytes(bytes) => write!(f, "{} bytes", bytes.len()),
            Content::Children(children) => f.debug_list().entries(children).finish(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn building_and_reading_agree() {
        let node = Node::new("iq")
            .attr("id", "1")
            .attr("type", "set")
            .attr("id", "2")
            .child(Node::new("ref").bytes("one"))
            .child(Node::new("ref").bytes("two"));

        assert_eq!(node.get("id"), Some("2"));
        assert_eq!(node.attrs.len(), 2);
        assert_eq!(node.find("ref").map(Node::data), Some(&b"one"[..]));
        assert_eq!(node.find_all("ref").count(), 2);
        assert!(node.data().is_empty());
        assert!(node.find("other").is_none());
    }

    #[test]
    fn debug_hides_bytes() {
        let node = Node::new("enc").attr("v", "2").bytes("a secret");
        let text = format!("{node:?} {:?}", node.content);
        assert!(text.contains("enc") && text.contains("8 bytes"));
        assert!(!text.contains("secret"));
    }
}
